"""Seats that are being closed and have still to give what is kept: outputs, checkpoints on their way. Pure."""

from __future__ import annotations

from modelyard.training.policies.restarts import Cause
from services.trainer.jobs.acts import Act
from services.trainer.model import InstanceState
from services.trainer.state.effects import CancelSeats, HoldReferences, PutOutputs
from services.trainer.state.events import SeatEnded
from services.trainer.state.jobs import Instance

WAIT_MS = 15 * 60_000
"""After which seats are cancelled whose agents do not close them."""
OUTPUTS_LOST = "OUTPUTS_LOST"
"""The reason of an instance that has succeeded, and whose node was lost before it had given what is kept."""


def is_waiting(act: Act) -> bool:
    """Whether some are still to be waited for; what takes too long is cancelled, and not waited for any more."""
    job, tasks = act.job, act.live.closing
    if not tasks:
        job.close_until_ms = 0
        return False
    job.close_until_ms = job.close_until_ms or act.now + WAIT_MS
    if act.now < job.close_until_ms:
        return True
    act.effects.wishes.append(CancelSeats(job.account, tuple(tasks)))
    for instance in act.live.instances.values():
        if instance.closing:
            instance.closing = {}
            act.touch_instance(instance)
    job.close_until_ms = 0
    return False


def ended(act: Act, instance: Instance, event: SeatEnded) -> None:
    """One is closed, and has given what it had."""
    instance.closing = {task: node for task, node in instance.closing.items() if task != event.task}
    act.touch_instance(instance)
    if event.outputs:
        number = act.job.number
        act.effects.rows.append(PutOutputs(number, instance.role, instance.index, event.outputs))
        digests = tuple(dict.fromkeys(digest for _, digest, _ in event.outputs))
        act.effects.wishes.append(HoldReferences(act.job.account, holder_of(number), digests))
    elif event.exit.cause is Cause.NODE_LOST and _gives(act, instance):
        message = f"what it was to keep was lost: {event.exit.message}"
        act.set(instance, InstanceState.SUCCEEDED, OUTPUTS_LOST, message)


def _gives(act: Act, instance: Instance) -> bool:
    """Whether something of a success is kept."""
    role = act.plan.role(instance.role)
    return instance.state is InstanceState.SUCCEEDED and role is not None and bool(role.role.clean().keep)


def holder_of(job: int) -> str:
    """Under which the store keeps what was kept of a job; its person may let it go."""
    return f"user:j-{job}"
