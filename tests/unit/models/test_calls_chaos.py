"""Whatever callers and frames do at any moment: every call ends, nothing is counted that is not there, and the next
call is answered (S2.6, G6)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.calls_chaos import Chaos
from tests.support.scripted_frames import CallsWorld

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(90)]

STEPS = 2_000
SERVINGS: dict[str, dict[str, Any]] = {
    "apart": {},
    "apart, and not twice": {"is_idempotent": False},
    "together": {"max_batch": 8},
    "together, with a delay": {"max_batch": 8, "batch_delay_ms": 2.0},
}


@pytest_asyncio.fixture
async def made() -> AsyncIterator[list[Chaos]]:
    found: list[Chaos] = []
    yield found
    for one in found:
        await one.close()


@pytest.mark.parametrize(("seed", "serving"), [*enumerate(SERVINGS.values())], ids=SERVINGS)
async def test_every_call_ends_and_nothing_is_left_counted(
    world: CallsWorld, tmp_path: Path, made: list[Chaos], seed: int, serving: dict[str, Any]
) -> None:
    troubles: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
    chaos = Chaos(world, tmp_path, seed, queue_most=24, **serving)
    made.append(chaos)
    for _ in range(STEPS):
        await chaos.step()
    await chaos.settle()
    assert not chaos.calls, f"{len(chaos.calls)} never end; others: {chaos.outcomes}"
    assert not troubles
    assert chaos.outcomes["answered"] and chaos.outcomes["left"] and chaos.outcomes["CALL_EXPIRED"]
    _nobody_is_in_a_queue(world)
    # A frame says when it has left what nobody waits for any more.
    await world.until(lambda: not _counted_in_frames(world))
    chaos.call()
    await asyncio.wait(chaos.calls, timeout=20)
    assert not chaos.calls
    await world.until(lambda: not any(world.source.active.get(number) for number in world.source.frames))


def _nobody_is_in_a_queue(world: CallsWorld) -> None:
    for lane in world.calls._lanes.values():
        assert (len(lane.line), lane.line.rows, list(lane.line)) == (0, 0, [])


def _counted_in_frames(world: CallsWorld) -> list[tuple[int, int, int]]:
    doors = [door for lane in world.calls._lanes.values() for door in lane.doors.values()]
    counts = [(door.number, door.active_count, door.computation_count) for door in doors]
    return [one for one in counts if any(one[1:])]
