"""How a job ends: two policies decide, instances are asked to end, seats are closed (S3.9–S3.11). Pure.

What is decided is written once and never changes (I1).
"""

from __future__ import annotations

from modelyard.training.conduct import AtEnd
from modelyard.training.readiness import Facts, shows
from modelyard.training.status import Counts, Outcome, RoleState
from services.trainer import gangs, turns
from services.trainer.acts import Act
from services.trainer.effects import InsertOutcome, TellEnd
from services.trainer.model import PLACED, ConditionKind, InstanceState, JobState
from services.trainer.state import OUTCOMES, Instance


def counts_of(instances: list[Instance]) -> Counts:
    """What the first policy sees."""
    states = [one.state for one in instances]
    first = states[0] if states else None

    def of(*wanted: InstanceState) -> int:
        return sum(map(states.count, wanted))

    restarting = sum(
        one.state is InstanceState.BACKING_OFF or one.stopping_for in ("restart", "hang") for one in instances
    )
    return Counts(
        waiting=of(InstanceState.PENDING, InstanceState.SEATED),
        starting=of(InstanceState.STARTING),
        running=of(InstanceState.RUNNING),
        restarting=restarting,
        stopping=of(InstanceState.STOPPING, InstanceState.BACKING_OFF) - restarting,
        succeeded=of(InstanceState.SUCCEEDED),
        failed=of(InstanceState.FAILED),
        stopped=of(InstanceState.STOPPED),
        first_running=first is InstanceState.RUNNING,
        first_succeeded=first is InstanceState.SUCCEEDED,
        first_failed=first is InstanceState.FAILED,
    )


def role_states(act: Act) -> dict[str, RoleState]:
    """Of the roles that have instances."""
    return {
        planned.name: planned.role.status(counts_of(act.live.of_role(planned.name)))
        for planned in act.plan.roles
        if act.job.counts.get(planned.name, 0)
    }


def decide_by_policy(act: Act) -> None:
    """The second policy, after every event."""
    if act.job.outcome is not None or act.job.is_suspending or act.job.state not in PLACED:
        return
    states = role_states(act)
    outcome = act.plan.framework.status(states)
    if outcome is Outcome.SUCCEEDED:
        lacking = _evidence_lacking(act)
        if lacking:
            decide(act, JobState.FAILED, "NO_EVIDENCE", lacking)
        else:
            decide(act, OUTCOMES[outcome], "POLICY", str(act.plan.framework.job_status.succeeded))
    elif outcome is Outcome.FAILED:
        failure = act.job.failure
        message = (
            failure.message or failure.cause.value if failure else str(act.plan.framework.job_status.failed)
        )
        decide(act, OUTCOMES[outcome], "POLICY", message)
    elif all(one.state.has_ended for one in act.live.instances.values()):
        decide(act, JobState.FAILED, "NOTHING_RUNS", "every instance has ended, and no policy is met")


def _evidence_lacking(act: Act) -> str:
    """What should be there besides exit codes, and is not."""
    for sign in act.plan.job.evidence.metrics:
        if not any(shows(Facts(metrics=one.metrics), sign) for one in act.live.instances.values()):
            return f"nobody has reported {sign.detail}"
    return ""


def decide(act: Act, outcome: JobState, reason: str, message: str) -> None:
    """Once: from now on everything of it ends."""
    job = act.job
    if job.outcome is not None or job.state.has_ended:
        return
    job.outcome, job.waves, job.is_suspending = outcome, [], False
    act.effects.rows.append(InsertOutcome(job.number, outcome, reason, message, act.now))
    act.set_job(JobState.DRAINING, reason, message)
    act.condition(ConditionKind.RUNNING, is_true=False, reason=reason)
    act.condition(ConditionKind.DECIDED, is_true=True, reason=reason, message=message)
    drain_s = [
        planned.role.clean().drain_s
        for planned in act.plan.roles
        if planned.role.clean().at_end is AtEnd.DRAIN and outcome is JobState.SUCCEEDED
    ]
    job.drain_until_ms = act.now + round(1000 * max(drain_s, default=0.0))
    _drain(act)


def _drain(act: Act) -> None:
    for instance in act.live.instances.values():
        planned = act.plan.role(instance.role)
        assert planned is not None
        clean = planned.role.clean()
        may_go_on = (
            act.job.outcome is JobState.SUCCEEDED
            and clean.at_end is AtEnd.DRAIN
            and act.now < act.job.drain_until_ms
        )
        if not (may_go_on and instance.state.has_processes):
            act.stop(instance, "drain")


def clear(act: Act) -> None:
    """A decided job of which nothing lives gives its seats back, and has ended."""
    job = act.job
    if job.outcome is None or job.state.has_ended:
        return
    _drain(act)
    for instance in act.live.instances.values():
        if instance.state.has_ended and instance.task:
            act.close(instance, is_failure=instance.state is InstanceState.FAILED, message=instance.message)
    if any(one.state.has_processes for one in act.live.instances.values()):
        return
    gangs.give_up(act, message="the job has ended")
    job.end_ms = act.now
    act.set_job(job.outcome, job.reason, job.message)
    act.condition(ConditionKind.CLEARED, is_true=True, reason=job.reason)
    act.effects.wishes.append(TellEnd(job.number, job.account))


def suspend(act: Act) -> None:
    """A job that is to be suspended gives everything back once nothing of it lives."""
    if not act.job.is_suspending:
        return
    for instance in act.live.instances.values():
        if instance.state.has_processes:
            act.stop(instance, "suspend")
    if any(one.state.has_processes for one in act.live.instances.values()):
        return
    for instance in act.live.instances.values():
        if instance.task:
            act.close(instance, message="the job is suspended")
    gangs.give_up(act, message="the job is suspended")
    act.job.is_suspending, act.job.waves = False, []
    act.set_job(JobState.SUSPENDED, "SUSPENDED")
    act.condition(ConditionKind.SUSPENDED, is_true=True, reason="SUSPENDED")
    if act.job.is_resuming:
        turns.resume(act)
