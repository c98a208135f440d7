"""Agents that die and come back, and versions that are deleted while they are loaded (S2.6, N7)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from modelyard.v1 import job_pb2, seat_pb2
from services.models.frames import effects as e
from services.models.frames import events as ev
from services.models.frames.homes import Homes
from services.models.frames.model import FrameState
from services.models.frames.seats import Hearing
from services.models.frames.state import Frame
from tests.support.frame_world import Seat, World, key

PREPARING, OPEN = seat_pb2.SEAT_STATE_PREPARING, seat_pb2.SEAT_STATE_OPEN
RUNNING, ENDED = seat_pb2.SEAT_STATE_RUNNING, seat_pb2.SEAT_STATE_ENDED


class Ears:
    """The owner of the seats of a world's frames."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.given_back: list[str] = []
        self.wishes: list[e.Wish] = []
        engine = SimpleNamespace(
            state=world.state, epoch=1, post=self._post, settled=self._settled,
            places=SimpleNamespace(frame_of=lambda task: 0), carrying=SimpleNamespace(homes=Homes()),
        )  # fmt: skip
        self.hearing = Hearing(engine)  # type: ignore[arg-type]

    def _post(self, event: ev.Event) -> None:
        self.wishes += self.world.tell(event).wishes

    async def _settled(self) -> None:
        """Each event is a step of its own."""

    async def greet(self, node: str, *seats: seat_pb2.Seat) -> seat_pb2.SeatHello:
        hello = seat_pb2.SeatHello(node=node, ip=node, seats=seats)
        (await self.hearing.greeted(hello, lambda seat, why: self.given_back.append(seat.task_id)))()
        return hello

    async def tell(self, hello: seat_pb2.SeatHello, seat: seat_pb2.Seat) -> None:
        await self.hearing.heard(hello, [seat_pb2.SeatEvent(task_id=seat.task_id, seat=seat)])


def seen(seat: Seat, state: seat_pb2.SeatState.ValueType, epoch: int) -> seat_pb2.Seat:
    """As its agent has it."""
    found = seat_pb2.Seat(
        task_id=seat.task, job_id=f"f-{seat.frame}", state=state, epoch=epoch, directory=f"/seats/{seat.task}",
        ports={"serve": seat.frame + 1000},
    )  # fmt: skip
    if state == ENDED:
        found.exit.cause = job_pb2.EXIT_CAUSE_SIGNAL
    return found


def opened(world: World) -> tuple[Frame, Seat]:
    """A frame whose launch is on its way."""
    world.want("m")
    (frame,) = world.frames("m")
    world.open(world.accept(frame.batch))
    assert (frame.state, frame.epoch) == (FrameState.LOADING, 1)
    return frame, world.seats[frame.task]


@pytest.mark.asyncio
async def test_launch_that_was_lost_with_its_agent_is_sent_again() -> None:  # S2.6
    """The agent is back before it knows its seats: what it says of them first is its greeting."""
    world = World()
    frame, seat = opened(world)
    seat.epoch, seat.runs = 0, False
    ears = Ears(world)
    hello = await ears.greet(seat.node, seen(seat, PREPARING, 0))
    assert not seat.runs
    await ears.tell(hello, seen(seat, OPEN, 0))
    assert seat.runs and seat.epoch == frame.epoch == 1
    world.settle()
    assert frame.state is FrameState.READY and len(world.seats) == 1


@pytest.mark.asyncio
async def test_relaunch_that_was_lost_is_sent_again_though_the_end_before_it_is_all_that_is_told() -> None:
    world = World()
    frame, seat = opened(world)
    world.settle()
    world.kill(seat.task)
    assert (frame.state, frame.epoch) == (FrameState.LOADING, 2)
    seat.epoch, seat.runs = 1, False
    ears = Ears(world)
    hello = await ears.greet(seat.node, seen(seat, PREPARING, 1))
    await ears.tell(hello, seen(seat, ENDED, 1))
    assert (seat.epoch, seat.runs, frame.deaths) == (2, True, 1), "it died once, and was started once more"
    world.settle()
    assert frame.state is FrameState.READY


@pytest.mark.asyncio
async def test_running_frame_is_adopted_and_not_started_again() -> None:
    world = World()
    frame, seat = opened(world)
    world.settle()
    ears = Ears(world)
    for _ in range(2):
        hello = await ears.greet(seat.node, seen(seat, PREPARING, 0))
        await ears.tell(hello, seen(seat, RUNNING, 1))
        await ears.tell(hello, seen(seat, RUNNING, 1))
    assert (frame.state, frame.epoch, seat.epoch) == (FrameState.READY, 1, 1)
    assert len(world.frames()) == len(world.seats) == 1 and not ears.given_back


@pytest.mark.asyncio
async def test_seat_that_nobody_wants_is_given_back_as_soon_as_it_is_known() -> None:
    world = World()
    ears = Ears(world)
    seat = Seat("t-9", 77, "node-1")
    hello = await ears.greet("node-1", seen(seat, PREPARING, 0))
    await ears.tell(hello, seen(seat, RUNNING, 1))
    assert ears.given_back == ["t-9"]
    assert ears.wishes == [e.CloseSeat("t-9", "node-1", "it is not wanted", False)]


def test_deleted_version_ends_once_it_has_answered() -> None:  # S2.2
    world = World()
    world.load_all("m", "other")
    (frame,), (other,) = world.ready("m"), world.ready("other")
    frame.is_held = True
    world.used(frame.number, 1)
    world.tell(ev.VersionGone(key("m"), "the version was deleted"))
    assert (frame.state, frame.reason, frame.is_held) == (FrameState.DRAINING, "VERSION_DELETED", False)
    world.used(frame.number, 0)
    world.settle()
    assert world.frames() == [other] and other.state is FrameState.READY


def test_who_waits_for_a_deleted_version_is_told_and_nothing_of_it_stays() -> None:
    world = World()
    world.want("m")
    world.settle()
    world.want("n")
    (frame,) = world.frames("n")
    world.accept(frame.batch)
    world.tell(ev.VersionGone(key("n"), "the version was deleted"))
    (refusal,) = world.refusals
    assert (refusal.key, refusal.failure.reason) == (key("n"), "VERSION_DELETED")
    world.settle()
    assert not world.frames("n") and not world.state.demands and not world.state.failures
