"""Instances that live and do nothing: silent, idle and without progress (S3.8). Pure."""

from __future__ import annotations

from modelyard.training import Progress
from modelyard.training.restarts import Cause
from services.trainer import endings
from services.trainer.acts import Act
from services.trainer.effects import DumpStacks
from services.trainer.model import ConditionKind, Exit, InstanceState
from services.trainer.state import Instance


def seen(act: Act, instance: Instance, epoch: int, cpu: float, silent_ms: int) -> None:
    """What its agent says of it every few seconds."""
    if instance.epoch != epoch or instance.state is not InstanceState.RUNNING:
        return
    hang = act.plan.job.hang
    if not hang.silent_s:
        return
    since = act.live.activity.get(instance.key, (0.0, act.now, act.now))[2]
    is_idle = cpu < hang.cpu_below and silent_ms >= hang.silent_s * 1000
    if not is_idle:
        since = act.now
    act.live.activity[instance.key] = (cpu, act.now, since)
    quiet_ms = act.now - max(since, instance.start_ms)
    if is_idle and quiet_ms >= hang.silent_s * 1000:
        _hangs(act, instance)


def _hangs(act: Act, instance: Instance) -> None:
    """Its stacks are saved, then it is ended with a cause of its own."""
    assert instance.address is not None
    message = f"{instance.role}-{instance.index} is silent, idle and makes no progress"
    act.condition(ConditionKind.HANGING, is_true=True, reason="HANG", message=message)
    act.effects.wishes.append(
        DumpStacks(act.job.number, instance.role, instance.index, instance.task, instance.address.node)
    )
    act.ask_to_stop(instance)
    found = Exit(
        epoch=instance.epoch, cause=Cause.HANG, message=message, end_ms=act.now, node=instance.address.node
    )
    endings.hung(act, instance, found)


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
