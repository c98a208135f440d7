"""Which checkpoint an instance goes on from, which are kept, what follows where one is torn after all (S3.8, G8)."""

from __future__ import annotations

import pytest

from modelyard.training import Progress
from modelyard.training.policies.restarts import Cause
from services.trainer.jobs.checkpoints import step_of
from services.trainer.model import Exit, InstanceState, JobState
from services.trainer.state.events import (
    CheckpointSeen,
    JobResumed,
    JobSuspended,
    ProgressReported,
    SeatEnded,
)
from tests.support.training_world import Seat, World, plan_from

TEXT = """
kind: Framework
id: own
{ranks}
roles:
  worker:
    count: {{default: 2, max: 4}}
    functions:
      create: {{argv: [work], env: {{FROM: "${{job.resume_from}}", DIR: "${{job.checkpoint_dir}}"}}}}
      restart: {{when: [exit, node_lost], scope: {scope}, max: 9, backoff: [1s, 1s]}}
job_status: {{succeeded: worker, failed: worker}}
---
kind: Job
framework: own
checkpoints: {{{rules}}}
"""
RANKS = "ranks: [worker]"


def running(ranks: str = RANKS, scope: str = "job", rules: str = "dir: ckpt, keep_last: 2") -> World:
    world = World()
    world.create(plan_from(TEXT.format(ranks=ranks, scope=scope, rules=rules)))
    until_running(world)
    return world


def until_running(world: World) -> None:
    for _ in range(12):
        world.hear()
        world.place()
        if world.state.jobs[1].job.state is JobState.RUNNING and not world.news and not world.late:
            return
        world.pass_time()
    raise AssertionError(world.state.jobs[1].job)


def seat(world: World, index: int) -> Seat:
    (found,) = [one for one in world.seats.values() if one.index == index]
    return found


def save(world: World, index: int, *steps: int, stored: bool = True) -> None:
    for step in steps:
        world.now += 10
        world.save(seat(world, index), step)
        if stored:
            world.store_all(seat(world, index))
        world.hear()


def fail(world: World, index: int) -> None:
    world._exit(seat(world, index), Cause.EXIT)
    until_running(world)


def steps(world: World) -> list[int]:
    """From which the instances went on last."""
    return [world.resumed[1, "worker", index][-1] for index in (0, 1)]


def kept(world: World, index: int) -> list[str]:
    return sorted(name for (_, _, at, name) in world.checkpoints if at == index)


@pytest.mark.parametrize(
    ("name", "step"),
    [("step-500", 500), ("epoch=3-step=700.ckpt", 700), ("last.pt", None), ("model", None), ("9" * 16, 9)],
)
def test_step_is_the_last_number_of_a_name(name: str, step: int | None) -> None:
    assert step_of(name) == step


def test_who_writes_none_goes_on_from_the_first_writer_s() -> None:
    world = running()
    save(world, 0, 1, 2)
    fail(world, 1)
    assert steps(world) == [2, 2]


def test_writers_go_on_from_the_newest_that_all_of_them_have() -> None:
    world = running()
    save(world, 0, 1, 2, 3)
    save(world, 1, 1, 2)
    fail(world, 0)
    assert steps(world) == [2, 2]


def test_independent_instances_go_on_each_from_its_own() -> None:
    world = running(ranks="", scope="instance")
    save(world, 0, 7)
    save(world, 1, 3)
    fail(world, 0)
    fail(world, 1)
    assert steps(world) == [7, 3]


def test_instance_that_never_wrote_gets_none_where_it_trains_alone() -> None:
    world = running(ranks="", scope="instance")
    save(world, 0, 7)
    fail(world, 1)
    assert steps(world) == [0, 0]


def test_what_is_not_stored_is_good_in_its_own_seat_only() -> None:
    world = running(ranks="", scope="instance")
    save(world, 0, 1)
    save(world, 0, 2, stored=False)
    fail(world, 0)
    assert steps(world)[0] == 2
    lost = seat(world, 0)
    world._end(lost, Cause.NODE_LOST)
    until_running(world)
    assert steps(world)[0] == 1


def test_restart_waits_for_what_is_on_its_way_to_the_store() -> None:
    """The peer is elsewhere: an older one would throw work away."""
    world = running()
    save(world, 0, 1)
    save(world, 0, 2, stored=False)
    world._exit(seat(world, 1), Cause.EXIT)
    for _ in range(5):
        world.hear()
        world.pass_time()
    assert world.state.jobs[1].job.state is JobState.RESTARTING
    world.store_all(seat(world, 0))
    until_running(world)
    assert steps(world) == [2, 2]


def test_store_that_is_away_for_long_costs_work_not_the_job() -> None:
    world = running()
    save(world, 0, 1)
    save(world, 0, 2, stored=False)
    world._exit(seat(world, 1), Cause.EXIT)
    for _ in range(4):
        world.hear()
        world.pass_time(20_000)
    until_running(world)
    assert steps(world) == [1, 1]


def test_suspended_job_waits_for_its_seats_and_goes_on_from_the_last() -> None:
    world = running()
    save(world, 0, 4, stored=False)
    world.do(JobSuspended(1, 1, ""))
    world.hear()
    world.hear()
    assert world.state.jobs[1].job.state is JobState.SUSPENDED
    world.do(JobResumed(1, 1))
    until_running(world)
    assert steps(world) == [4, 4]


def test_last_and_best_are_kept_and_the_rest_is_let_go() -> None:
    world = running(ranks="", scope="instance", rules="dir: ckpt, keep_last: 2, keep_best: 1, metric: loss")
    for step, loss in ((1, 0.5), (2, 0.1), (3, 0.4), (4, 0.3), (5, 0.2)):
        world.do(ProgressReported(1, "worker", 0, Progress(metrics={"loss": loss})))
        save(world, 0, step)
    assert kept(world, 0) == ["step-2", "step-4", "step-5"]
    assert sorted(seat(world, 0).files) == ["step-2", "step-4", "step-5"]
    assert sum(map(bool, world.held.values())) == 3


def test_metric_is_that_of_its_step_however_late_it_is_found() -> None:
    rules = "dir: c, keep_last: 1, keep_best: 1, metric: loss"
    world = running(ranks="", scope="instance", rules=rules)
    for step, loss in ((1, 0.5), (2, 0.1), (3, 0.4)):
        world.do(ProgressReported(1, "worker", 0, Progress(step=step, metrics={"loss": loss})))
    save(world, 0, 1, 2, 3)
    metrics = {one.name: one.metric for one in world.checkpoints.values()}
    assert metrics == {"step-2": 0.1, "step-3": 0.4}


def test_higher_may_be_better() -> None:
    rules = "dir: c, keep_last: 1, keep_best: 1, metric: acc, higher_is_better: true"
    world = running(ranks="", scope="instance", rules=rules)
    for step, accuracy in ((1, 0.5), (2, 0.9), (3, 0.4)):
        world.do(ProgressReported(1, "worker", 0, Progress(metrics={"acc": accuracy})))
        save(world, 0, step)
    assert kept(world, 0) == ["step-2", "step-3"]


def test_what_is_not_stored_yet_replaces_nothing() -> None:
    world = running()
    save(world, 0, 1, 2)
    save(world, 0, 3, 4, stored=False)
    assert kept(world, 0) == ["step-1", "step-2", "step-3", "step-4"]


def test_dropped_one_that_is_told_again_is_dropped_again() -> None:
    world = running()
    save(world, 0, 1)
    again = world._told(seat(world, 0), "step-1")
    save(world, 0, 2, 3)
    world.do(again)
    assert kept(world, 0) == ["step-2", "step-3"]


def test_same_name_with_another_content_is_another_checkpoint() -> None:
    world = running()
    save(world, 0, 1)
    told = world._told(seat(world, 0), "step-1")
    values = {name: getattr(told, name) for name in told.__struct_fields__}
    world.do(CheckpointSeen(**{**values, "digest": "new", "files": (("step-1", "new", 1),)}))
    assert [digests for digests in world.held.values() if digests] == [{"new"}]


def test_torn_one_is_followed_by_an_older_one_in_the_same_epoch() -> None:
    world = running(ranks="", scope="instance")
    save(world, 0, 1, 2)
    world.is_torn = lambda found: found.step == 2
    fail(world, 0)
    assert steps(world)[0] == 1 and world.state.jobs[1].instances["worker", 0].epoch == 2
    assert kept(world, 0) == ["step-1"]


def test_flaw_that_is_told_again_ends_nobody_who_went_on_since() -> None:
    world = running(ranks="", scope="instance")
    save(world, 0, 1, 2)
    world.is_torn = lambda found: found.step == 2
    fail(world, 0)
    [seat] = [one for one in world.seats.values() if one.index == 0]
    again = CheckpointSeen(
        job=1, role="worker", index=0, task=seat.task, node="n", epoch=2, name="step-2", digest="", flaw="torn"
    )  # fmt: skip
    assert seat.is_live and seat.epoch == 2
    world.do(JobSuspended(9, 1, ""))
    world.do(again)
    one = world.state.jobs[1].instances["worker", 0]
    assert one.state is InstanceState.STOPPING, "its processes are asked to end, and live"


def test_torn_one_of_a_gang_starts_everybody_anew_from_the_same() -> None:
    world = running()
    save(world, 0, 1, 2)
    world.is_torn = lambda found: found.step == 2
    fail(world, 1)
    until_running(world)
    assert steps(world) == [1, 1]
    assert {budget.used for budget in world.state.jobs[1].job.budgets.values()} == {1}, "it costs nothing"


def test_directory_that_leads_out_is_a_failure_to_set_up() -> None:
    world = World()
    world.create(plan_from(TEXT.format(ranks="", scope="instance", rules="dir: ckpt")))
    while not world.seats:
        world.hear()
        world.place()
    world.hear(most=1)
    world.hear(most=1)
    found = next(one for one in world.state.jobs[1].instances.values() if one.epoch)
    flaw = CheckpointSeen(
        job=1, role="worker", index=found.index, task=found.task, node="n", epoch=1, name="", digest="", flaw="out",
    )  # fmt: skip
    world.state.jobs[1].instances[found.key].is_started = False
    world.do(flaw)
    assert world.state.jobs[1].instances[found.key].exit.cause is Cause.SETUP  # type: ignore[union-attr]


def test_choice_survives_a_death_of_the_trainer() -> None:
    world = running()
    save(world, 0, 1, 2)
    world.die()
    until_running(world)
    fail(world, 1)
    assert steps(world) == [2, 2]


def test_job_with_outputs_ends_once_they_are_there() -> None:
    world = World()
    text = TEXT.format(ranks="", scope="instance", rules="dir: ckpt")
    text = text.replace("{default: 2, max: 4}", "{default: 1, max: 4}")
    world.create(plan_from(text))
    until_running(world)
    (held,) = world.seats.values()
    world._exit(held, Cause.SUCCESS)
    world._end = lambda seat, *_, **__: None  # type: ignore[assignment, method-assign]
    world.hear()
    assert world.state.jobs[1].job.state is JobState.DRAINING
    told = SeatEnded(1, held.task, Exit(epoch=0, cause=Cause.STOPPED), outputs=(("model.pt", "d", 5),))
    world.do(told)
    assert world.state.jobs[1].job.state is JobState.SUCCEEDED
    assert world.held["user:j-1"] == {"d"}


def test_success_whose_node_is_lost_before_it_has_given_what_is_kept_says_so() -> None:
    world = World()
    text = TEXT.format(ranks="", scope="instance", rules="dir: ckpt")
    text = text.replace("{default: 2, max: 4}", "{default: 1, max: 4}")
    text = text.replace("create: {argv", "clean: {keep: [model.pt]}\n      create: {argv")
    world.create(plan_from(text))
    until_running(world)
    (held,) = world.seats.values()
    world._exit(held, Cause.SUCCESS)
    world._end = lambda seat, *_, **__: None  # type: ignore[assignment, method-assign]
    world.hear()
    world.do(SeatEnded(1, held.task, Exit(epoch=0, cause=Cause.NODE_LOST, message="n was lost")))
    job = world.state.jobs[1]
    assert job.job.state is JobState.SUCCEEDED
    [instance] = job.instances.values()
    assert (instance.state, instance.reason) == (InstanceState.SUCCEEDED, "OUTPUTS_LOST")
    assert "n was lost" in instance.message


def test_agent_that_never_closes_is_not_waited_for_for_ever() -> None:
    world = running()
    for index in (0, 1):
        world._exit(seat(world, index), Cause.SUCCESS)
    world._end = lambda seat, *_, **__: None  # type: ignore[assignment, method-assign]
    world.hear()
    assert world.state.jobs[1].job.state is JobState.DRAINING
    world.pass_time()
    world.pass_time(16 * 60_000)
    assert world.state.jobs[1].job.state is JobState.SUCCEEDED
