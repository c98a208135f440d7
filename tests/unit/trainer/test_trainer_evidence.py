"""Success by evidence: exit 0 alone is not enough where a job file asks for more (S3.8, N6)."""

from __future__ import annotations

from modelyard.training.policies.readiness import ReadinessKind
from modelyard.training.policies.restarts import Cause
from services.trainer.model import Exit, JobState
from services.trainer.state.events import InstanceEnded, JobResumed, JobStopped, JobSuspended, SignSeen
from tests.support.training_world import Seat, World, plan_from

TEXT = """
kind: Framework
id: own
roles:
  server:
    count: {default: 1}
    functions:
      create: {argv: [serve]}
      status: {endless: true}
  worker:
    count: {default: 2, max: 4}
    functions:
      create: {argv: [work]}
      restart: {when: [%s], scope: role, max: 2, backoff: [1s, 1s]}
job_status: {succeeded: worker, failed: "any(server, worker)"}
---
kind: Job
framework: own
success: {%s}
"""
LINE = 'log: {role: worker, regex: "epoch 3"}'
FILE = "artifacts: [model.pt]"


def made(success: str, when: str = "exit") -> World:
    world = World()
    world.create(plan_from(TEXT % (when, success)))
    return world


def sign(world: World, role: str, kind: ReadinessKind) -> int:
    return [one.kind for one in world.plans[1].signs(role)].index(kind)


def state(world: World) -> tuple[JobState, str]:
    job = world.state.jobs[1].job
    return job.state, job.reason


def running(world: World) -> World:
    for _ in range(4):
        world.hear()
        world.place()
    world.hear()
    assert state(world)[0] is JobState.RUNNING
    return world


def end(world: World, role: str, index: int, cause: Cause = Cause.SUCCESS) -> None:
    (seat,) = [one for one in world.seats.values() if (one.role, one.index) == (role, index)]
    world._exit(seat, cause)
    world.hear()


def test_exit_0_without_the_line_is_a_failure_that_names_it() -> None:
    world = made(LINE)
    world.run()
    assert state(world) == (JobState.FAILED, "NO_EVIDENCE")
    message = world.state.jobs[1].job.message
    assert "'epoch 3'" in message and "instance of worker" in message and "see its log" in message


def test_line_of_one_instance_of_the_role_is_enough() -> None:
    world = made(LINE)
    world.shows = lambda seat: (sign(world, "worker", ReadinessKind.LOG),) if seat.index == 1 else ()
    world.run()
    assert state(world) == (JobState.SUCCEEDED, "POLICY")


def test_line_that_another_role_wrote_is_none() -> None:
    world = made(LINE)
    assert ReadinessKind.LOG not in [one.kind for one in world.plans[1].signs("server")]


def test_file_of_an_endless_instance_is_seen_when_it_has_ended() -> None:
    """The policy is met while the server lives: it is ended first, then the job is judged."""
    world = running(made(FILE))
    world.shows = lambda seat: (sign(world, "server", ReadinessKind.FILE),) if seat.role == "server" else ()
    end(world, "worker", 0)
    (server,) = [one for one in world.seats.values() if one.role == "server"]
    end(world, "worker", 1)
    assert state(world) == (JobState.RUNNING, "EVIDENCE") and not world.outcomes and not server.is_live
    world.hear()
    assert world.outcomes == {1: JobState.SUCCEEDED}


def test_judgement_survives_a_death_of_the_trainer() -> None:
    world = running(made(FILE))
    world.shows = lambda seat: (sign(world, "server", ReadinessKind.FILE),) if seat.role == "server" else ()
    end(world, "worker", 0)
    end(world, "worker", 1)
    world.die()
    world.run()
    assert world.outcomes == {1: JobState.SUCCEEDED}


def test_nobody_starts_again_while_a_job_is_judged() -> None:
    world = running(made(FILE))
    end(world, "worker", 0)
    end(world, "worker", 1)
    live = world.state.jobs[1]
    server = live.instances["server", 0]
    found = Exit(epoch=server.epoch, cause=Cause.EXIT, exit_code=1)
    world.news.clear()
    world.do(InstanceEnded(1, "server", 0, server.task, found))
    assert state(world) == (JobState.FAILED, "NO_EVIDENCE") and not live.job.restarts


def test_stop_and_suspension_go_before_the_judgement() -> None:
    for wish, outcome in ((JobStopped(1, 1, ""), JobState.STOPPED), (JobSuspended(1, 1, ""), None)):
        world = running(made(FILE))
        end(world, "worker", 0)
        end(world, "worker", 1)
        world.do(wish)
        world.hear()
        assert world.outcomes.get(1) is outcome
        if outcome is None:
            assert state(world)[0] is JobState.SUSPENDED
            world.do(JobResumed(1, 1))
            world.run()
            assert state(world) == (JobState.FAILED, "NO_EVIDENCE")


def test_last_exit_without_evidence_restarts_where_the_role_says_so() -> None:
    """The cause no_evidence is one like others: scope, budget and back-off are the role's."""
    world = made(LINE, when="exit, no_evidence")
    launches: list[int] = []

    def shows(seat: Seat) -> tuple[int, ...]:
        launches.append(seat.epoch)
        return (
            (sign(world, "worker", ReadinessKind.LOG),) if seat.role == "worker" and seat.epoch == 2 else ()
        )

    world.shows = shows
    world.run()
    assert state(world) == (JobState.SUCCEEDED, "POLICY")
    job = world.state.jobs[1].job
    assert [budget.used for budget in job.budgets.values()] == [1] and max(launches) == 2


def test_budget_of_restarts_without_evidence_ends_with_that_reason() -> None:
    world = made(LINE, when="no_evidence")
    world.run()
    job = world.state.jobs[1].job
    assert state(world) == (JobState.FAILED, "NO_EVIDENCE")
    assert job.failure is not None and job.failure.cause is Cause.NO_EVIDENCE and job.restarts == 2


def test_line_of_an_earlier_launch_does_not_count() -> None:
    world = running(made(LINE))
    worker = world.state.jobs[1].instances["worker", 0]
    world.do(SignSeen(1, "worker", 0, worker.epoch, sign(world, "worker", ReadinessKind.LOG)))
    end(world, "worker", 0, Cause.EXIT)
    world.run()
    assert state(world) == (JobState.FAILED, "NO_EVIDENCE")
