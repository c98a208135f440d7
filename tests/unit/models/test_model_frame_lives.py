"""One frame: loaded, killed, started again, given up, drained; and what its callers are told."""

from __future__ import annotations

import pytest

from services.chassis.errors import InvariantViolation
from services.models.frames import events as ev
from services.models.frames.acts import Act
from services.models.frames.effects import Effects
from services.models.frames.lives import DEATHS_MOST, GOOD_MS, LOST_MS
from services.models.frames.model import TRANSITIONS, FrameState
from services.models.frames.state import Frame
from tests.support.frame_world import MIB, Seat, World, shape


def loaded(world: World, model: str = "m", **fields: object) -> Frame:
    world.want(model, **fields)
    world.settle()
    (frame,) = world.ready(model)
    return frame


def task_of(world: World, frame: Frame) -> str:
    assert frame.task in world.seats
    return frame.task


def test_demand_brings_a_frame_from_its_place_to_its_calls() -> None:  # S2.5
    world = World()
    world.want("m")
    (frame,) = world.frames("m")
    assert frame.state is FrameState.PENDING and world.batches == {frame.batch: frame.number}
    task = world.accept(frame.batch)
    assert (frame.task, frame.batch) == (task, 0)
    world.open(task)
    assert frame.state is FrameState.LOADING and world.seats[task].epoch == frame.epoch == 1
    world.listen(task)
    assert world.doors == {frame.number: 1}
    world.load(frame.number)
    assert frame.state is FrameState.READY and not world.state.demands


def test_frame_whose_image_is_pulled_says_so_until_it_listens() -> None:  # S2.4
    world = World()
    world.want("m")
    (frame,) = world.frames("m")
    task = world.accept(frame.batch)
    world.open(task)
    coming = "pulling the image registry.example/cv:7"
    world.tell(ev.ImageComing(frame.number, task, frame.epoch - 1, coming))
    assert frame.message == "", "that was a launch before"
    world.tell(ev.ImageComing(frame.number, task, frame.epoch, coming))
    assert (frame.state, frame.reason, frame.message) == (FrameState.LOADING, "PULLING", coming)
    world.listen(task)
    assert (frame.state, frame.reason, frame.message) == (FrameState.LOADING, "STARTING", "")
    world.tell(ev.ImageComing(frame.number, task, frame.epoch, coming))
    assert frame.message == "", "a component that says so itself is not heard"


def test_second_demand_for_what_is_loading_makes_no_second_frame() -> None:
    world = World()
    world.want("m")
    world.want("m")
    assert len(world.frames("m")) == 1


def test_seat_that_opens_before_its_answer_is_the_frames_own() -> None:
    world = World()
    world.want("m")
    (frame,) = world.frames("m")
    batch = frame.batch
    world.seats["t-9"] = Seat("t-9", frame.number)
    world.tell(ev.SeatOpened(frame.number, "t-9", "node-1", "tcp://node-1:1", "/seats/t-9", {}))
    assert (frame.task, frame.batch, frame.state) == ("t-9", 0, FrameState.LOADING)
    world.tell(ev.SeatAccepted(frame.number, batch, "t-9"))
    assert frame.task == "t-9"


def test_frame_that_dies_is_started_again_in_its_seat() -> None:  # S2.6, N7
    world = World()
    frame = loaded(world)
    task = task_of(world, frame)
    world.kill(task)
    assert (frame.state, frame.epoch, frame.restarts) == (FrameState.LOADING, 2, 1)
    assert world.doors == {}
    world.settle()
    assert frame.state is FrameState.READY and frame.task == task and len(world.seats) == 1


def test_frame_that_dies_again_and_again_has_failed_with_its_last_lines() -> None:
    world = World()
    frame = loaded(world)
    for _ in range(DEATHS_MOST):
        world.kill(task_of(world, frame))
        world.tick(31_000)
        world.settle()
    assert frame.state is FrameState.READY
    seat = world.seats[frame.task]
    world.tell(
        ev.ProcessEnded(
            frame=frame.number,
            task=seat.task,
            epoch=seat.epoch,
            cause="SIGNAL",
            message="was ended by SIGSEGV",
            last_lines=("Fatal: out of luck",),
        )
    )
    assert frame.state is FrameState.FAILED and frame.reason == "DIES"
    assert "6 times in a row: was ended by SIGSEGV: Fatal: out of luck" in frame.message
    world.settle()
    assert not world.seats


def test_deaths_are_counted_anew_after_a_good_time() -> None:
    world = World()
    frame = loaded(world)
    for _ in range(3 * DEATHS_MOST):
        world.used(frame.number, 1)
        world.now += GOOD_MS + 1
        world.used(frame.number, 0)
        world.kill(task_of(world, frame))
        world.settle()
    assert frame.state is FrameState.READY and frame.restarts == 3 * DEATHS_MOST


def test_frame_that_never_loads_is_not_tried_for_long() -> None:
    world = World()
    world.want("m")
    (frame,) = world.frames("m")
    world.open(world.accept(frame.batch))
    for _ in range(3):
        assert frame.state is FrameState.LOADING
        world.kill(frame.task, "EXIT")
        for _ in range(8):
            world.tick()
    assert frame.state is FrameState.FAILED and frame.reason == "DIES_LOADING"
    (refusal,) = world.refusals
    assert refusal.key == frame.key and "exit" in refusal.failure.message


def test_unloadable_component_is_told_at_once_and_not_tried_again_soon() -> None:  # S2.6
    world = World()
    world.unloadable = {"m"}
    world.want("m")
    world.settle()
    (refusal,) = world.refusals
    assert (refusal.failure.code, refusal.failure.field) == ("INVALID_ARGUMENT", "component")
    world.want("m")
    assert len(world.refusals) == 2 and not world.frames("m")
    world.now += 400_000
    world.unloadable = set()
    loaded(world)


def test_memory_that_does_not_suffice_names_its_field() -> None:
    world = World()
    world.want("m")
    (frame,) = world.frames("m")
    world.open(world.accept(frame.batch))
    world.kill(frame.task, "OUT_OF_MEMORY")
    assert frame.reason == "OUT_OF_MEMORY"
    assert [one.failure.field for one in world.refusals] == ["runtime.memory"]


def test_frame_of_which_only_the_connection_is_lost_is_killed_and_started_again() -> None:
    world = World()
    frame = loaded(world)
    world.tell(ev.FrameGone(frame.number, "it does not answer"))
    assert frame.state is FrameState.READY and not frame.is_connected
    world.tick(LOST_MS)
    seat = world.seats[frame.task]
    assert not seat.runs
    world.kill(seat.task)
    world.settle()
    assert frame.state is FrameState.READY and frame.epoch == 2


def test_lost_seat_of_a_frame_that_nobody_wants_is_not_replaced() -> None:
    world = World()
    frame = loaded(world)
    world.close(frame.task, "NODE_LOST")
    world.settle()
    assert not world.frames("m") and not world.seats
    assert world.latest(frame.number).reason == "NODE_LOST"


def test_unused_frame_ends_after_its_time_and_gives_its_place_back() -> None:  # S2.6
    world = World()
    frame = loaded(world, idle_s=60.0)
    world.used(frame.number, 1)
    world.tick(100_000)
    assert frame.state is FrameState.READY
    world.used(frame.number, 0)
    world.tick(59_000)
    assert frame.state is FrameState.READY
    world.tick(2_000)
    assert (frame.state, frame.reason) == (FrameState.DRAINING, "IDLE")
    world.settle()
    assert not world.seats and not world.frames()


def test_frame_that_drains_keeps_its_place_until_its_calls_are_answered() -> None:
    world = World()
    frame = loaded(world)
    world.used(frame.number, 2)
    world.tell(ev.UnloadWanted(1, (frame.number,)))
    assert frame.state is FrameState.DRAINING and world.draining == {frame.number}
    assert not world.seats[frame.task].is_over
    world.used(frame.number, 0)
    world.happen("drained", frame.number)
    assert world.seats[frame.task].is_over


def test_demand_that_is_over_lets_go_of_what_has_no_place_yet() -> None:
    world = World()
    world.want("m", for_ms=1_000)
    (frame,) = world.frames("m")
    task = world.accept(frame.batch)
    world.tick(2_000)
    assert (frame.state, frame.reason) == (FrameState.ENDED, "UNWANTED")
    assert world.seats[task].is_over
    world.settle()
    assert not world.frames() and not world.seats


def test_demand_that_is_over_leaves_alone_what_is_loading() -> None:
    """The next caller profits from it."""
    world = World()
    world.want("m", for_ms=1_000)
    (frame,) = world.frames("m")
    world.open(world.accept(frame.batch))
    world.tick(2_000)
    world.settle()
    assert frame.state is FrameState.READY


def test_frame_that_is_loaded_by_hand_stays_although_nobody_calls_it() -> None:
    world = World()
    world.tell(ev.Wanted(shape("m", idle_s=1.0), world.now + 60_000, is_held=True))
    world.settle()
    world.tick(3_600_000)
    (frame,) = world.ready("m")
    assert frame.is_held


def test_load_on_a_node_makes_a_frame_there_beside_the_other() -> None:
    world = World()
    frame = loaded(world)
    other = next(node for node in world.nodes if node != frame.at_node)
    world.tell(ev.Wanted(shape("m"), world.now + 60_000, other))
    world.settle()
    assert {one.at_node for one in world.ready("m")} == set(world.nodes)


def test_killed_service_adopts_living_frames_and_doubles_none() -> None:  # S2.6
    world = World()
    frame = loaded(world)
    task, epoch = frame.task, frame.epoch
    world.die()
    (adopted,) = world.frames("m")
    assert adopted.number == frame.number and not adopted.is_connected
    world.want("m")
    world.settle()
    assert [(one.task, one.epoch) for one in world.frames()] == [(task, epoch)]
    assert len(world.seats) == 1 and world.ready("m")


def test_killed_service_sends_again_what_was_lost_with_it() -> None:
    """The launch was on disk, and never left."""
    world = World()
    world.want("m")
    (frame,) = world.frames("m")
    task = world.accept(frame.batch)
    world.open(task)
    world.seats[task].epoch, world.seats[task].runs = 0, False
    world.die()
    assert world.seats[task].epoch == 1 and world.seats[task].runs


def test_frame_that_was_draining_when_the_service_died_gives_its_place_back() -> None:
    world = World()
    frame = loaded(world)
    world.tell(ev.UnloadWanted(1, (frame.number,)))
    world.die()
    world.settle()
    assert not world.seats and not world.frames()


def test_frame_that_died_while_the_service_was_dead_is_started_again() -> None:
    world = World()
    frame = loaded(world)
    world.seats[frame.task].runs = False
    world.die()
    world.settle()
    assert world.ready("m")[0].epoch == 2


def test_seat_of_no_frame_is_given_back() -> None:
    world = World()
    effects = world.tell(ev.SeatOpened(77, "t-77", "node-1", "tcp://node-1:1", "/seats/t-77", {}))
    assert [type(one).__name__ for one in effects.wishes] == ["CloseSeat"]


@pytest.mark.parametrize("before", FrameState)
@pytest.mark.parametrize("after", FrameState)
def test_ways_that_there_are_not_are_refused(before: FrameState, after: FrameState) -> None:
    world = World()
    frame = Frame(number=1, shape=shape("m", memory=MIB), state=before)
    act = Act(world.state, Effects(), 1)
    if after is before or after in TRANSITIONS[before]:
        act.set(frame, after)
    else:
        with pytest.raises(InvariantViolation):
            act.set(frame, after)
