"""Curves of metrics in words, and drawn with characters."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.output.render import Columns
    from modelyard.v1 import job_pb2


def who(series: job_pb2.MetricSeries) -> str:
    """ "worker-0"."""
    return f"{series.role}-{series.index}"


def name_of(series: job_pb2.MetricSeries) -> str:
    """ "loss worker-0"."""
    return f"{series.name} {who(series)}"


def _value(series: job_pb2.MetricSeries, place: int) -> str:
    return f"{series.points[place].value:.5g}" if series.points else ""


def _bound(series: job_pb2.MetricSeries, *, is_highest: bool) -> str:
    values = [point.value for point in series.points]
    return f"{max(values) if is_highest else min(values):.5g}" if values else ""


SERIES_COLUMNS: Columns = [
    ("METRIC", lambda series: series.name),
    ("INSTANCE", who),
    ("POINTS", lambda series: str(series.point_count)),
    ("STEP", lambda series: str(series.points[-1].step) if series.points else ""),
    ("FIRST", lambda series: _value(series, 0)),
    ("LAST", lambda series: _value(series, -1)),
    ("LEAST", lambda series: _bound(series, is_highest=False)),
    ("MOST", lambda series: _bound(series, is_highest=True)),
]

# Dots of a braille character, from its left column down, then its right one.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BLANK = 0x2800


def chart(points: Sequence[tuple[int, float]], width: int, height: int) -> list[str]:
    """A curve of so many characters: lines with the highest value above and the lowest below; none without points."""
    if not points or width < 1 or height < 1:
        return []
    columns, rows = width * 2, height * 4
    first, last = points[0][0], points[-1][0]
    low, high = min(value for _, value in points), max(value for _, value in points)
    places: list[list[int]] = [[] for _ in range(columns)]
    for step, value in points:
        column = (step - first) * (columns - 1) // (last - first) if last > first else 0
        row = round((high - value) / (high - low) * (rows - 1)) if high > low else rows // 2
        places[column].append(row)
    cells = [[_BLANK] * width for _ in range(height)]
    before: int | None = None
    for column, found in enumerate(places):
        for row in _run(found, before):
            cells[row // 4][column // 2] |= _DOTS[column % 2][row % 4]
        before = found[-1] if found else before
    return ["".join(map(chr, line)) for line in cells]


def _run(found: list[int], before: int | None) -> Sequence[int]:
    """Rows of one column: those of its points, joined with the one before."""
    if not found:
        return () if before is None else (before,)
    ends = [*found, *([before] if before is not None else [])]
    return range(min(ends), max(ends) + 1)
