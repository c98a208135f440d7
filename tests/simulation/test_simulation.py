"""The promises of the scheduler and its agents, over many seeds of the simulator (docs: tests/simulation).

`python -m tests.simulation --seeds 20000` runs more; a seed that failed is in `regressions`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.scheduler.records.store import SchedulerStore
from tests.simulation.disk import Disk
from tests.simulation.world import simulate

ROOT = Path(__file__).parents[2]
SEEDS = 140
GROUP = 20


@pytest.mark.parametrize("first", range(0, SEEDS, GROUP))
def test_promises_any_seed_hold(first: int) -> None:
    """Promises 1, 2, 3, 5, 6 and 7 of reliability.md.  # S0.2 S0.3 S0.5 S0.7"""
    for seed in range(first, first + GROUP):
        outcome = simulate(seed)
        assert not outcome.failure, "\n".join([f"seed {seed}: {outcome.failure}", *outcome.story])


def test_promises_regression_seeds_hold() -> None:
    """Seeds that once failed."""
    for path in sorted((Path(__file__).parent / "regressions").glob("*.txt")):
        for line in path.read_text().splitlines():
            if line and not line.startswith("#"):
                outcome = simulate(int(line))
                assert not outcome.failure, "\n".join([f"{path.name}: {outcome.failure}", *outcome.story])


def test_trace_same_seed_is_the_same() -> None:
    assert simulate(11).trace_hash == simulate(11).trace_hash
    assert simulate(11).trace_hash != simulate(12).trace_hash


@pytest.mark.parametrize("hash_seed", ["1", "4242"])
def test_trace_other_hash_seed_is_the_same(hash_seed: str) -> None:
    """The machines' order must not hang on the order of sets, or on addresses."""
    code = (
        "from tests.simulation.world import simulate; print(*[simulate(s).trace_hash for s in range(4, 12)])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [simulate(seed).trace_hash for seed in range(4, 12)]


def test_command_line_one_seed_tells_what_happened() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seeds", "1", "--seed", "3"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed: none" in done.stdout


def test_disk_rows_are_those_of_the_store_on_a_file(tmp_path: Path) -> None:
    """The memory database is the schema that the store's migrations make."""
    import asyncio

    async def schema() -> list[tuple[str, str]]:
        store = await SchedulerStore.open(tmp_path / "scheduler.db")
        try:
            return await store.database.read(
                lambda c: c.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
            )
        finally:
            await store.close()

    disk = Disk()
    try:
        assert disk.query("SELECT name, sql FROM sqlite_master ORDER BY name") == asyncio.run(schema())
    finally:
        disk.close()
