"""What calls came to, by version: in memory, from the service's start on. Pure."""

from __future__ import annotations

from typing import Any

from services.chassis.metrics.figures import Spread

REASONS = ("rejected", "cancelled", "expired", "refused", "frame", "other")
"""Why calls failed: the queue was full or nothing could be loaded, the caller left, its time was over, the call itself
was wrong, its frame ended or stopped it, and all else."""

_REASON_OF = {
    "RESOURCE_EXHAUSTED": "rejected",
    "CANCELLED": "cancelled",
    "DEADLINE_EXCEEDED": "expired",
    "INVALID_ARGUMENT": "refused",
    "FAILED_PRECONDITION": "refused",
    "NOT_FOUND": "refused",
    "PERMISSION_DENIED": "refused",
    "UNIMPLEMENTED": "refused",
    "UNAVAILABLE": "frame",
}


def reason_of(code: str) -> str:
    """Of REASONS, by the canonical code."""
    return _REASON_OF.get(code, "other")


class Duration:
    """How often, and how long together."""

    __slots__ = ("count", "ns")

    def __init__(self) -> None:
        self.count = 0
        self.ns = 0

    def add(self, ns: int, count: int = 1) -> None:
        """Takes some in."""
        self.count += count
        self.ns += ns


class BatchStatistics:
    """Of the computations of one size."""

    __slots__ = ("compute", "input", "output")

    def __init__(self) -> None:
        self.input = Duration()
        self.compute = Duration()
        self.output = Duration()


class Statistics:
    """Of one version."""

    def __init__(self) -> None:
        self.success = Duration()
        self.failures = {reason: Duration() for reason in REASONS}
        self.queue = Duration()
        self.input = Duration()
        self.compute = Duration()
        self.output = Duration()
        self.batches: dict[int, BatchStatistics] = {}
        self.last_ms = 0
        self.inference_count = 0
        """Rows."""
        self.execution_count = 0
        """Computations."""
        self.memory_bytes = 0
        self.mirrored = {"same": 0, "different": 0, "failed": 0, "skipped": 0}
        self.seconds = Spread()

    def succeeded(self, ns: int, queue_ns: int, now_ms: int) -> None:
        """One call was answered."""
        self.success.add(ns)
        self.queue.add(queue_ns)
        self.last_ms = now_ms
        self.seconds.observe(ns / 1e9)

    def failed(self, reason: str, ns: int) -> None:
        """One call was not."""
        self.failures[reason].add(ns)

    def computed(self, call_rows: int, batch_rows: int, is_last: bool, times_ns: dict[str, Any]) -> None:
        """A frame has answered one call of a computation of so many rows."""
        before, during, after = (int(times_ns.get(name, 0)) for name in ("input", "compute", "output"))
        self.inference_count += call_rows
        self.input.add(before)
        self.compute.add(during)
        self.output.add(after)
        if not is_last:
            return
        self.execution_count += 1
        batch = self.batches.get(batch_rows)
        if batch is None:
            batch = self.batches[batch_rows] = BatchStatistics()
        batch.input.add(before)
        batch.compute.add(during)
        batch.output.add(after)

    @property
    def fail(self) -> Duration:
        """All failures."""
        total = Duration()
        for one in self.failures.values():
            total.add(one.ns, one.count)
        return total


class Ledger:
    """The statistics of all versions that were called."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, int], Statistics] = {}

    def of(self, model: str, version: int) -> Statistics:
        """Made when first asked for."""
        found = self._of.get((model, version))
        if found is None:
            found = self._of[model, version] = Statistics()
        return found

    def items(self) -> list[tuple[tuple[str, int], Statistics]]:
        """By model and version."""
        return sorted(self._of.items())
