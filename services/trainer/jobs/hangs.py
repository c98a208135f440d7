"""Instances that live and do nothing: silent, idle and without progress (S3.8). Pure.

One that hangs keeps others waiting: where all of its job stand is asked for before anybody is asked to end. The stacks
come back as events, and are kept beside the job until it hangs again.
"""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.training import Progress
from modelyard.training.policies.restarts import Cause
from services.trainer.jobs import endings, outcomes
from services.trainer.jobs.acts import Act
from services.trainer.model import ConditionKind, Exit, InstanceState
from services.trainer.state.effects import DropStacks, DumpStacks, PutStacks
from services.trainer.state.jobs import Instance

DUMPS_MOST = 64
"""Instances that are asked where they stand, the one that hangs first."""
TEXT_BYTES_MOST = 16 << 10
"""Of one instance's stacks; the log has all."""


def started(act: Act, instance: Instance) -> None:
    """Its patience begins."""
    act.live.activity[instance.key] = (0.0, act.now, act.now)


def seen(act: Act, instance: Instance, epoch: int, cpu: float, silent_ms: int) -> None:
    """What its agent says of it every few seconds, and as soon as it has been silent for too long."""
    if instance.epoch != epoch or instance.state is not InstanceState.RUNNING:
        return
    hang = act.plan.job.hang
    if not hang.silent_s:
        return
    # Unknown after a start of the trainer: nothing is held against it that was not seen.
    since = act.live.activity.get(instance.key, (0.0, act.now, act.now))[2]
    if cpu >= hang.cpu_below:
        since = act.now
    act.live.activity[instance.key] = (cpu, act.now, since)
    window_ms = hang.silent_s * 1000
    if silent_ms >= window_ms and act.now - since >= window_ms:
        _hangs(act, instance)


def _hangs(act: Act, instance: Instance) -> None:
    """It is ended with a cause of its own, and followed up as any end; before that all say where they stand."""
    assert instance.address is not None
    silent = f"for {act.plan.job.hang.silent_s:g} s"
    message = f"{instance.role}-{instance.index} is silent, idle and makes no progress {silent}"
    # Peers that hang together are one hang: where all stood was asked for when the first was found.
    is_first = not act.is_true(ConditionKind.HANGING)
    act.condition(ConditionKind.HANGING, is_true=True, reason="HANG", message=message)
    if is_first:
        act.effects.rows.append(DropStacks(act.job.number))
    found = Exit(
        epoch=instance.epoch, cause=Cause.HANG, message=message, end_ms=act.now, node=instance.address.node
    )
    before = len(act.effects.wishes)
    act.ask_to_stop(instance)
    endings.hung(act, instance, found)
    if instance.is_condemned:
        # Where its job has failed with it, those who wait end anyway, and the question may end them.
        outcomes.decide_by_policy(act)
    others = [one for _, one in sorted(act.live.instances.items()) if one is not instance and is_first]
    act.effects.wishes[before:before] = list(_dumps(act, instance, others))


def _dumps(act: Act, instance: Instance, others: list[Instance]) -> Iterator[DumpStacks]:
    """Who is on the way to its end anyway and does nothing may be ended by the question."""
    for one in [instance, *others][:DUMPS_MOST]:
        if one.state.has_processes and one.address is not None:
            is_fatal = one is instance or (one.state is InstanceState.STOPPING and _is_idle(act, one))
            found = (act.job.number, one.role, one.index, one.task, one.address.node)
            yield DumpStacks(*found, is_fatal=is_fatal)


def _is_idle(act: Act, instance: Instance) -> bool:
    hang = act.plan.job.hang
    cpu, _, since = act.live.activity.get(instance.key, (0.0, act.now, act.now))
    return cpu < hang.cpu_below and act.now - since >= hang.silent_s * 500


def told(act: Act, instance: Instance, epoch: int, text: str) -> None:
    """Where its processes stood."""
    if epoch != instance.epoch or not act.plan.job.hang.silent_s:
        return
    shown = text.encode()[:TEXT_BYTES_MOST].decode(errors="ignore")
    node = instance.address.node if instance.address is not None else ""
    found = (act.job.number, instance.role, instance.index, epoch, node, shown, act.now)
    act.effects.rows.append(PutStacks(*found))


def progressed(act: Act, instance: Instance, progress: Progress) -> None:
    """What it reports: metrics may be what others wait for."""
    instance.metrics = {**instance.metrics, **progress.metrics}
    if instance.progress is None or instance.progress.ratio is None:
        instance.begun_ratio, instance.begun_ms = progress.ratio or 0.0, act.now
    instance.progress = progress.over(instance.progress)
    instance.progress_ms = act.now
    cpu, heard, _ = act.live.activity.get(instance.key, (0.0, act.now, act.now))
    act.live.activity[instance.key] = (cpu, heard, act.now)
    act.touch_instance(instance)
