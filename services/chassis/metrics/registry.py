"""Prometheus metrics, only when asked for.

Owns the registry of this process and the tiny HTTP endpoint on loopback. With `metrics_port` 0
nothing of prometheus_client is imported and every recording is a no-op.
"""

from __future__ import annotations

from typing import Any, Protocol

from services.chassis.metrics.figures import Source


class Metrics(Protocol):
    """What the chassis records."""

    def rpc(self, method: str, code: str, seconds: float) -> None:
        """One finished RPC."""
        ...

    def denied(self, reason: str) -> None:
        """One RPC refused for who called it."""
        ...

    def add(self, source: Source) -> None:
        """Show what `source` tells, each time somebody asks; it runs on the loop that calls this."""
        ...

    def close(self) -> None:
        """Stop serving. Idempotent."""
        ...


class NoMetrics:
    """Records nothing."""

    registry: Any = None

    def rpc(self, method: str, code: str, seconds: float) -> None: ...

    def denied(self, reason: str) -> None: ...

    def add(self, source: Source) -> None: ...

    def close(self) -> None: ...


def make_metrics(port: int) -> Metrics:
    """Metrics served on http://127.0.0.1:<port>/metrics, or none for port 0."""
    if port == 0:
        return NoMetrics()
    from services.chassis.metrics.prometheus import PrometheusMetrics

    return PrometheusMetrics(port)
