"""`python -m tests.simulation.runs --seeds 500`: many stories of runs; --canvas N tells of one that failed."""

from __future__ import annotations

import argparse
import logging
import sys

import structlog

from tests.simulation.runs.world import failure_of, skies


def main() -> int:
    """0: every promise held."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--canvas", type=int, default=-1)
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    canvases = range(asked.seeds) if asked.canvas < 0 else [asked.canvas]
    failed = 0
    for canvas in canvases:
        found = failure_of(skies(canvas))
        if found:
            failed += 1
            print(found)
    print(f"{len(canvases)} canvases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
