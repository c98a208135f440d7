"""What becomes of work that waits when the scheduler or broker of a system, or what runs the work, is killed.

`python -m bench rivals_kills`. 150 calls of 0.2 s are handed in, a part gets SIGKILL after a second and a half and is
begun again as its supervisor would, and then the lines are counted that the calls have written: was each done, was one
done twice, and how many answers does the client get that handed them in, which asks twice. BENCH_RIVALS names those
that are wanted.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Figure
from bench.rival_systems import Contestant, NotAnswered, driven, missing, wanted

WAITING, EACH_S, HEAD_START_S, QUIET_S = 150, 0.2, 1.5, 30.0


def measure() -> list[Figure]:
    rows = ["| | scheduler or broker killed | what runs the work killed |", "|---|---|---|"]
    figures: list[Figure] = []
    for one in wanted():
        cells = []
        for part in one.killed:
            said: list[str] = []
            why = missing(lambda one=one, part=part, said=said: _killed(one, part, said, figures))  # type: ignore[misc]
            cells.append(said[0] if said else f"not measured: {why}")
            print(f"{one.name}, {part}: {cells[-1]}", file=sys.stderr)
        rows.append(f"| {one.title} | {' | '.join([*cells, *['–'] * (2 - len(cells))])} |")
    print("\n".join(rows), end="\n\n")
    return figures


def _killed(contestant: Contestant, part: str, said: list[str], figures: list[Figure]) -> None:
    with driven(contestant) as driver, tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes"
        driver.ask("hand_in", WAITING, EACH_S, str(notes))
        time.sleep(HEAD_START_S)
        driver.ask("kill", part)
        heard = 0
        with contextlib.suppress(NotAnswered):
            driver.ask("again", part)
            heard = driver.ask("results", QUIET_S)
        lines = _settled(notes)
        if heard < WAITING:
            with contextlib.suppress(NotAnswered):
                heard = max(heard, driver.ask("results", 5.0))
    done, twice = len(set(lines)), len(lines) - len(set(lines))
    figures.append(Figure(f"rivals_kills: {contestant.name}, {part}, done", f"of {WAITING}", (done,)))
    words = [f"{done} of {WAITING} done", *([f"{twice} twice"] if twice else []), f"{heard} answers"]
    said.append(", ".join(words))


def _settled(notes: Path) -> list[str]:
    """The lines of a file once all are there, or nothing has been added for a while."""
    deadline, seen = time.monotonic() + QUIET_S, -1
    while True:
        lines = notes.read_text().split() if notes.exists() else []
        if len(set(lines)) >= WAITING or time.monotonic() > deadline:
            time.sleep(2 * EACH_S)
            return notes.read_text().split() if notes.exists() else []
        if len(lines) > seen:
            deadline, seen = time.monotonic() + QUIET_S, len(lines)
        time.sleep(EACH_S)
