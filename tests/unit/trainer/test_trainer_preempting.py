"""Jobs that may be interrupted make room for one of higher priority: as few as possible, never for nothing (S3.4)."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from modelyard.training.policies.restarts import Cause
from services.trainer.jobs import preempting
from services.trainer.model import ConditionKind, Exit, JobState
from services.trainer.state.events import JobResumed, JobSuspended, RoomFound, SeatEnded
from services.trainer.state.jobs import Job
from tests.support.training_world import World, plan_from

TEXT = """
kind: Framework
id: plain
roles:
  worker: {count: {default: 2}, functions: {create: {argv: [work]}, restart: {max: 0, backoff: [1s, 1s]}}}
---
kind: Job
framework: plain
priority: %d
%s
"""


def create(world: World, priority: int = 0, *, preemptible: bool = True, more: str = "") -> int:
    number = world.create(plan_from(TEXT % (priority, f"preemptible: {str(preemptible).lower()}\n{more}")))
    for _ in range(8):
        world.hear()
        world.place()
    return number


def job(world: World, number: int) -> Job:
    return world.state.jobs[number].job


def seated(world: World, number: int) -> int:
    return sum(bool(one.address) for one in world.state.jobs[number].instances.values())


def candidates(world: World) -> list[tuple[int, tuple[int, ...]]]:
    return [(wish.job, wish.candidates) for wish in preempting.wishes(world.state, world.now)]


def settle(world: World) -> None:
    for _ in range(12):
        world.hear()
        world.place()


def test_lower_priority_of_the_same_queue_that_may_be_interrupted_makes_room() -> None:
    world = World(seats_most=6)
    oldest, kept = create(world), create(world, preemptible=False)
    world.pass_time()
    youngest = create(world)
    create(world, 1)
    other = create(world, 9, more="queue: other")
    high = create(world, 5)
    assert all(job(world, one).state is JobState.RUNNING for one in (oldest, kept, youngest))
    assert candidates(world) == [(high, (youngest, oldest)), (4, (youngest, oldest))]
    assert job(world, other).state is JobState.RESERVING, "another queue's jobs are not asked"


def test_job_that_makes_room_gives_everything_back_and_goes_on_before_its_equals() -> None:
    world = World(seats_most=4)
    low, high = create(world), create(world, 5)
    world.do(RoomFound(high, (low,)))
    assert seated(world, low) == 2, "both have places until the first has ended"
    settle(world)
    assert job(world, low).state is JobState.RUNNING, "there was room for both: nothing was asked for"


def test_preempted_job_waits_for_the_other_and_is_queued_before_its_equals() -> None:
    world = World(seats_most=2)
    low, equal, high = create(world), create(world), create(world, 5)
    assert job(world, equal).state is JobState.RESERVING
    budgets = dict(job(world, low).budgets)
    world.do(RoomFound(high, (low,)))
    assert "makes room for j-3 of priority 5" in job(world, low).message
    assert candidates(world) == [], "one at a time"
    settle(world)
    assert (job(world, low).state, job(world, low).reason) == (JobState.SUSPENDED, "PREEMPTED")
    assert (seated(world, low), seated(world, high)) == (0, 2)
    [suspended] = [one for one in job(world, low).conditions if one.kind is ConditionKind.SUSPENDED]
    assert (suspended.is_true, suspended.reason) == (True, "PREEMPTED")
    world.pass_time()
    assert job(world, low).state is JobState.RESERVING, "the other has its places"
    assert job(world, equal).turn > job(world, low).turn
    world.die()
    settle(world)
    world.finish_one()
    world.finish_one()
    settle(world)
    assert (seated(world, low), seated(world, equal)) == (2, 0)
    assert job(world, low).budgets == budgets and job(world, low).preemptions == 1
    assert not any(one.yields_to for one in (job(world, low), job(world, equal)))


def test_job_that_was_interrupted_keeps_its_next_places_for_a_while() -> None:
    world = World(seats_most=2)
    low, high = create(world), create(world, 5)
    world.do(RoomFound(high, (low,)))
    settle(world)
    world.finish_one()
    world.finish_one()
    world.pass_time()
    settle(world)
    again = create(world, 5)
    assert seated(world, low) == 2 and candidates(world) == []
    world.pass_time(preempting.SETTLED_MS)
    assert candidates(world) == [(again, (low,))]


def test_room_that_somebody_else_took_is_not_waited_for_for_ever() -> None:
    world = World(seats_most=2)
    low, high = create(world), create(world, 5)
    world.do(RoomFound(high, (low,)))
    for _ in range(6):
        world.hear()
    assert job(world, low).state is JobState.SUSPENDED
    world.pass_time(preempting.YIELD_MS // 2)
    assert job(world, low).state is JobState.SUSPENDED and candidates(world) == []
    world.pass_time(preempting.YIELD_MS)
    assert job(world, low).state is JobState.RESERVING


@pytest.mark.parametrize("change", ["suspended", "ended", "head placed", "gone"])
def test_choice_that_is_out_of_date_changes_nothing(change: str) -> None:
    world = World(seats_most=2)
    low, high = create(world), create(world, 5)
    others = (low,) if change != "gone" else (low, 99)
    if change == "suspended":
        world.do(JobSuspended(7, low, ""))
    elif change == "ended":
        world.finish_one()
        world.finish_one()
        settle(world)
    elif change == "head placed":
        world.seats_most = 4
        settle(world)
    world.do(RoomFound(high, others))
    assert not any(live.job.yields_to for live in world.state.jobs.values())


def test_people_who_steer_a_job_that_makes_room_are_obeyed() -> None:
    world = World(seats_most=2)
    low, high = create(world), create(world, 5)
    world.do(RoomFound(high, (low,)))
    world.do(JobSuspended(7, low, ""))
    settle(world)
    world.pass_time(2 * preempting.YIELD_MS)
    assert job(world, low).state is JobState.SUSPENDED, "it is theirs to resume now"
    world.do(JobResumed(8, low))
    settle(world)
    assert job(world, low).state is JobState.RESERVING


def test_seat_that_the_scheduler_preempts_is_replaced_uncounted() -> None:
    world = World(seats_most=2)
    low = create(world)
    task = world.state.jobs[low].instances["worker", 0].task
    del world.seats[task]
    found = Exit(epoch=0, cause=Cause.PREEMPTED, message="it makes room for t-9", end_ms=world.now)
    world.do(SeatEnded(low, task, found))
    assert job(world, low).state is JobState.RESTARTING
    last = [one for one in job(world, low).conditions if one.kind is ConditionKind.RESTARTING][-1]
    assert (last.is_true, last.reason) == (True, "PREEMPTED")
    [budget] = job(world, low).budgets.values()
    assert (budget.used, budget.uncounted) == (0, 1)
    world.run()
    assert job(world, low).state is JobState.SUCCEEDED


def test_seat_that_cannot_be_prepared_fails_the_job_in_the_place_of_asking_for_ever() -> None:  # S3.9
    world = World(seats_most=0)
    number = create(world)
    task = world.state.jobs[number].instances["worker", 0].task
    found = Exit(epoch=0, cause=Cause.SETUP, message="there is no such image", end_ms=world.now)
    world.do(SeatEnded(number, task, found))
    settle(world)
    assert job(world, number).outcome is JobState.FAILED
    assert job(world, number).failure is not None and job(world, number).failed == ("worker", 0)


def chosen(
    candidates: tuple[int, ...], fits: Callable[[tuple[int, ...]], bool]
) -> tuple[tuple[int, ...], int]:
    """What is chosen, and how often was asked."""
    choice, asked = preempting.choose(candidates), 0
    try:
        wanted = next(choice)
        while True:
            asked += 1
            wanted = choice.send(fits(wanted))
    except StopIteration as end:
        return end.value, asked


def test_choice_is_minimal_and_nobody_is_taken_where_all_would_not_be_enough() -> None:
    assert chosen((), lambda some: True) == ((), 0)
    assert chosen((1, 2, 3), lambda some: False) == ((), 1)
    assert chosen((1, 2, 3), lambda some: True)[0] == (1,)
    assert chosen((1, 2, 3), lambda some: 3 in some)[0] == (3,)
    assert chosen((1, 2, 3), lambda some: len(some) > 1)[0] == (1, 2)
    assert chosen((1, 2, 3), lambda some: {2, 3} <= {*some})[0] == (2, 3)


def test_choice_fits_and_can_leave_nobody_out_whatever_makes_room() -> None:
    chance = random.Random(7)
    for _ in range(300):
        count = chance.randint(1, 7)
        every = tuple(range(count))
        enough = [set(chance.sample(every, chance.randint(1, count))) for _ in range(chance.randint(0, 3))]

        def fits(some: tuple[int, ...], enough: list[set[int]] = enough) -> bool:
            return any(one <= {*some} for one in enough)

        found, asked = chosen(every, fits)
        assert asked <= 1 + 3 * count
        assert bool(found) == fits(every)
        assert not found or fits(found)
        assert not any(fits(part) for part in itertools.combinations(found, max(0, len(found) - 1)) if part)
        if any(len(one) == 1 for one in enough):
            assert len(found) == 1
