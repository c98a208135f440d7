"""An agent is there again: what its seats are is held against what they should be (S3.10). Pure.

Nothing is remembered about what was sent: every command follows from the state, and may be sent twice.
"""

from __future__ import annotations

from modelyard.training.restarts import Cause
from services.trainer import endings, launching, reachability
from services.trainer.acts import Act
from services.trainer.effects import TellAddresses
from services.trainer.model import Exit, InstanceState
from services.trainer.state import Instance


def stands(act: Act, instance: Instance, epoch: int) -> None:
    """A seat that its agent still has, with the epoch that was last launched there."""
    reachability.ask(act, instance)
    if instance.state is InstanceState.STARTING and epoch < instance.epoch:
        launching.send_launch(act, instance)
    elif instance.state is InstanceState.RUNNING and instance.address is not None:
        wish = (act.job.number, *instance.key, instance.task, instance.address.node)
        act.effects.wishes.append(TellAddresses(*wish))
    elif instance.state is InstanceState.STOPPING and epoch < instance.epoch:
        # The launch never came there, and is not sent any more: what was to be stopped did not begin.
        message = "it was stopped before it was started"
        found = Exit(epoch=instance.epoch, cause=Cause.STOPPED, message=message, end_ms=act.now)
        endings.ended(act, instance, found)
    elif instance.state is InstanceState.STOPPING:
        act.ask_to_stop(instance)
