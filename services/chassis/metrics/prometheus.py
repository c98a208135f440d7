"""The metrics of `metrics.py` in prometheus_client, named after OpenTelemetry's RPC conventions.

Imported only when a metrics port is set, because prometheus_client is slow to import. Labels never
carry a task id or a user's text.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, start_http_server
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from services.chassis.errors import StartRefused
from services.chassis.metrics.figures import Family, Source, Spread

_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 300)

ANSWER_S = 5.0
"""How long a scrape waits for the service's loop."""


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
        ProcessCollector(registry=self.registry)
        self._sources: list[Source] = []
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

    def add(self, source: Source) -> None:
        if not self._sources:
            self.registry.register(_Asked(self._sources, asyncio.get_running_loop()))
        self._sources.append(source)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Asked(Collector):
    """Asks a service on its own loop; a scrape comes on a thread of its own."""

    def __init__(self, sources: list[Source], loop: asyncio.AbstractEventLoop) -> None:
        self._sources = sources
        self._loop = loop

    def describe(self) -> list[Metric]:
        """Nothing is known before it is asked: names are not checked for doubles then."""
        return []

    def collect(self) -> Iterator[Metric]:
        asked_s = time.monotonic()
        answer = asyncio.run_coroutine_threadsafe(self._ask(asked_s), self._loop)
        try:
            lag_s, families = answer.result(ANSWER_S)
        except TimeoutError:
            answer.cancel()
            yield GaugeMetricFamily("yard_loop_lag_seconds", _LAG, value=time.monotonic() - asked_s)
            return
        yield GaugeMetricFamily("yard_loop_lag_seconds", _LAG, value=lag_s)
        for family in families:
            yield _metric(family)

    async def _ask(self, asked_s: float) -> tuple[float, list[Family]]:
        lag_s = time.monotonic() - asked_s
        return lag_s, [family for source in self._sources for family in await source()]


_LAG = "How long the event loop let the present scrape wait."


def _metric(family: Family) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for labels, value in family.samples:
            assert isinstance(value, Spread)
            histogram.add_metric(labels, _buckets(value), value.total)
        return histogram
    make = GaugeMetricFamily if family.kind == "gauge" else CounterMetricFamily
    metric = make(family.name, family.help, labels=family.labels)
    for labels, value in family.samples:
        assert not isinstance(value, Spread)
        metric.add_metric(labels, value)
    return metric


def _buckets(spread: Spread) -> list[tuple[str, float]]:
    total, buckets = 0, []
    for bound, count in zip((*map(str, spread.bounds), "+Inf"), spread.counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets
