"""How a job ends: two policies decide, instances are asked to end, seats are closed (S3.9–S3.11). Pure.

What is decided is written once and never changes (I1).
"""

from __future__ import annotations

from modelyard.training import PlannedRole
from modelyard.training.policies.conduct import AtEnd
from modelyard.training.policies.restarts import Cause
from modelyard.training.policies.status import Counts, Outcome, RoleState
from services.trainer.jobs import asking, closings, evidence, gangs, preempting, turns
from services.trainer.jobs.acts import Act
from services.trainer.model import PLACED, ConditionKind, InstanceState, JobState
from services.trainer.state.effects import InsertOutcome, TellEnd
from services.trainer.state.jobs import Instance

_JOB_STATES = {Outcome.SUCCEEDED: JobState.SUCCEEDED, Outcome.FAILED: JobState.FAILED}


def counts_of(instances: list[Instance]) -> Counts:
    """What the first policy sees."""
    # Who is condemned has failed for the policies, or a peer's later end could still begin everything anew.
    states = [InstanceState.FAILED if one.is_condemned else one.state for one in instances]
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


def role_states(act: Act) -> dict[str, RoleState] | None:
    """Of the roles that have instances; None: a package's code is asked, or has failed and the job with it."""
    found: dict[str, RoleState | None] = {
        planned.name: _role_state(act, planned)
        for planned in act.plan.roles
        if act.job.counts.get(planned.name, 0)
    }
    known = {name: state for name, state in found.items() if state is not None}
    return known if len(known) == len(found) else None


def _role_state(act: Act, planned: PlannedRole) -> RoleState | None:
    counts = counts_of(act.live.of_role(planned.name))
    if "status" not in planned.role.coded:
        return planned.role.status(counts)
    found = asking.status(act, planned.name, counts)
    if found is not None and found.error:
        decide(act, JobState.FAILED, asking.REASON, found.error)
    return None if found is None else found.value


def _outcome(act: Act, states: dict[str, RoleState]) -> tuple[bool, Outcome | None]:
    """Whether it is known, and what it is."""
    if "status" not in act.plan.framework.coded:
        return True, act.plan.framework.status(states)
    found = asking.job_status(act, states)
    if found is not None and found.error:
        decide(act, JobState.FAILED, asking.REASON, found.error)
    return found is not None and not found.error, None if found is None else found.value


def decide_by_policy(act: Act) -> None:
    """The second policy, after every event."""
    if act.job.outcome is not None or act.job.is_suspending or act.job.state not in PLACED:
        return
    if act.job.is_proving:
        _prove(act)
        return
    states = role_states(act)
    if states is None:
        return
    is_known, outcome = _outcome(act, states)
    if not is_known:
        return
    if outcome is Outcome.SUCCEEDED:
        _prove(act)
    elif outcome is Outcome.FAILED:
        failure = act.job.failure
        policy = f"{act.plan.framework.job_status.failed} failed"
        message = failure.message or failure.cause.value if failure else policy
        is_unproved = failure is not None and failure.cause is Cause.NO_EVIDENCE
        decide(act, _JOB_STATES[outcome], evidence.REASON if is_unproved else "POLICY", message)
    elif all(one.state.has_ended for one in act.live.instances.values()):
        decide(act, JobState.FAILED, "NOTHING_RUNS", "every instance has ended, and no policy is met")


def _prove(act: Act) -> None:
    """The policy says that it has succeeded. Where evidence lacks, who still lives may have it: what lies in their
    directories is seen when they have ended."""
    lacks = evidence.lacks(act)
    if not lacks:
        decide(act, JobState.SUCCEEDED, "POLICY", f"{act.plan.framework.job_status.succeeded} succeeded")
    elif not any(one.state.has_processes for one in act.live.instances.values()):
        decide(act, JobState.FAILED, evidence.REASON, "; ".join(item.lack for item in lacks[:3]))
    else:
        if not act.job.is_proving:
            act.job.is_proving, act.job.waves = True, []
            act.job.drain_until_ms = _drain_until(act)
            act.set_job(
                act.job.state, "EVIDENCE", "its policy is met; who still lives ends, then it is judged"
            )
        _drain(act)


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
    if not job.is_proving:
        job.drain_until_ms = _drain_until(act) if outcome is JobState.SUCCEEDED else 0
    _drain(act)


def _drain_until(act: Act) -> int:
    """Until when those may go on who are waited for."""
    cleans = [planned.role.clean() for planned in act.plan.roles]
    drain_s = [clean.drain_s for clean in cleans if clean.at_end is AtEnd.DRAIN]
    return act.now + round(1000 * max(drain_s, default=0.0))


def _drain(act: Act) -> None:
    for instance in act.live.instances.values():
        planned = act.plan.role(instance.role)
        assert planned is not None
        clean = planned.role.clean()
        may_go_on = (
            act.job.outcome in (JobState.SUCCEEDED, None)
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
    if any(one.state.has_processes for one in act.live.instances.values()) or closings.is_waiting(act):
        return
    gangs.give_up(act, message="the job has ended")
    job.end_ms = act.now
    if act.plan.job.ttl_s is not None:
        job.expire_ms = act.now + round(1000 * act.plan.job.ttl_s)
    act.set_job(job.outcome, job.reason, job.message)
    act.condition(ConditionKind.CLEARED, is_true=True, reason=job.reason)
    if not job.sweep:
        # Of hundreds of trials nobody wants to be told one by one: their sweep's end is.
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
            act.set(instance, InstanceState.PENDING, "SUSPEND")
    act.job.waves = []
    if closings.is_waiting(act):
        return
    gangs.give_up(act, message="the job is suspended")
    act.job.is_suspending, act.job.is_proving, act.job.waves = False, False, []
    reason, message = (act.job.reason, act.job.message) if act.job.yields_to else ("SUSPENDED", "")
    act.set_job(JobState.SUSPENDED, reason, message)
    act.condition(ConditionKind.SUSPENDED, is_true=True, reason=reason, message=message)
    act.job.yield_until_ms = act.now + preempting.YIELD_MS
    if act.job.is_resuming:
        turns.resume(act)
