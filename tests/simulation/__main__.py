"""`python -m tests.simulation --seeds N [--seed S] [--trace]`: runs seeds and tells of those that fail."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.simulation.world import simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds to run")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--trace", action="store_true", help="print the whole trace of a failing seed")
    parser.add_argument("--failures", type=int, default=5, help="stop after so many failing seeds")
    arguments = parser.parse_args()
    began = time.monotonic()
    counts: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    failed: list[int] = []
    done = 0
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        outcome = simulate(seed, 1_000_000 if arguments.trace else 40)
        done += 1
        counts.update(outcome.counts)
        counts["events"] += outcome.events
        counts["virtual seconds to drain, at most"] = max(
            counts["virtual seconds to drain, at most"], outcome.drain_us // 1_000_000
        )
        faults.update(outcome.faults)
        if outcome.failure:
            failed.append(seed)
            print(f"seed {seed} failed: {outcome.failure}", *outcome.story, sep="\n")
            print(f"again: python -m tests.simulation --seed {seed} --trace")
            if len(failed) >= arguments.failures:
                break
    wall_s = time.monotonic() - began
    print(f"{done} seeds in {wall_s:.1f} s ({done / wall_s:.1f}/s), failed: {failed or 'none'}")
    print("injected:", ", ".join(f"{name} {count}" for name, count in sorted(faults.items())))
    print("happened:", ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
