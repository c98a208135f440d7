"""`python -m tests.chaos --seconds 120 --seed 7`: a whole yard under a mixed load while everything in it fails.

Tasks, runs of canvases, training jobs and calls of a model go on while services and agents are killed, stopped, cut off
and have no room to write. Afterwards: what was acknowledged has ended, once, as it may; what was answered is right; and
so it is in a yard that is made of a backup which was taken meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from tests.chaos.story import Told, tell


def _table(told: Told, seed: int, seconds: float) -> str:
    head = f"seed {seed}, {seconds:.0f} s of faults, {told.took_s:.0f} s in all"
    rows = [f"| {kind} | {count} |" for kind, count in (*told.rows, ("promises broken", len(told.wrong)))]
    return "\n".join([f"| what was survived ({head}) | |", "|---|---:|", *rows, ""])


def main() -> int:
    """Told by --seconds and --seed; --table FILE keeps the table of a run in which every promise held."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--table", type=Path)
    asked = parser.parse_args()
    told = asyncio.run(tell(asked.seconds, asked.seed))
    text = _table(told, asked.seed, asked.seconds)
    print(text, *told.wrong[:20], sep="\n")
    if asked.table is not None and not told.wrong:
        asked.table.write_text(text)
    return 1 if told.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
