"""Instances that live and do nothing are found within their window, say where they stand, and start again (S3.8)."""

from __future__ import annotations

import pytest

from modelyard.training import Progress
from modelyard.training.policies.restarts import Cause
from services.trainer.jobs.hangs import TEXT_BYTES_MOST
from services.trainer.model import ConditionKind, Exit, InstanceState, JobState
from services.trainer.state.effects import DropStacks, DumpStacks, PutStacks, StopInstance
from services.trainer.state.events import ActivitySeen, InstanceEnded, ProgressReported, StacksTold
from services.trainer.state.jobs import Instance
from tests.support.training_world import World, plan_from

TEXT = """
kind: Framework
id: ranks
roles:
  rank:
    count: {default: 2}
    functions: {create: {argv: [work]}, restart: {when: [%s], scope: %s, max: 2, backoff: [1s, 1s]}}
---
kind: Job
framework: ranks
hang: {silent: 10s, and_cpu_below: 2}
"""


def running(when: str = "hang", scope: str = "job") -> World:
    world = World(seats_most=2)
    world.create(plan_from(TEXT % (when, scope)))
    for _ in range(8):
        world.hear()
        world.place()
    assert world.state.jobs[1].job.state is JobState.RUNNING
    return world


def rank(world: World, index: int) -> Instance:
    return world.state.jobs[1].instances["rank", index]


def look(world: World, index: int, silent_ms: int, cpu: float = 0.0) -> None:
    world.do(ActivitySeen(1, "rank", index, rank(world, index).epoch, cpu, silent_ms))


def quiet(world: World, ms: int = 10_000, silent_ms: int = 10_000) -> None:
    world.now += ms
    for index in (1, 0):
        look(world, index, silent_ms)


def test_hang_is_found_when_its_window_is_over_and_stacks_of_all_are_asked_for_before_anybody_ends() -> None:
    world = running()
    world.now += 9_000
    look(world, 1, 9_000)
    assert rank(world, 1).state is InstanceState.RUNNING
    world.now += 1_000
    look(world, 0, 9_900)
    look(world, 1, 10_000)
    wishes = [one for one in world.effects.wishes if isinstance(one, DumpStacks | StopInstance)]
    assert [(type(one), one.index) for one in wishes] == [
        (DumpStacks, 1), (DumpStacks, 0), (StopInstance, 1), (StopInstance, 0),
    ]  # fmt: skip
    assert [one.is_fatal for one in wishes if isinstance(one, DumpStacks)] == [True, True]
    assert [one for one in world.effects.rows if isinstance(one, DropStacks)] == [DropStacks(1)]
    [hanging] = [one for one in world.state.jobs[1].job.conditions if one.kind is ConditionKind.HANGING]
    assert hanging.is_true and "rank-1 is silent, idle and makes no progress for 10 s" in hanging.message
    world.run()
    assert world.outcomes == {1: JobState.SUCCEEDED}
    assert not [one for one in world.state.jobs[1].job.conditions if one.kind is ConditionKind.HANGING][
        -1
    ].is_true


def test_who_is_busy_writes_or_progresses_does_not_hang_and_its_window_begins_anew() -> None:
    world = running()
    world.now += 10_000
    look(world, 0, 10_000, cpu=0.5)
    look(world, 1, 2_000)
    world.do(ProgressReported(1, "rank", 1, Progress(step=3)))
    world.now += 9_000
    look(world, 0, 19_000)
    look(world, 1, 11_000)
    assert rank(world, 0).state is rank(world, 1).state is InstanceState.RUNNING
    world.now += 1_000
    look(world, 0, 20_000)
    assert rank(world, 0).state is InstanceState.STOPPING


def test_only_who_ends_anyway_may_be_ended_by_the_question() -> None:
    world = running(scope="instance")
    world.now += 10_000
    look(world, 0, 10_000)
    dumps = [(one.index, one.is_fatal) for one in world.effects.wishes if isinstance(one, DumpStacks)]
    assert dumps == [(0, True), (1, False)]
    assert rank(world, 1).state is InstanceState.RUNNING


def test_peers_of_a_hang_beyond_the_budget_end_with_the_job_and_are_asked_as_who_ends() -> None:
    """Which of those who wait for each other is found first is chance: the stacks of all are worth the same."""
    world = running("exit")
    world.now += 10_000
    look(world, 0, 10_000)
    assert world.state.jobs[1].job.outcome is JobState.FAILED
    wishes = [one for one in world.effects.wishes if isinstance(one, DumpStacks | StopInstance)]
    assert [(type(one), one.index) for one in wishes] == [
        (DumpStacks, 0), (DumpStacks, 1), (StopInstance, 0), (StopInstance, 1),
    ]  # fmt: skip
    assert [one.is_fatal for one in wishes if isinstance(one, DumpStacks)] == [True, True]


def test_stacks_are_kept_within_their_bound_and_those_of_an_earlier_epoch_are_not() -> None:
    world = running()
    quiet(world)
    world.do(StacksTold(1, "rank", 0, 1, "é" * TEXT_BYTES_MOST))
    [kept] = [one for one in world.effects.rows if isinstance(one, PutStacks)]
    assert (kept.role, kept.index, kept.epoch, kept.node) == ("rank", 0, 1, "n")
    assert len(kept.text.encode()) == TEXT_BYTES_MOST
    world.do(StacksTold(1, "rank", 0, 7, "of nobody"))
    assert not [one for one in world.effects.rows if isinstance(one, PutStacks)]


def test_exit_of_what_hung_is_a_hang_with_what_its_processes_left() -> None:
    world = running("exit")
    world.news.clear()
    world.now += 10_000
    look(world, 0, 10_000)
    one = rank(world, 0)
    assert one.state is InstanceState.STOPPING, "it has not failed while it lives"
    assert world.state.jobs[1].job.outcome is JobState.FAILED, "its job is not begun anew by another's end"
    found = Exit(epoch=1, cause=Cause.SIGNAL, signal=6, last_lines=("Fatal Python error: Aborted",), node="n")
    world.do(InstanceEnded(1, "rank", 0, one.task, found))
    job = world.state.jobs[1].job
    assert one.exit is not None and (one.exit.cause, one.exit.signal) == (Cause.HANG, 6)
    assert one.exit.last_lines == ("Fatal Python error: Aborted",) and "is silent" in one.exit.message
    assert one.state is InstanceState.FAILED
    assert job.failure is not None and (job.failure.cause, job.failed) == (Cause.HANG, ("rank", 0))
    assert job.outcome is JobState.FAILED


def test_peers_that_hang_together_are_one_hang_and_the_verdict_on_the_first_holds() -> None:
    """S3.8: a peer that is found a moment later neither asks all again where they stand, nor begins anew what has
    failed."""
    world = running("exit")
    quiet(world)
    assert world.state.jobs[1].job.outcome is JobState.FAILED
    world = running("hang", scope="instance")
    world.now += 10_000
    look(world, 0, 10_000)
    first = list(world.effects.wishes)
    look(world, 1, 10_000)
    asked = [[one.index for one in of if isinstance(one, DumpStacks)] for of in (first, world.effects.wishes)]
    assert asked == [[0, 1], [1]]
    assert not [one for one in world.effects.rows if isinstance(one, DropStacks)]


@pytest.mark.parametrize("age_ms", [0, 9_000])
def test_trainer_that_was_not_there_holds_nothing_against_anybody(age_ms: int) -> None:
    world = running()
    world.now += 60_000
    world.die()
    world.hear()
    look(world, 0, 60_000)
    world.now += age_ms
    look(world, 0, 60_000 + age_ms)
    assert rank(world, 0).state is InstanceState.RUNNING
    world.now += 10_000
    look(world, 0, 80_000)
    assert rank(world, 0).state is InstanceState.STOPPING
