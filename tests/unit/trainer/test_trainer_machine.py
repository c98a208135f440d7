"""Jobs through the trainer's machine, one event at a time: queue, gang, edges, failures, ends (S3.1–S3.11)."""

from __future__ import annotations

import msgspec
import pytest

from modelyard.training import Progress
from modelyard.training.policies.restarts import Cause
from services.trainer.jobs.standing_in import plan_without_framework
from services.trainer.model import Exit, InstanceState, JobState
from services.trainer.state.events import (
    FrameworkLost,
    InstanceEnded,
    JobResumed,
    JobStopped,
    JobSuspended,
    ProgressReported,
    RoleScaled,
    SeatOpened,
    SeatStands,
)
from services.trainer.state.jobs import Instance
from tests.support.training_world import Seat, World, plan_from

TWO_ROLES = """
kind: Framework
id: two
roles:
  server:
    count: {default: 1}
    service: {ports: {main: auto}}
    functions:
      create: {argv: [serve]}
      status: {endless: true}
      restart: {when: [exit, node_lost], scope: instance, max: 2, backoff: [1s, 4s]}
  worker:
    count: {default: 2, max: 8, elastic: true}
    functions:
      create: {argv: [work]}
      depend: [{role: server, until: started}]
      restart: {when: [exit, node_lost], scope: %s, max: 2, backoff: [1s, 4s]}
job_status: {succeeded: worker, failed: "any(server, worker)"}
---
kind: Job
framework: two
name: %s
gang: {min: {worker: 2}}
"""


def job(scope: str = "instance", name: str = "one", more: str = "") -> str:
    return TWO_ROLES % (scope, name) + more


def states(world: World, number: int = 1) -> dict[str, str]:
    found = world.state.jobs[number].instances.values()
    return {f"{one.role}-{one.index}": one.state.value for one in found}


def state(world: World, number: int = 1) -> JobState:
    return world.state.jobs[number].job.state


def test_job_gets_all_its_places_then_starts_in_the_order_of_its_edges() -> None:  # S3.4, S3.5
    world = World(seats_most=3)
    world.create(plan_from(job()))
    assert state(world) is JobState.RESERVING
    world.hear()
    world.place()
    world.hear(most=1)
    assert state(world) is JobState.RESERVING
    world.hear(most=2)
    assert states(world) == {"server-0": "starting", "worker-0": "seated", "worker-1": "seated"}
    world.hear()
    assert states(world) == {"server-0": "running", "worker-0": "starting", "worker-1": "starting"}
    world.hear()
    assert state(world) is JobState.RUNNING


def test_gang_that_does_not_fit_holds_nothing_and_the_next_one_that_fits_runs() -> None:  # S3.4
    world = World(seats_most=2)
    world.create(plan_from(job()))
    world.hear()
    assert not world.place() and not world.seats


def test_success_of_those_that_decide_stops_the_endless_ones() -> None:  # S3.9
    world = World(seats_most=3)
    world.create(plan_from(job()))
    world.run()
    assert (state(world), world.outcomes) == (JobState.SUCCEEDED, {1: JobState.SUCCEEDED})
    assert states(world)["server-0"] == "stopped" and not world.seats


def test_failed_instance_comes_back_alone_after_its_back_off() -> None:  # S3.8
    world = World(seats_most=3)
    world.create(plan_from(job()))
    failed = []

    def once(seat):
        if seat.role == "worker" and not failed:
            failed.append(seat.index)
            return Cause.EXIT
        return None

    world.fails = once
    world.run()
    assert state(world) is JobState.SUCCEEDED
    epochs = {key: one.epoch for key, one in world.state.jobs[1].instances.items()}
    assert epochs[("worker", failed[0])] == 2 and epochs[("worker", 1 - failed[0])] == 1
    assert epochs[("server", 0)] == 1


def test_restart_of_a_role_stops_its_others_first_and_leaves_the_other_role_alone() -> None:  # S3.8
    world = World(seats_most=3)
    world.create(plan_from(job("role")))
    for _ in range(6):
        world.hear()
        world.place()
    world.fails = lambda seat: Cause.EXIT
    world.finish_one()
    world.hear()
    assert state(world) is JobState.RESTARTING
    world.hear()
    assert set(states(world).values()) == {"running", "backing_off"}
    world.fails = lambda seat: None
    world.run()
    epochs = {key: one.epoch for key, one in world.state.jobs[1].instances.items()}
    assert epochs == {("server", 0): 1, ("worker", 0): 2, ("worker", 1): 2}


def test_spent_budget_fails_the_job_and_nothing_lives() -> None:  # S3.8
    world = World(seats_most=3)
    world.create(plan_from(job()))
    world.fails = lambda seat: Cause.EXIT
    world.run()
    found = world.state.jobs[1].job
    assert (found.state, found.failure is not None) == (JobState.FAILED, True)
    assert not world.seats and max(budget.used for budget in found.budgets.values()) == 2


@pytest.mark.parametrize(
    ("said", "epoch", "outcome"),
    [("raised LostPeer", 2, JobState.SUCCEEDED), ("raised TypeError", 1, JobState.FAILED)],
)
def test_rule_by_what_was_said_last_restarts_where_its_cause_alone_would_not(
    said: str, epoch: int, outcome: JobState
) -> None:  # S3.8
    rules = "when: [node_lost], rules: [{cause: exit, log: Lost.*, do: restart}]"
    world = World(seats_most=3)
    world.create(plan_from(job().replace("when: [exit, node_lost]", rules)))
    world.fails = lambda seat: Cause.EXIT if (seat.index, seat.epoch) == (1, 1) else None
    world.says = lambda seat: ("Traceback", said, "the end") if seat.epoch == 1 else ()
    world.run()
    found = world.state.jobs[1].instances["worker", 1]
    assert (found.epoch, state(world)) == (epoch, outcome)


def test_stopped_job_stays_stopped_whatever_is_told_later() -> None:  # S3.11
    world = World(seats_most=3)
    world.create(plan_from(job()))
    for _ in range(6):
        world.hear()
        world.place()
    world.do(JobStopped(9, 1, "enough"))
    world.finish_one()
    world.hear()
    world.hear()
    assert (state(world), world.outcomes[1]) == (JobState.STOPPED, JobState.STOPPED)
    world.do(JobStopped(10, 1, "again"))
    assert state(world) is JobState.STOPPED


def test_suspended_job_holds_nothing_and_goes_on_when_it_is_resumed() -> None:  # S3.10
    world = World(seats_most=3)
    world.create(plan_from(job()))
    for _ in range(6):
        world.hear()
        world.place()
    world.do(JobSuspended(9, 1, ""))
    world.hear()
    world.hear()
    assert (state(world), world.seats, world.gangs[1]) == (JobState.SUSPENDED, {}, [])
    world.do(JobResumed(10, 1))
    world.run()
    assert state(world) is JobState.SUCCEEDED


def test_elastic_role_grows_and_shrinks_while_the_job_runs() -> None:  # S3.10
    world = World(seats_most=8)
    world.create(plan_from(job()))
    for _ in range(6):
        world.hear()
        world.place()
    world.do(RoleScaled(9, 1, "worker", 4, 0))
    for _ in range(4):
        world.hear()
        world.place()
    assert [*states(world).values()].count("running") == 5
    world.do(RoleScaled(10, 1, "worker", 1, 0))
    for _ in range(3):
        world.hear()
    assert states(world) == {"server-0": "running", "worker-0": "running"}
    assert len(world.seats) == 2


@pytest.mark.parametrize(
    ("role", "count", "reason"),
    [("server", 2, "ROLE_FIXED"), ("nobody", 1, "ROLE_UNKNOWN"), ("worker", 99, "COUNT_OUT_OF_RANGE")],
)
def test_scaling_that_cannot_be_says_why(role: str, count: int, reason: str) -> None:
    world = World(seats_most=8)
    world.create(plan_from(job()))
    for _ in range(6):
        world.hear()
        world.place()
    [answer] = world.do(RoleScaled(9, 1, role, count, 0)).answers
    assert answer.error is not None and answer.error.reason == reason


def test_lost_seat_is_asked_for_again_and_its_instance_started_there() -> None:  # S3.8
    world = World(seats_most=4)
    world.create(plan_from(job()))
    for _ in range(6):
        world.hear()
        world.place()
    world.lose_one()
    world.run()
    assert state(world) is JobState.SUCCEEDED


def test_jobs_of_higher_priority_ask_first_and_equals_in_turn() -> None:  # S3.4
    world = World(seats_most=0)
    numbers = [
        world.create(plan_from(job(name=f"j{i}", more=f"priority: {p}\n"))) for i, p in enumerate((0, 5, 0))
    ]
    assert all(state(world, number) is JobState.RESERVING for number in numbers)


def test_restarted_trainer_takes_everything_up_and_starts_nothing_twice() -> None:  # S3.10
    world = World(seats_most=3)
    world.create(plan_from(job()))
    for _ in range(6):
        world.hear()
        world.place()
    world.die()
    world.hear()
    assert all(one.epoch == 1 for one in world.state.jobs[1].instances.values())
    assert state(world) is JobState.RUNNING
    world.run()
    assert state(world) is JobState.SUCCEEDED
    assert InstanceState.STOPPED.value in states(world).values()


@pytest.mark.parametrize(("accuracy", "outcome"), [(0.95, JobState.SUCCEEDED), (0.5, JobState.FAILED)])
def test_evidence_of_a_metric_is_its_value_not_that_somebody_has_said_one(
    accuracy: float, outcome: JobState
) -> None:  # S3.9
    world = World(seats_most=3)
    world.create(plan_from(job(more='success: {metrics: ["accuracy >= 0.9"]}\n')))
    while state(world) is not JobState.RUNNING:
        world.hear()
        world.place()
    world.do(ProgressReported(1, "worker", 1, Progress(metrics={"accuracy": accuracy})))
    world.run()
    assert state(world) is outcome
    assert ("accuracy >= 0.9" in world.state.jobs[1].job.message) is (outcome is JobState.FAILED)


ALONE = """
kind: Framework
id: alone
roles: {worker: {count: {default: 3}, functions: {create: {argv: [work]}, restart: {when: [exit], scope: job, max: 3}}}}
---
kind: Job
framework: alone
"""


def test_waiting_job_that_is_made_smaller_by_several_keeps_the_rest() -> None:  # S3.10
    world = World(seats_most=0)
    world.create(plan_from(f"{ALONE}suspend: true\n"))
    [answer] = world.do(RoleScaled(9, 1, "worker", 1, 0)).answers
    assert answer.error is None and states(world) == {"worker-0": "pending"}


def test_job_that_wants_no_instance_at_all_ends_instead_of_waiting() -> None:  # S3.10
    world = World(seats_most=3)
    world.create(plan_from(f"{ALONE}suspend: true\n"))
    world.do(RoleScaled(9, 1, "worker", 0, 0))
    world.do(JobResumed(10, 1))
    assert state(world) is JobState.FAILED and world.state.jobs[1].job.reason == "NOTHING_RUNS"


def test_ended_job_has_no_addresses_on_disk() -> None:  # S3.6
    world = World(seats_most=3)
    world.create(plan_from(ALONE))
    world.run()
    world.die()
    assert {msgspec.msgpack.decode(row, type=Instance).address for row in world.instances.values()} == {None}


def test_second_failure_within_a_restart_is_counted_on_disk_too() -> None:  # S3.8, I3
    world = World(seats_most=3)
    world.create(plan_from(ALONE))
    for _ in range(4):
        world.hear()
        world.place()
    one, two, _ = world.state.jobs[1].instances.values()
    ends = [Exit(epoch=1, cause=Cause.EXIT, exit_code=1)] * 2
    stopping = world.state.jobs[1].instances["worker", 2]
    for instance, found in zip((one, two), ends, strict=True):
        instance.state = InstanceState.RUNNING
        world.do(InstanceEnded(1, "worker", instance.index, instance.task, found))
    kept = msgspec.msgpack.decode(world.instances[1, "worker", 2], type=Instance)
    assert kept.restarts == stopping.restarts


def test_stop_of_what_was_never_started_is_over_when_its_agent_says_so() -> None:  # S3.11, I5
    """The launch was on disk and had not left; then the job was stopped."""
    world = World(seats_most=3)
    world.create(plan_from(ALONE))
    while "seated" not in states(world).values() and "starting" not in states(world).values():
        world.hear()
        world.place()
    for seat in world.seats.values():
        seat.epoch, seat.is_live = 0, False
    world.do(JobStopped(9, 1, "enough"))
    assert state(world) is JobState.DRAINING
    # The stop was lost as well.
    for seat in world.seats.values():
        seat.epoch = 0
    world.news.clear()
    world.do(*(SeatStands(1, "worker", seat.index, seat.task, 0) for seat in [*world.seats.values()]))
    world.hear()
    assert state(world) is JobState.STOPPED and not world.seats


def test_what_is_launched_is_told_its_own_epoch() -> None:  # S3.6
    """${self.epoch} counts how often it was started, wherever it is by then."""
    world = World(seats_most=3)
    world.create(plan_from(job().replace("argv: [work]", 'argv: [work, "${self.epoch}"]')))
    told: list[str] = []
    world.launched = lambda wish: told.append(
        f"{wish.role} {wish.epoch} {' '.join(wish.launch.processes[0].argv)}"
    )
    failed = []

    def once(seat: Seat) -> Cause | None:
        if seat.role != "worker" or seat.index or failed:
            return None
        failed.append(seat.index)
        return Cause.EXIT

    world.fails = once
    world.run()
    assert state(world) is JobState.SUCCEEDED
    assert sorted(told) == ["server 1 serve", "worker 1 work 1", "worker 1 work 1", "worker 2 work 2"]


def test_role_that_grows_while_its_gang_is_asked_for_gets_all_its_places() -> None:  # S3.10
    world = World(seats_most=8)
    world.create(plan_from(job()))
    assert state(world) is JobState.RESERVING
    world.do(RoleScaled(9, 1, "worker", 4, 0))
    world.run()
    assert state(world) is JobState.SUCCEEDED
    assert [key for key in states(world) if key.startswith("worker")] == [f"worker-{n}" for n in range(4)]


def test_seat_that_was_given_back_is_not_taken_for_the_new_one() -> None:  # S3.4
    """Its cancellation is on its way to the scheduler, and its agent tells that it is open."""
    world = World(seats_most=3)
    world.create(plan_from(job()))
    world.hear()
    world.place()
    opened = [event for event in world.news if isinstance(event, SeatOpened)]
    world.do(JobSuspended(9, 1, ""))
    world.hear()
    world.do(JobResumed(10, 1))
    assert state(world) is JobState.RESERVING
    world.do(*opened)
    assert not {one.task for one in opened} & {one.task for one in world.state.jobs[1].instances.values()}
    world.run()
    assert state(world) is JobState.SUCCEEDED


def test_role_that_shrinks_and_grows_again_starts_nobody_beside_who_is_still_ending() -> None:  # S3.10, I2
    world = World(seats_most=8)
    world.create(plan_from(job()))
    while state(world) is not JobState.RUNNING:
        world.hear()
        world.place()
    epochs = {key: one.epoch for key, one in world.state.jobs[1].instances.items()}
    world.do(RoleScaled(9, 1, "worker", 1, 0))
    world.do(RoleScaled(10, 1, "worker", 2, 0))
    assert states(world)["worker-1"] == "stopping"
    world.run()
    assert state(world) is JobState.SUCCEEDED
    found = world.state.jobs[1].instances
    assert (
        found["worker", 1].epoch == epochs["worker", 1] + 1
        and found["worker", 0].epoch == epochs["worker", 0]
    )


def test_deadline_that_passed_while_nobody_was_there_ends_the_job_when_somebody_is() -> None:  # S3.10
    world = World(seats_most=0)
    world.create(plan_from(f"{ALONE}limits: {{active_deadline: 10s}}\n"))
    world.now += 60_000
    world.die()
    world.pass_time(1)
    assert world.outcomes == {1: JobState.FAILED}


def test_end_that_is_told_again_is_not_paid_for_twice() -> None:  # S3.8, I3
    """The worker waits for its server again when its agent greets, and tells how it ended."""
    world = World(seats_most=3)
    world.create(plan_from(job("job")))
    while state(world) is not JobState.RUNNING:
        world.hear()
        world.place()
    worker = world.state.jobs[1].instances["worker", 0]
    failed = InstanceEnded(1, "worker", 0, worker.task, Exit(epoch=1, cause=Cause.EXIT, exit_code=1))
    world.do(failed)
    world.hear()
    world.pass_time(1_000)
    assert states(world)["worker-0"] == "seated"
    world.do(failed)
    assert states(world)["worker-0"] == "seated"
    assert world.state.jobs[1].job.budgets["job"].used == 1


def test_progress_of_earlier_processes_is_none_of_the_present_ones() -> None:  # S3.5
    world = World(seats_most=3)
    world.create(plan_from(job()))
    while state(world) is not JobState.RUNNING:
        world.hear()
        world.place()
    worker = world.state.jobs[1].instances["worker", 0]
    worker.epoch = 2
    for epoch, wanted in ((1, {}), (2, {"loss": 1.0})):
        world.do(ProgressReported(1, "worker", 0, Progress(metrics={"loss": 1.0}), epoch))
        assert worker.metrics == wanted


def test_job_whose_framework_is_gone_is_ended_and_nothing_of_it_lives() -> None:  # S3.10
    world = World(seats_most=3)
    world.create(plan_from(job()))
    for _ in range(6):
        world.hear()
        world.place()
    assert state(world) is JobState.RUNNING
    world.plans[1] = plan_without_framework(world.state.jobs[1].job)
    world.die()
    world.do(FrameworkLost(1, "its framework two: there is none"))
    world.run()
    lost = world.state.jobs[1].job
    assert (lost.state, lost.reason) == (JobState.FAILED, "FRAMEWORK_LOST") and not world.seats


def test_role_that_was_scaled_to_nobody_is_not_waited_for() -> None:  # S3.5, S3.10
    text = ALONE.replace("roles: {", "roles: {first: {functions: {create: {argv: [a]}}}, ").replace(
        "create: {argv: [work]},", "create: {argv: [work]}, depend: [{role: first, until: started}],"
    )
    world = World(seats_most=3)
    world.create(plan_from(text.replace("first: {", "first: {count: {default: 1}, ", 1) + "suspend: true\n"))
    assert world.do(RoleScaled(9, 1, "first", 0, 0)).answers[0].error is None
    world.do(JobResumed(10, 1))
    world.run()
    assert state(world) is JobState.SUCCEEDED


@pytest.mark.parametrize("is_late", [False, True])
def test_place_that_comes_while_a_restart_is_on_its_way_is_taken(is_late: bool) -> None:  # S3.4, S3.8
    """An elastic role's last member waits for its place when a restart takes it along."""
    world = World(seats_most=3)
    world.create(plan_from(job("role").replace("worker: 2}", "worker: 1}")))
    world.hear()
    world.place()
    [held] = [
        one for one in world.news if isinstance(one, SeatOpened) and (one.role, one.index) == ("worker", 1)
    ]
    world.news.remove(held)
    failed: list[str] = []
    world.fails = lambda seat: None if failed else failed.append(seat.task) or Cause.EXIT
    for _ in range(6):
        world.hear()
    assert world.finish_one()
    world.hear()
    assert states(world)["worker-1"] == "backing_off"
    if is_late:
        world.pass_time(5_000)
        assert states(world)["worker-1"] == "pending"
    world.do(held)
    world.run()
    assert state(world) is JobState.SUCCEEDED
    assert len({task for tasks in world.asked.values() for task in tasks.values()}) == 3, "asked for once"
