"""Jobs and their instances as messages."""

from __future__ import annotations

from modelyard.training import Plan
from modelyard.training.policies.status import RoleState
from modelyard.training_messages import address_message
from modelyard.v1 import framework_pb2, job_pb2
from services.trainer.convert.progress import fill_job_progress, fill_progress
from services.trainer.jobs.outcomes import counts_of
from services.trainer.model import Condition, Exit, InstanceState, JobState
from services.trainer.state.effects import PutStacks
from services.trainer.state.jobs import Instance, Job

STATES = {state: job_pb2.JobState.Value(f"JOB_STATE_{state.name}") for state in JobState}
INSTANCE_STATES = {s: job_pb2.InstanceState.Value(f"INSTANCE_STATE_{s.name}") for s in InstanceState}
_ROLE_STATES = {state: job_pb2.RoleState.Value(f"ROLE_STATE_{state.name}") for state in RoleState}


def job_message(job: Job, plan: Plan | None, instances: list[Instance], *, is_whole: bool) -> job_pb2.Job:
    """The job; `is_whole`: with its document and its conditions."""
    message = job_pb2.Job(
        id=f"j-{job.number}", account=job.account, name=job.name, framework_id=job.framework,
        framework_version=job.framework_version, state=STATES[job.state], reason=job.reason, message=job.message,
        revision=job.revision, queue=job.queue, priority=job.priority, params_json=job.params_json, labels=job.labels,
    )  # fmt: skip
    times = {
        "create_time": job.create_ms, "place_time": job.place_ms, "start_time": job.start_ms, "end_time": job.end_ms,
        "deadline_time": job.deadline_ms, "expire_time": job.expire_ms,
    }  # fmt: skip
    for field, time_ms in times.items():
        if time_ms:
            getattr(message, field).FromMilliseconds(time_ms)
    if job.failure is not None:
        message.failure.CopyFrom(exit_message(job.failure, *(job.failed or ("", 0))))
    for name, budget in sorted(job.budgets.items()):
        per, _, rest = name.partition(" ")
        role, _, index = rest.partition(" ")
        message.budgets.add(
            per=per, role=role, index=int(index) if index else -1, used=budget.used, uncounted=budget.uncounted,
            most=_most(plan, role),
        )  # fmt: skip
    if plan is not None:
        for role, count in job.counts.items():
            of_role = [one for one in instances if one.role == role]
            message.roles.append(_role_message(plan, role, count, of_role))
    if job.notification:
        message.notification.ParseFromString(job.notification)
    if any(one.progress is not None for one in instances):
        fill_job_progress(message.progress, job, plan, instances)
    if is_whole:
        message.document = job.document
        message.conditions.extend(map(_condition_message, job.conditions))
    return message


def _most(plan: Plan | None, role: str) -> int:
    """What a purse may pay for."""
    if plan is None:
        return 0
    planned = plan.role(role) if role else next(iter(plan.roles), None)
    return planned.role.restarts.most if planned is not None else 0


def _role_message(plan: Plan, role: str, count: int, instances: list[Instance]) -> job_pb2.JobRole:
    planned = plan.role(role)
    assert planned is not None
    instances = sorted(instances, key=lambda one: one.index)
    counts = counts_of(instances)
    policy = planned.role.policy
    return job_pb2.JobRole(
        name=role, count=count, min_count=planned.least, max_count=planned.most,
        state=_ROLE_STATES[planned.role.status(counts)], waiting_count=counts.waiting,
        running_count=counts.running, succeeded_count=counts.succeeded, failed_count=counts.failed,
        stopped_count=counts.stopped, ready_count=sum(one.is_started for one in instances),
        policy="endless" if policy.is_endless else f"succeeded: {policy.succeeded}, failed: {policy.failed}",
    )  # fmt: skip


def instance_message(job: Job, plan: Plan | None, one: Instance) -> job_pb2.Instance:
    """One instance."""
    name = f"{one.role.replace('_', '-')}-{one.index}.j-{job.number}"
    message = job_pb2.Instance(
        role=one.role, index=one.index, state=INSTANCE_STATES[one.state], reason=one.reason, message=one.message,
        epoch=one.epoch, rank=_rank(job, plan, one), task_id=one.task or one.latest_task, is_ready=one.is_started,
        restart_count=one.restarts, revision=one.revision,
    )  # fmt: skip
    if one.address is not None:
        message.address.CopyFrom(address_message(one.role, one.index, name, one.address))
        message.address.epoch = one.epoch
    else:
        message.address.CopyFrom(framework_pb2.InstanceAddress(role=one.role, index=one.index, name=name))
    for field, time_ms in (("start_time", one.start_ms), ("end_time", one.end_ms)):
        if time_ms:
            getattr(message, field).FromMilliseconds(time_ms)
    if one.exit is not None:
        message.exit.CopyFrom(exit_message(one.exit, one.role, one.index))
    fill_progress(message.progress, one)
    return message


def _rank(job: Job, plan: Plan | None, one: Instance) -> int:
    if plan is None or one.role not in plan.framework.ranks:
        return -1
    before = plan.framework.ranks[: plan.framework.ranks.index(one.role)]
    return sum(job.counts.get(role, 0) for role in before) + one.index


def exit_message(found: Exit, role: str, index: int) -> job_pb2.InstanceExit:
    """How processes ended."""
    message = job_pb2.InstanceExit(
        role=role, index=index, epoch=found.epoch, cause=job_pb2.ExitCause.Value(f"EXIT_CAUSE_{found.cause.name}"),
        exit_code=found.exit_code, signal=found.signal, message=found.message, process=found.process,
        last_lines=found.last_lines, matched=next(iter(found.matched), ""), node=found.node,
    )  # fmt: skip
    if found.end_ms:
        message.end_time.FromMilliseconds(found.end_ms)
    return message


def stacks_message(found: PutStacks) -> job_pb2.InstanceStacks:
    """Where an instance stood."""
    message = job_pb2.InstanceStacks(
        role=found.role, index=found.index, epoch=found.epoch, node=found.node, text=found.text
    )
    message.time.FromMilliseconds(found.time_ms)
    return message


def _condition_message(one: Condition) -> job_pb2.JobCondition:
    message = job_pb2.JobCondition(
        kind=job_pb2.JobConditionKind.Value(f"JOB_CONDITION_KIND_{one.kind.name}"), is_true=one.is_true,
        reason=one.reason, message=one.message, revision=one.revision,
    )  # fmt: skip
    message.change_time.FromMilliseconds(one.time_ms)
    return message
