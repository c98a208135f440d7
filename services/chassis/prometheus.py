"""The metrics of `metrics.py` in prometheus_client, named after OpenTelemetry's RPC conventions.

Imported only when a metrics port is set, because prometheus_client is slow to import. Labels never
carry a task id or a user's text.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

from services.chassis.errors import StartRefused

_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 300)


class MetricsPortTaken(StartRefused):
    """The metrics port is taken."""


class PrometheusMetrics:
    """A registry of its own (no process-wide global), served on loopback until `close`."""

    def __init__(self, port: int) -> None:
        self.registry = CollectorRegistry()
        self._calls = Histogram(
            "rpc_server_call_duration_seconds",
            "How long RPCs took, streams from open to end.",
            ("rpc_method", "rpc_response_status_code"),
            registry=self.registry,
            buckets=_BUCKETS_S,
        )
        self._denied = Counter(
            "yard_auth_denied_total", "RPCs refused for who called.", ("reason",), registry=self.registry
        )
        try:
            self._server, self._thread = start_http_server(port, addr="127.0.0.1", registry=self.registry)
        except OSError as error:
            raise MetricsPortTaken(
                f"the metrics port 127.0.0.1:{port} is taken; choose another with --metrics-port"
            ) from error

    def rpc(self, method: str, code: str, seconds: float) -> None:
        self._calls.labels(method, code).observe(seconds)

    def denied(self, reason: str) -> None:
        self._denied.labels(reason).inc()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
