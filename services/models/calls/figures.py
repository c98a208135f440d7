"""What calls come to, for whoever scrapes. Labels name versions, never callers."""

from __future__ import annotations

from collections.abc import Callable

from services.chassis.metrics.figures import Family, gauge
from services.models.calls.calls import Calls
from services.models.calls.statistics import Statistics

VERSION = ("model", "version")
Sample = tuple[tuple[str, ...], float]


def figures(calls: Calls) -> list[Family]:
    """Counters from the service's start on, and what is under way."""
    known = [((model, str(version)), one) for (model, version), one in calls.ledger.items()]

    def counter(name: str, help: str, value: Callable[[Statistics], float]) -> Family:
        return Family("counter", name, help, VERSION, [(key, value(one)) for key, one in known])

    failures: list[Sample] = [
        ((*key, reason), one.count) for key, stats in known for reason, one in stats.failures.items()
    ]
    mirrored: list[Sample] = [
        ((*key, outcome), count) for key, stats in known for outcome, count in stats.mirrored.items()
    ]
    waiting: list[Sample] = [((key.model, str(key.version)), count) for key, count in calls.waiting()]
    seconds = [(key, one.seconds) for key, one in known]
    return [
        gauge("yard_models_calls_running", "Calls in frames.", calls.active_count),
        Family("gauge", "yard_models_calls_waiting", "Calls that wait for a frame.", VERSION, waiting),
        counter("yard_models_calls", "Calls that were answered.", lambda one: one.success.count),
        Family(
            "counter", "yard_models_call_failures", "Calls that were not.", (*VERSION, "reason"), failures
        ),
        counter("yard_models_rows", "Rows that were computed.", lambda one: one.inference_count),
        counter("yard_models_computations", "Batches in which they were.", lambda one: one.execution_count),
        counter("yard_models_queue_seconds", "Waited for a frame.", lambda one: one.queue.ns / 1e9),
        counter("yard_models_compute_seconds", "Computed by models.", lambda one: one.compute.ns / 1e9),
        Family(
            "counter", "yard_models_mirrored_calls", "Answers of mirrors.", (*VERSION, "outcome"), mirrored
        ),
        Family("histogram", "yard_models_call_seconds", "From a call to its answer.", VERSION, seconds),
    ]
