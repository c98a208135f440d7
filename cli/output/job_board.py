"""A training job as it goes on: bars of its instances, what remains, a small curve. Goes to stderr."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from typing import TYPE_CHECKING

from cli.errors import colour_wanted
from cli.output.curves import chart, who
from cli.output.jobs import instance_state, progress_of, state_of
from cli.output.progress import bar
from modelyard.quantities import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.v1 import job_pb2

CURVE_ROWS, CURVE_WIDTH = 5, 60
NAME_WIDTH, BAR_WIDTH = 12, 16


def job_line(job: job_pb2.Job) -> str:
    """The whole: state, how far, what remains, what was told last."""
    found = job.progress
    words = [f"{job.id} {job.name}".strip(), state_of(job)]
    if found.HasField("ratio"):
        words += [bar(found.ratio), f"{found.ratio:.0%}"]
    if found.HasField("remaining_s") and found.ratio < 1:
        words.append(f"{format_duration(found.remaining_s)} left")
    words += [found.message] if found.message else []
    return " ".join(words) + (f": {job.message}" if job.message and not job.progress.message else "")


def instance_line(one: job_pb2.Instance) -> str:
    """One instance: where it is, how far, what it told last, or why it is not further."""
    name, node = f"{one.role}-{one.index}", f" {one.address.node}" if one.address.node else ""
    drawn = f" {_narrow(one.progress.ratio)}" if one.progress.HasField("ratio") else ""
    why = progress_of(one) or one.message or one.exit.message or one.progress.message
    return f"  {name:{NAME_WIDTH}} {instance_state(one):9}{node}{drawn}  {why}".rstrip()


def _narrow(ratio: float) -> str:
    return f"{bar(ratio, BAR_WIDTH)} {ratio:4.0%}"


def role_line(role: job_pb2.JobRole, instances: Sequence[job_pb2.Instance]) -> str:
    """A role of many instances: how many are where, and how far they are on average."""
    counts = Counter(instance_state(one) for one in instances)
    states = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    ratios = [one.progress.ratio for one in instances if one.progress.HasField("ratio")]
    mean = sum(ratios) / len(ratios) if ratios else 0.0
    drawn = f" {_narrow(mean)}" if ratios else ""
    return f"  {role.name:{NAME_WIDTH}} {states} of {role.count}{drawn}"


def instance_lines(job: job_pb2.Job, instances: Sequence[job_pb2.Instance], most: int) -> list[str]:
    """A line each; where those do not fit, a line a role, and then the first that have trouble."""
    if len(instances) <= most:
        return [instance_line(one) for one in instances]
    lines = [
        role_line(role, [one for one in instances if one.role == role.name])
        for role in job.roles
        if role.count
    ]
    troubled = [one for one in instances if instance_state(one) in ("failed", "backing_off", "stopping")]
    return [*lines, *(instance_line(one) for one in troubled)][:most]


def curve_lines(series: job_pb2.MetricSeries, width: int) -> list[str]:
    """The curve of a metric, with its bounds and its last value."""
    points = [(point.step, point.value) for point in series.points]
    if len(points) < 2:
        return []
    drawn = chart(points, min(width - 14, CURVE_WIDTH), CURVE_ROWS)
    values = [value for _, value in points]
    sides = [f"{max(values):.4g}", *[""] * (len(drawn) - 2), f"{min(values):.4g}"]
    lines = [f"  {side:>10} ┤{line}" for side, line in zip(sides, drawn, strict=True)]
    title = f"  {series.name} of {who(series)}: {values[-1]:.5g} at step {points[-1][0]}"
    return [title, *lines]


class JobBoard:
    """Drawn over what was drawn before. Only for terminals: see `is_wanted`."""

    def __init__(self) -> None:
        self._drawn = 0

    @staticmethod
    def is_wanted() -> bool:
        """Whether stderr can be drawn over."""
        return colour_wanted(sys.stderr)

    def draw(
        self, job: job_pb2.Job, instances: Sequence[job_pb2.Instance], series: job_pb2.MetricSeries | None
    ) -> None:
        """All of it, within the terminal."""
        size = shutil.get_terminal_size()
        curve = (
            curve_lines(series, size.columns) if series is not None and size.lines > 2 * CURVE_ROWS else []
        )
        most = max(2, size.lines - len(curve) - 3)
        lines = [job_line(job), *instance_lines(job, instances, most), *curve]
        shown = ["".join(char for char in line if char.isprintable())[: size.columns - 1] for line in lines]
        self.clear()
        sys.stderr.write("".join(line + "\n" for line in shown))
        sys.stderr.flush()
        self._drawn = len(shown)

    def clear(self) -> None:
        """Takes away what was drawn."""
        if self._drawn:
            sys.stderr.write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0
