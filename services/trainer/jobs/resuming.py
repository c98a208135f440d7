"""A launch that could not go on from its checkpoint: the next older one for all who train together (S3.8). Pure."""

from __future__ import annotations

from modelyard.training import ScopeKind, Verdict
from modelyard.training.policies.restarts import Action, Cause, RestartScope
from services.trainer.jobs import checkpoints, endings, launching
from services.trainer.jobs.acts import Act
from services.trainer.model import Exit, InstanceState
from services.trainer.state.events import CheckpointSeen
from services.trainer.state.jobs import Instance

REASON = "CHECKPOINT"


def torn(act: Act, instance: Instance, event: CheckpointSeen) -> None:
    """Its agent could not make it ready. The launch has not begun: the same epoch is launched again."""
    if event.epoch != instance.epoch or instance.is_started:
        return
    if instance.state is not InstanceState.STARTING:
        # Who is asked to stop is told of by its seat: another attempt, told late, may have begun since.
        return
    message = f"checkpoint {event.name!r}: {event.flaw}"
    if not event.name:
        found = Exit(epoch=instance.epoch, cause=Cause.SETUP, message=event.flaw, end_ms=act.now)
        endings.ended(act, instance, found)
        return
    used = checkpoints.resumed(act, instance)
    if used is None or used.name != event.name or used.digest != event.digest:
        # Told of an earlier attempt: that one has been replaced already.
        return
    peers = [
        one
        for one in act.live.instances.values()
        if one is not instance and one.state.has_processes and _is_with(act, one, instance)
    ]
    checkpoints.drop(act, used)
    if peers:
        found = Exit(epoch=instance.epoch, cause=Cause.SETUP, message=message, end_ms=act.now)
        verdict = Verdict(action=Action.RESTART, reason=REASON, scope=RestartScope(ScopeKind.JOB))
        endings.begin_wave(act, instance, verdict, found)
    else:
        checkpoints.choose(act, [instance.key])
        launching.send_launch(act, instance)
        act.set(instance, instance.state, REASON, message)


def _is_with(act: Act, one: Instance, instance: Instance) -> bool:
    """Whether both were to go on from one moment."""
    keys = (one.key, instance.key)
    return bool(one.resume) and all(checkpoints.trains_with_others(act, key) for key in keys)
