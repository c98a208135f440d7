"""What a yard holds at one moment: memory, descriptors and threads of its processes, files, rows of its tables.

Owns no judgement. Whatever ends while it is looked at is left out of that sample.
"""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tests.support.yard import Yard

Sample = dict[str, float]
"""By names such as `memory scheduler` (MiB), `descriptors agent-node-1`, `files agents`, `rows store.blob`."""
MIB = 1 << 20
_SCRATCH = ("-wal", "-shm", "-journal")


def sample(yard: Yard, services: dict[str, int]) -> Sample:
    """All of it; `services`: pid by name. Costs about as much as two calls of a model."""
    found: Sample = {}
    for name, pid in services.items():
        found |= {f"{what} {name}": value for what, value in _process(pid)}
    others = [pid for pid in yard.processes() if pid not in services.values()]
    totals: defaultdict[str, float] = defaultdict(float)
    for pid in others:
        for what, value in _process(pid):
            totals[f"{what} workers"] += value
    return {**found, **totals, "processes": float(len(others)), **_files(yard.state), **_rows(yard.state)}


def _process(pid: int) -> Iterator[tuple[str, float]]:
    """Memory of its own, without what is only mapped from files; descriptors; threads."""
    home = Path(f"/proc/{pid}")
    try:
        lines = (home / "smaps_rollup").read_text().splitlines()
        descriptors = len(list((home / "fd").iterdir()))
        threads = len(list((home / "task").iterdir()))
    except OSError:
        return
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    yield "memory", (kib["Pss_Anon"] + kib["Swap"]) / 1024
    yield "descriptors", float(descriptors)
    yield "threads", float(threads)


def _files(state: Path) -> Sample:
    """Number of files and MiB by the first directory; a database's scratch files are not counted."""
    count: defaultdict[str, float] = defaultdict(float)
    for folder, _, names in os.walk(state):
        area = f"{Path(folder).relative_to(state)}/".partition("/")[0]
        count[f"directories {area}"] += 1
        for name in names:
            try:
                size = os.lstat(f"{folder}/{name}").st_size
            except OSError:
                continue
            count[f"MiB {area}"] += size / MIB
            if not name.endswith(_SCRATCH):
                count[f"files {area}"] += 1
    return dict(count)


def _rows(state: Path) -> Sample:
    found: Sample = {}
    for file in state.glob("*/*.db"):
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as database:
            tables = database.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            )
            for (table,) in tables.fetchall():
                [number] = database.execute(f"SELECT count(*) FROM {table}").fetchone()
                found[f"rows {file.stem}.{table}"] = float(number)
    return found
