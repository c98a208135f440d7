"""`python -m tests.simulation.jobs --seeds 500`: many stories of training jobs; --seed N tells one that failed.

The order of sets of texts is a part of a story: it is told with PYTHONHASHSEED=0 unless the environment has another.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections import Counter

import structlog

from tests.simulation.jobs.world import World, failure_of, stories


def main() -> int:
    """0: every promise held."""
    if "PYTHONHASHSEED" not in os.environ:
        words = [sys.executable, "-m", "tests.simulation.jobs", *sys.argv[1:]]
        os.execve(sys.executable, words, {**os.environ, "PYTHONHASHSEED": "0"})
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=-1)
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if asked.seed >= 0:
        world = World(stories(asked.seed)).tell()
        print(f"it holds: {Counter(world.deaths)} deaths, {Counter(world.refusals)} refused")
        return 0
    failed = 0
    for seed in range(asked.seeds):
        found = failure_of(stories(seed))
        if found:
            failed += 1
            print(found, flush=True)
    print(f"{asked.seeds} seeds, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
