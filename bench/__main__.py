"""Runs the measurements and prints their table; each experiment is a file of its own."""

import argparse
import importlib
import platform
import sys
import time
from pathlib import Path

from bench.figures import Figure, save, table

EXPERIMENTS = (
    "calls",
    "graph_plan",
    "graph_runs",
    "handover",
    "graph_scale",
    "graph_history",
    "arrays",
    "processes",
    "seats",
    "forwards",
    "training",
    "models",
    "frame_ways",
    "trainer_scale",
    "startup",
    "fleet",
    "placement",
    "restart",
    "memory",
    "notify",
    "modify",
    "attachments",
    "fairshare",
)
# Only by name: one installs other servers, gigabytes in all, below ~/.cache; one takes some twenty minutes; one needs a
# container engine.
BY_NAME = ("rivals", "rivals_work", "rivals_kills", "model_lru", "model_containers")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=", ".join(EXPERIMENTS + BY_NAME))
    parser.add_argument(
        "--json", type=Path, default=Path("bench/results/latest.json"), help="where figures are kept"
    )
    options = parser.parse_args()
    figures: list[Figure] = []
    unknown = set(options.experiments) - {*EXPERIMENTS, *BY_NAME}
    if unknown:
        parser.error(
            f"there is no experiment {sorted(unknown)[0]!r}; there are {', '.join(EXPERIMENTS + BY_NAME)}"
        )
    for name in options.experiments or EXPERIMENTS:
        begun = time.perf_counter()
        figures += importlib.import_module(f"bench.{name}").measure()
        print(f"{name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    print(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}\n")
    print(table(figures))
    save(figures, options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
