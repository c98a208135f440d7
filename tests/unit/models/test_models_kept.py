"""What the models service keeps after many loads is what it kept after a few (G5): objects are counted, not bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.v1 import seat_pb2
from services.chassis.peers.seat_links import CLOSED_MOST, Link, Met
from services.chassis.security import USER, Principal
from services.models.calls import messages
from tests.support.frame_world import MIB, World
from tests.support.inference import raw
from tests.support.kept import entries, grown
from tests.support.scripted_frames import calls_world, echo_config

MODELS = 6


def test_state_of_frames_is_no_larger_after_hundreds_of_loads() -> None:  # G5
    world = World(budget=250 * MIB)

    def load(times: int) -> None:
        for number in range(times):
            world.load_all(f"m{number % MODELS}")

    load(2 * MODELS)
    before = entries(world.state)
    load(60 * MODELS)
    assert len(world.rows) > 60 * MODELS, "each was loaded anew"
    assert not grown(before, entries(world.state))


def test_failures_and_callers_who_gave_up_are_forgotten_in_the_end() -> None:
    world = World(budget=250 * MIB)
    world.unloadable.add("broken")
    world.load_all("good")
    world.want("broken")
    world.settle()
    before = entries(world.state)
    for _ in range(200):
        world.want("broken", for_ms=1_000)
        world.settle()
        world.tick(400_000)
        world.settle()
    world.load_all("good")
    assert not grown(before, entries(world.state))


@pytest.mark.asyncio
async def test_seats_that_are_closed_are_forgotten_in_the_stream_of_their_agent() -> None:  # G5
    """A stream lasts for weeks, and a busy node opens thousands of seats in it."""
    link, met, hello = Link("models", "n0", 1), Met(), seat_pb2.SeatHello(node="n0")
    met.greeted(hello)
    for number in range(20 * CLOSED_MOST):
        for state in (seat_pb2.SEAT_STATE_PREPARING, seat_pb2.SEAT_STATE_OPEN, seat_pb2.SEAT_STATE_CLOSED):
            seat = seat_pb2.Seat(task_id=f"t-{number}", attempt=2, state=state)
            link.note(seat)
            assert met.meets(hello, seat) == (state == seat_pb2.SEAT_STATE_OPEN)
    kept = entries(link, met)
    assert max(kept.values()) <= 3 * CLOSED_MOST, kept
    assert kept["Met._nodes"] <= 3
    link.send(seat_pb2.SeatCommand(task_id=f"t-{20 * CLOSED_MOST - 1}"))
    assert [command.attempt for _, command in link._kept] == [2]


@pytest.mark.asyncio
async def test_calls_keep_nothing_of_frames_that_are_gone(tmp_path: Path) -> None:  # G5
    caller = Principal(USER, account="alice")
    async with calls_world(tmp_path) as world:
        served = world.versions.add(echo_config())

        async def load(times: int) -> None:
            for _ in range(times):
                frame = await world.frame(served)
                number = len(world.frames)
                request = raw(1.0)
                await world.calls.infer(caller, messages.decode(request.SerializeToString()), 20)
                await world.calls.drain(number, 5)
                del world.source.frames[number]
                world.calls.close(number)
                await frame.die()
                world.source.told.clear()

        await load(5)
        before = entries(world.calls)
        await load(100)
        assert not grown(before, entries(world.calls))
