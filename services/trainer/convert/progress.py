"""Progress and points as messages; what reports may say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from modelyard.training import Plan, Progress
from modelyard.v1 import job_pb2
from services.chassis.errors import InvalidArgument
from services.trainer.records.metrics import NAME_LENGTH, STEP_MOST, Point
from services.trainer.state.jobs import Instance, Job

POINTS_MOST = 10_000
"""Of one report."""
MESSAGE_LENGTH = 500
_SURE = 0.02
"""What remains is guessed only once so much was done."""


class ProgressInvalid(InvalidArgument):
    """Steps are whole numbers from 0 on, values are finite, metrics have printable names."""


def progress_of(message: job_pb2.JobProgress) -> Progress:
    """As it was told; a ratio is made of step and total where there is none."""

    def said(field: str) -> Any:
        return getattr(message, field) if message.HasField(field) else None  # type: ignore[arg-type]

    step, total, ratio = said("step"), said("total_steps"), said("ratio")
    if ratio is None and step is not None and total:
        ratio = step / total
    return Progress(
        step=step, total=total, epoch=said("epoch"), ratio=None if ratio is None else min(max(ratio, 0.0), 1.0),
        remaining_s=said("remaining_s"), metrics=dict(message.metrics), message=message.message[:MESSAGE_LENGTH],
    )  # fmt: skip


def is_metric(name: str, step: int | None, value: float) -> bool:
    """Whether it may be a point."""
    has_name = 0 < len(name) <= NAME_LENGTH and name.isprintable()
    return has_name and math.isfinite(value) and (step is None or 0 <= step <= STEP_MOST)


def check_report(request: job_pb2.ReportProgressRequest) -> None:
    """Raises ProgressInvalid."""
    progress = request.progress
    if len(request.points) > POINTS_MOST:
        raise ProgressInvalid(f"{len(request.points)} points; at most {POINTS_MOST} at once", field="points")
    for field in ("ratio", "epoch", "remaining_s"):
        if progress.HasField(field) and not math.isfinite(getattr(progress, field)):
            raise ProgressInvalid(f"{field} is not finite", field=f"progress.{field}")
    for field in ("step", "total_steps"):
        if progress.HasField(field) and not 0 <= getattr(progress, field) <= STEP_MOST:  # type: ignore[arg-type]
            raise ProgressInvalid(f"{field}: {getattr(progress, field)}", field=f"progress.{field}")
    for name, value in progress.metrics.items():
        if not is_metric(name, None, value):
            raise ProgressInvalid(f"metric {name[:80]!r}: {value}", field="progress.metrics")
    for point in request.points:
        if not is_metric(point.name, point.step, point.value):
            raise ProgressInvalid(
                f"metric {point.name[:80]!r}: {point.value} at {point.step}", field="points"
            )


def points_of(progress: Progress, step: int | None, time_ms: int) -> list[Point]:
    """A point of each metric that is told, at this step."""
    return [
        Point(name, step, value, time_ms)
        for name, value in progress.metrics.items()
        if is_metric(name, step, value)
    ]


def told_points(points: Iterable[job_pb2.MetricPoint], now_ms: int) -> list[Point]:
    """As a report brings them; without a time: now."""
    return [
        Point(one.name, one.step, one.value, one.time.ToMilliseconds() if one.HasField("time") else now_ms)
        for one in points
    ]


def fill_progress(message: job_pb2.JobProgress, one: Instance) -> None:
    """How far an instance is, with a guess of what remains where it tells none."""
    message.metrics.update(one.metrics)
    found = one.progress
    if found is None:
        return
    said = {
        "ratio": found.ratio, "step": found.step, "total_steps": found.total, "epoch": found.epoch,
        "remaining_s": found.remaining_s if found.remaining_s is not None else _remaining_s(one, found),
    }  # fmt: skip
    for field, value in said.items():
        if value is not None:
            setattr(message, field, value)
    message.message = found.message
    if one.progress_ms:
        message.update_time.FromMilliseconds(one.progress_ms)


def _remaining_s(one: Instance, found: Progress) -> float | None:
    """As fast as it went since its first word of this epoch, which may have been in the middle."""
    if found.ratio is None or found.ratio - one.begun_ratio < _SURE:
        return None
    spent_s = (one.progress_ms - one.begun_ms) / 1000
    return spent_s / (found.ratio - one.begun_ratio) * (1 - found.ratio)


def fill_job_progress(
    message: job_pb2.JobProgress, job: Job, plan: Plan | None, instances: Sequence[Instance]
) -> None:
    """That of the first in the order of ranks that tells how far it is; else of the first that tells anything."""
    ranks = list(plan.framework.ranks) if plan is not None else []
    order = [*ranks, *(role for role in job.counts if role not in ranks)]
    places = {role: place for place, role in enumerate(order)}
    told = sorted(
        (one for one in instances if one.progress is not None),
        key=lambda one: (places.get(one.role, len(places)), one.index),
    )
    chosen = next((one for one in told if one.progress is not None and one.progress.ratio is not None), None)
    if chosen is not None or told:
        fill_progress(message, chosen or told[0])
