"""An agent is there again: what its seats are is held against what they should be (S3.10). Pure.

Nothing is remembered about what was sent: every command follows from the state, and may be sent twice.
"""

from __future__ import annotations

from services.trainer.jobs import launching, reachability
from services.trainer.jobs.acts import Act
from services.trainer.model import InstanceState
from services.trainer.state.effects import TellAddresses
from services.trainer.state.jobs import Instance


def stands(act: Act, instance: Instance, epoch: int) -> None:
    """A seat that its agent still has, with the epoch that was last launched there."""
    reachability.ask(act, instance)
    if instance.state is InstanceState.STARTING and epoch < instance.epoch:
        launching.send_launch(act, instance)
    elif instance.state is InstanceState.RUNNING and instance.address is not None:
        wish = (act.job.number, *instance.key, instance.task, instance.address.node)
        act.effects.wishes.append(TellAddresses(*wish))
    elif instance.state is InstanceState.STOPPING:
        # Also where its launch never came there: it does not begin any more, and that is told as its end.
        act.ask_to_stop(instance)
