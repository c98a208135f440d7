"""What programs say of their progress, in whatever form, as a JobProgress in JSON's mapping. Owns no state."""

import math
import time
from collections.abc import Mapping
from typing import Any

from modelyard.worker.frames import Message

_COUNTED = {"step": "step", "total": "total_steps"}
_MEASURED = {"epoch": "epoch", "ratio": "ratio", "remaining": "remaining_s"}
# What Hugging Face's Trainer calls them among its metrics.
_KUBEFLOW = {"current_step": "step", "total_steps": "total", "current_epoch": "epoch"}
_COUNT_MOST = 1 << 53
_METRICS_MOST = 200
NAME_LENGTH, MESSAGE_LENGTH = 100, 500


def progress_of(values: Mapping[str, Any]) -> Message | None:
    """Of step, total, epoch, ratio, remaining and message; every other number is a metric. None: it says nothing. What
    is no finite number is left out."""
    progress: Message = {}
    metrics: dict[str, float] = {}
    for name, value in values.items():
        number = _number(value)
        if number is None:
            if name == "message" and isinstance(value, str) and value:
                progress["message"] = value[:MESSAGE_LENGTH]
        elif name in _COUNTED:
            if 0 <= number <= _COUNT_MOST:
                progress[_COUNTED[name]] = int(number)
        elif name in _MEASURED:
            progress[_MEASURED[name]] = number
        elif len(metrics) < _METRICS_MOST:
            metrics[name[:NAME_LENGTH]] = number
    if metrics:
        progress["metrics"] = metrics
    if not progress:
        return None
    if "ratio" not in progress and progress.get("total_steps"):
        progress["ratio"] = min(1.0, max(0.0, progress.get("step", 0) / progress["total_steps"]))
    progress["update_time"] = stamp()
    return progress


def of_trainer_status(status: Mapping[str, Any]) -> dict[str, Any]:
    """Values for `progress_of` of a ``trainerStatus`` as Kubeflow's protocol has it, by which Hugging Face's Trainer
    reports without a line of code."""
    values: dict[str, Any] = {}
    percentage, remaining = _number(status.get("progressPercentage")), status.get("estimatedRemainingSeconds")
    if percentage is not None:
        values["ratio"] = percentage / 100
    if remaining is not None:
        values["remaining"] = remaining
    metrics = status.get("metrics")
    for metric in metrics if isinstance(metrics, list) else ():
        name = metric.get("name") if isinstance(metric, dict) else None
        if isinstance(name, str):
            values[_KUBEFLOW.get(name, name)] = metric.get("value")
    return values


def stamp() -> str:
    """Now, as a Timestamp is written in JSON."""
    now_ms = time.time_ns() // 1_000_000
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_ms // 1000))
    return f"{whole}.{now_ms % 1000:03d}Z"


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > 40:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
