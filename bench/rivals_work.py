"""The same small work through this project and through other systems that run work, in turns, in one table.

`python -m bench rivals_work`. One at a time is up, so that none pays for another's idling; all of them once, then all
of them again, so that what else the machine does is in all of them. Beside what a clock shows stands the processor time
of the system and its client, which other work on the machine hardly changes. BENCH_RIVALS names those that are wanted,
BENCH_TURNS how often.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.figures import Figure, percentile
from bench.rival_systems import Contestant, Driver, driven, missing, wanted

TURNS, SETTLE_S = 3, 3.0


@dataclass
class Found:
    """What was found of one, a value a turn."""

    runs: dict[str, list[float]] = field(default_factory=dict)
    missing: str = ""

    def add(self, what: str, value: float) -> None:
        self.runs.setdefault(what, []).append(value)


def measure() -> list[Figure]:
    contestants = wanted()
    found = {one.name: Found() for one in contestants}
    for turn in range(int(os.environ.get("BENCH_TURNS", TURNS))):
        for one in contestants:
            got = found[one.name]
            if not got.missing:
                got.missing = missing(lambda one=one, got=got: _one_turn(one, got))  # type: ignore[misc]
                last = {what: round(runs[-1], 3) for what, runs in got.runs.items()}
                print(f"turn {turn + 1}: {one.name} {got.missing or last}", file=sys.stderr)
    print("\n".join(table(contestants, found)), end="\n\n")
    return [
        Figure(f"rivals_work: {name}, {what}", "", tuple(runs))
        for name, got in found.items()
        for what, runs in got.runs.items()
    ]


def _one_turn(contestant: Contestant, found: Found) -> None:
    with driven(contestant) as driver:
        found.add("first_s", driver.first_s)
        time.sleep(SETTLE_S)
        found.add("idle_mb", driver.memory_mb())
        _call(driver, contestant.lone, found)
        for count in contestant.many:
            _together(driver, count, found)
        driver.ask("chain", 2)
        before = driver.processor_s()
        found.add("node_ms", driver.ask("chain", contestant.chain) / contestant.chain * 1e3)
        found.add("node_cpu_ms", (driver.processor_s() - before) / contestant.chain * 1e3)


def _call(driver: Driver, count: int, found: Found) -> None:
    driver.ask("lone", max(2, count // 10))
    before = driver.processor_s()
    found.add("lone_ms", percentile(driver.ask("lone", count), 0.5))
    found.add("lone_cpu_ms", (driver.processor_s() - before) / count * 1e3)


def _together(driver: Driver, count: int, found: Found) -> None:
    before = driver.processor_s()
    found.add(f"per_s_{count}", count / driver.ask("many", count))
    found.add(f"cpu_ms_{count}", (driver.processor_s() - before) / count * 1e3)


def table(contestants: Sequence[Contestant], found: dict[str, Found]) -> Iterator[str]:
    """Markdown: a line for each."""
    heads = ["", "start → first result, s", "idle, MB", "one at a time, p50 ms", "processor ms a call",
             "1,000 at once, calls/s", "processor ms a call", "10,000 at once, calls/s", "processor ms a call",
             "a node of a chain, ms", "processor ms a node"]  # fmt: skip
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for one in contestants:
        runs = found[one.name].runs
        fewer = min(one.many)
        cells = [
            _cell(runs, "first_s", 1), _cell(runs, "idle_mb", 0),
            _cell(runs, "lone_ms", 2), _cell(runs, "lone_cpu_ms", 2),
            _cell(runs, f"per_s_{fewer}", 0) + ("" if fewer == 1_000 else f" ({fewer} at once)"),
            _cell(runs, f"cpu_ms_{fewer}", 2), _cell(runs, "per_s_10000", 0), _cell(runs, "cpu_ms_10000", 2),
            _cell(runs, "node_ms", 2), _cell(runs, "node_cpu_ms", 2),
        ]  # fmt: skip
        without = (
            f" (not all could be measured: {found[one.name].missing})" if found[one.name].missing else ""
        )
        yield f"| {one.title}{without} | {' | '.join(cells)} |"


def _cell(runs: dict[str, list[float]], what: str, digits: int) -> str:
    return f"{statistics.median(runs[what]):,.{digits}f}" if what in runs else "–"
