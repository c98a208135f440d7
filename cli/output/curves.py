"""Curves of metrics in words, and drawn with characters."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
    cells = [[_BLANK] * width for _ in range(height)]
    before: tuple[int, int] | None = None
    for step, value in points:
        column = (step - first) * (columns - 1) // (last - first) if last > first else 0
        row = round((high - value) / (high - low) * (rows - 1)) if high > low else rows // 2
        for x, y in _line(before or (column, row), (column, row)):
            cells[y // 4][x // 2] |= _DOTS[x % 2][y % 4]
        before = column, row
    return ["".join(map(chr, line)) for line in cells]


def _line(start: tuple[int, int], end: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Dots from one to the other."""
    (x0, y0), (x1, y1) = start, end
    count = max(abs(x1 - x0), abs(y1 - y0))
    for number in range(count + 1):
        share = number / count if count else 0.0
        yield round(x0 + (x1 - x0) * share), round(y0 + (y1 - y0) * share)
