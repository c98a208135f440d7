"""The promises of the scheduler and its agents, over many seeds of the simulator (docs: tests/simulation).

`python -m tests.simulation --seeds 20000` runs more; a seed that failed is in `regressions`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.agent import lifecycle as agent_lifecycle
from services.agent import machine as agent_machine
from services.agent.effects import AckWork
from services.agent.state import State as AgentState
from services.scheduler import agents, timers
from services.scheduler.model import Now
from services.scheduler.state import State
from services.scheduler.store import SchedulerStore
from tests.simulation.disk import Disk
from tests.simulation.world import simulate

ROOT = Path(__file__).parents[2]
SEEDS = 300
GROUP = 20


@pytest.mark.parametrize("first", range(0, SEEDS, GROUP))
def test_promises_any_seed_hold(first: int) -> None:
    """Promises 1, 2, 3, 5, 6 and 7 of reliability.md.  # S0.3 S0.5"""
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


# That the simulator can see: production code is broken in a known way, and some seed must fail.


def _break_stall_credit(patch: pytest.MonkeyPatch) -> None:
    def no_credit(state: State, now: Now) -> None:
        state.last_tick_ms = now.monotonic_ms

    patch.setattr(timers, "_credit_stall", no_credit)


def _break_token(patch: pytest.MonkeyPatch) -> None:
    def by_key_alone(state: State, node: object, key: int, attempt: int, epoch: int) -> object:
        return state.tasks.get(key)

    patch.setattr(agents, "current", by_key_alone)


def _break_reserving(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AgentState, "fits", lambda self, resources: True)


def _break_acknowledging(patch: pytest.MonkeyPatch) -> None:
    """The worker forgets its report before the scheduler has it."""
    original = agent_lifecycle.finish

    def finish(state, worker, task, done, now_ms, effects):  # type: ignore[no-untyped-def]
        original(state, worker, task, done, now_ms, effects)
        effects.append(AckWork(worker.name, (done.key,)))

    patch.setattr(agent_machine, "finish", finish)


def _break_missing(patch: pytest.MonkeyPatch) -> None:
    """What never reached an agent is taken to run there."""
    patch.setattr(agents, "_miss", lambda *anything: None)


def _break_stopping(patch: pytest.MonkeyPatch) -> None:
    """An agent that obeys neither stops nor verdicts."""
    for module in (agent_machine, agent_lifecycle):
        patch.setattr(module, "end_early", lambda state, task, order, now_ms, effects: None)


@pytest.mark.parametrize(
    "break_it",
    [
        _break_stall_credit,
        _break_token,
        _break_reserving,
        _break_acknowledging,
        _break_missing,
        _break_stopping,
    ],
    ids=lambda f: f.__name__,
)
def test_simulator_broken_code_is_caught(
    break_it: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it(monkeypatch)
    for seed in range(SEEDS):
        try:
            if simulate(seed).failure:
                return
        except (AssertionError, LookupError, ValueError):
            return
    pytest.fail(f"no seed of {SEEDS} noticed it")
