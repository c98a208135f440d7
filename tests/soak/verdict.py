"""Whether what was measured grew: a robust line through what follows the warm-up, and a bound for each kind of thing.

Pure. Growth is the slope of Theil and Sen over the window, so that a peak is not taken for it. What services clear in
rounds goes up and down like a saw: of rows and files the least of each round is looked at, which a leak raises as well.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tests.soak.sampling import Sample

WARM_UP = 1 / 3
"""The part of a soak that is not judged: caches fill, retention has nothing to let go of yet."""
ROUND_S = 600.0
"""As long as the longest round in which a service lets go of what has ended."""
CLEARED = ("rows", "files", "directories")
BOUNDS = {
    "memory": 8.0,
    "descriptors": 4.0,
    "threads": 4.0,
    "processes": 2.0,
    "files": 20.0,
    "directories": 260.0,
}
"""Growth that is taken for noise, beside a share of what is usual. Bytes are spread over 256 directories."""
SHARES = {"memory": 0.05, "descriptors": 0.2, "threads": 0.2, "rows": 0.2, "files": 0.2}
ROWS = 30.0
# Bytes follow rows and files; databases keep their pages for what comes.
UNJUDGED = "MiB"
DAY = "kept for a day"
HISTORY = {
    "answer": DAY, "mark": DAY, "request": DAY, "deletion": DAY, "entry": "the audit log, kept for a year",
    "firing": "the last 10,000 of each trigger",
    "usage": "kept by the day", "step": "kept with its version",
    "reference": "what jobs keep stays",
}  # fmt: skip
"""Tables that an hour cannot fill, by their names within a database, and why they grow."""


@dataclass(frozen=True)
class Finding:
    """One thing that was measured. `reason`: why it may grow."""

    name: str
    first: float
    usual: float
    last: float
    growth: float
    bound: float
    reason: str = ""

    @property
    def is_leak(self) -> bool:
        return self.growth > self.bound and not self.reason


def judge(samples: Sequence[tuple[float, Sample]]) -> list[Finding]:
    """By name; what was not there throughout the window is judged by when it was."""
    begun, ended = samples[0][0], samples[-1][0]
    window = [(at, one) for at, one in samples if at >= begun + (ended - begun) * WARM_UP]
    names = sorted({name for _, one in window for name in one})
    return [_finding(name, [(at, one[name]) for at, one in window if name in one]) for name in names]


def _finding(name: str, series: Sequence[tuple[float, float]]) -> Finding:
    values = [value for _, value in series]
    usual = statistics.median(values)
    kind, _, what = name.partition(" ")
    judged = _least_of_rounds(series) if kind in CLEARED else series
    growth = _slope(judged) * (series[-1][0] - series[0][0])
    least = BOUNDS.get(kind, ROWS)
    bound = max(least, SHARES.get(kind, 0.0) * usual)
    reason = HISTORY.get(what.rpartition(".")[2], "") if kind == "rows" else ""
    if kind == UNJUDGED:
        reason = "told by rows and files"
    return Finding(name, values[0], usual, values[-1], growth, bound, reason)


def _least_of_rounds(series: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """By each moment after which a whole round was seen; all of it where that is less than half a round."""
    moments = [at for at, _ in series if at + ROUND_S <= series[-1][0]]
    if not moments or moments[-1] - moments[0] < ROUND_S / 2:
        return series
    return [
        (begun, min(value for at, value in series if begun <= at <= begun + ROUND_S)) for begun in moments
    ]


def _slope(series: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs."""
    pairs = itertools.combinations(series, 2)
    slopes = [
        (after[1] - before[1]) / (after[0] - before[0]) for before, after in pairs if after[0] > before[0]
    ]
    return statistics.median(slopes) if slopes else 0.0


def table(findings: Sequence[Finding]) -> str:
    """What moved or is a process; what never changed is left out."""
    lines = [
        "| | after warm-up | usual | at the end | growth | bound | |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for one in findings:
        if one.growth or one.first != one.last or one.name.startswith("memory"):
            word = "**grows**" if one.is_leak else one.reason
            numbers = (one.first, one.usual, one.last, one.growth, one.bound)
            lines.append(f"| {one.name} | {' | '.join(f'{number:.1f}' for number in numbers)} | {word} |")
    return "\n".join(lines)
