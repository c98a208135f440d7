"""Runs the measurements and prints their table; each experiment is a file of its own."""

import argparse
import importlib
import platform
import sys
import time
from pathlib import Path

from bench.figures import Figure, save, table

EXPERIMENTS = ("calls", "arrays", "processes", "startup", "fleet", "placement", "restart")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "experiments", nargs="*", default=EXPERIMENTS, choices=(*EXPERIMENTS, []), metavar="EXPERIMENT"
    )
    parser.add_argument(
        "--json", type=Path, default=Path("bench/results/latest.json"), help="where the figures are kept"
    )
    options = parser.parse_args()
    figures: list[Figure] = []
    for name in options.experiments:
        begun = time.perf_counter()
        figures += importlib.import_module(f"bench.{name}").measure()
        print(f"{name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    print(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}\n")
    print(table(figures))
    save(figures, options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
