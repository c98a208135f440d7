"""Counts that change while a job runs: more seats, or fewer (S3.10). Pure."""

from __future__ import annotations

from services.trainer.jobs import checkpoints, gangs
from services.trainer.jobs.acts import Act
from services.trainer.model import (
    PLACED,
    ConditionKind,
    CountOutOfRange,
    InstanceState,
    JobHasEnded,
    JobState,
    RevisionStale,
    RoleFixed,
    RoleUnknown,
)
from services.trainer.state.effects import DropInstance
from services.trainer.state.events import RoleScaled
from services.trainer.state.jobs import Instance, Key

SURPLUS = "surplus"
"""Why an instance beyond its role's count is stopped."""


def scale(act: Act, event: RoleScaled) -> None:
    """Raises RoleUnknown, RoleFixed, CountOutOfRange, RevisionStale, JobHasEnded."""
    job, planned = act.job, act.plan.role(event.role)
    if job.is_over or job.state.has_ended:
        raise JobHasEnded(f"j-{job.number} has ended", field="job_id")
    if planned is None or event.role not in job.counts:
        known = ", ".join(job.counts)
        raise RoleUnknown(
            f"j-{job.number} has no role {event.role[:80]!r}", field="role", next_step=f"it has: {known}"
        )
    if event.revision and event.revision != job.revision:
        raise RevisionStale(f"j-{job.number} has changed since", field="revision", next_step="look again")
    is_waiting = job.state in (JobState.QUEUED, JobState.SUSPENDED)
    if not planned.role.count.is_elastic and not is_waiting:
        raise RoleFixed(
            f"the framework {job.framework} fixes the count of {event.role} while a job runs", field="role",
            next_step="suspend the job first, or take an elastic framework",
        )  # fmt: skip
    least, most = (planned.least, planned.most) if planned.role.count.is_elastic else _bounds(act, event.role)
    if not least <= event.count <= most:
        raise CountOutOfRange(
            f"{event.role} has {least} … {most} instances, not {event.count}", field="count"
        )
    before, job.counts = job.counts[event.role], {**job.counts, event.role: event.count}
    act.touch()
    if event.count > before:
        _grow(act, event.role, before, event.count)
    elif event.count < before:
        for index in range(event.count, before):
            # Stopped, its seat closed, and forgotten once nothing of it lives.
            act.stop(act.live.instances[event.role, index], SURPLUS)
        drop_surplus(act)


def _bounds(act: Act, role: str) -> tuple[int, int]:
    planned = act.plan.role(role)
    assert planned is not None
    return planned.role.count.least, planned.role.count.most


def _grow(act: Act, role: str, before: int, count: int) -> None:
    keys = []
    for key in ((role, index) for index in range(before, count)):
        known = act.live.instances.get(key)
        if known is not None and known.state.has_processes:
            # Taken back once it has ended: two would live at a time else.
            continue
        if known is None:
            act.live.instances[key] = Instance(*key, since_ms=act.now)
        else:
            act.close(known, message="scaled down")
            act.set(known, InstanceState.PENDING)
        act.touch_instance(act.live.instances[key])
        keys.append(key)
    if act.job.state in PLACED:
        act.condition(ConditionKind.RESIZING, is_true=True, reason="SCALED", message=f"{role} to {count}")
        gangs.submit(act, keys, is_whole=False)


def drop_surplus(act: Act) -> None:
    """Instances beyond the counts of which nothing lives are forgotten."""
    job, instances = act.job, act.live.instances
    is_surplus = len(instances) > sum(job.counts.values())
    wanted = set(act.wanted()) if is_surplus else set[Key]()
    for key in [key for key in instances if key not in wanted] if is_surplus else ():
        instance = instances[key]
        if instance.state.has_processes:
            continue
        if instance.task:
            act.close(instance, message="scaled down")
        if instance.closing:
            continue
        del instances[key]
        act.live.changed.discard(key)
        act.effects.rows.append(DropInstance(act.job.number, *key))
        act.publish()
    if not act.is_true(ConditionKind.RESIZING) or job.state not in PLACED:
        return
    _take_back(act)
    if not any(one.state is InstanceState.PENDING or _is_ending(one) for one in instances.values()):
        act.condition(ConditionKind.RESIZING, is_true=False, reason="SCALED")


def _is_ending(instance: Instance) -> bool:
    return instance.state is InstanceState.STOPPING and instance.stopping_for == SURPLUS


def _take_back(act: Act) -> None:
    """Instances that were too many, and are wanted again now that they have ended, start again; epochs go on."""
    wanted = set(act.wanted())
    surplus = [
        one
        for key, one in act.live.instances.items()
        if one.state is InstanceState.STOPPED and one.reason == SURPLUS.upper() and key in wanted
    ]
    for one in surplus:
        has_seat = bool(one.task) and one.address is not None
        act.set(one, InstanceState.SEATED if has_seat else InstanceState.PENDING)
    checkpoints.choose(act, [one.key for one in surplus])
    gangs.submit(act, [one.key for one in surplus if not one.task], is_whole=False)
