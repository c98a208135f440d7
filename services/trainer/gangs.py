"""Seats: what is asked of the scheduler for a job, what becomes of it, what is given back (S3.4). Pure.

A whole job asks in one submission, as one gang: all that must start together are placed in one step, or none.
"""

from __future__ import annotations

from collections.abc import Sequence

from modelyard.training import Address
from services.trainer.acts import Act
from services.trainer.effects import CancelSeats, CloseSeat, DropBatch, InsertBatch, SubmitSeats
from services.trainer.model import ConditionKind, InstanceState, JobState
from services.trainer.state import Instance, Key


def submit(act: Act, keys: Sequence[Key], *, is_whole: bool) -> None:
    """Asks for seats; `is_whole`: for a job that has none, those that must start together as one gang."""
    if not keys:
        return
    seats: dict[str, tuple[int, ...]] = {}
    for role, index in keys:
        seats[role] = (*seats.get(role, ()), index)
    least = {
        planned.name: min(planned.gang_least, act.job.counts[planned.name])
        if is_whole
        else len(seats[planned.name])
        for planned in act.plan.roles
        if planned.name in seats
    }
    number, act.state.next_batch = act.state.next_batch, act.state.next_batch + 1
    act.job.batches = [*act.job.batches, number]
    act.touch()
    avoid = tuple(act.job.avoid[-64:])
    act.effects.rows.append(InsertBatch(act.job.number, number, seats, least, avoid))
    act.effects.wishes.append(SubmitSeats(act.job.number, number))


def accepted(act: Act, batch: int, tasks: dict[str, str]) -> None:
    """Each instance has a task that holds its seat; of a job that does not want them any more they are cancelled."""
    act.effects.rows.append(DropBatch(batch))
    if batch not in act.job.batches:
        act.effects.wishes.append(CancelSeats(act.job.account, tuple(tasks.values())))
        return
    act.job.batches = [one for one in act.job.batches if one != batch]
    act.touch()
    for instance in act.live.instances.values():
        if instance.role in tasks and not instance.task and instance.state is InstanceState.PENDING:
            instance.task = f"{tasks[instance.role]}.{instance.index}"
            act.touch_instance(instance)


def opened(act: Act, instance: Instance, task: str, address: Address) -> None:
    """Its ports are leased: it has an address, and may be launched."""
    if instance.state is not InstanceState.PENDING or act.job.state not in WANTING:
        if instance.task != task:
            _give_back(act, instance, task, address.node)
        return
    instance.task = instance.task or task
    if instance.task != task:
        _give_back(act, instance, task, address.node)
        return
    instance.address = address
    act.set(instance, InstanceState.SEATED)
    act.publish()


WANTING = (JobState.RESERVING, JobState.STARTING, JobState.RUNNING, JobState.RESTARTING)


def _give_back(act: Act, instance: Instance, task: str, node: str) -> None:
    act.effects.wishes.append(
        CloseSeat(act.job.number, instance.role, instance.index, task, node, (), False, "it is not wanted")
    )


def place(act: Act) -> None:
    """A gang that has its places is placed."""
    if act.job.state is not JobState.RESERVING or not is_placed(act):
        return
    act.job.place_ms = act.job.place_ms or act.now
    act.set_job(JobState.STARTING)
    act.condition(ConditionKind.PLACED, is_true=True, reason="GANG")


def is_placed(act: Act) -> bool:
    """Whether as many of each role have a seat as must start together."""
    for planned in act.plan.roles:
        least = min(planned.gang_least, act.job.counts.get(planned.name, 0))
        seated = sum(one.address is not None for one in act.live.of_role(planned.name))
        if seated < least:
            return False
    return True


def give_up(act: Act, *, message: str) -> None:
    """Everything that it holds or has asked for is given back, and what was placed has no place any more."""
    tasks = [one.task for one in act.live.instances.values() if one.task]
    if tasks:
        act.effects.wishes.append(CancelSeats(act.job.account, tuple(tasks)))
    act.effects.rows += [DropBatch(batch) for batch in act.job.batches]
    act.job.batches = []
    for instance in act.live.instances.values():
        instance.task, instance.address = "", None
        if not instance.state.has_ended:
            act.set(instance, InstanceState.PENDING, "", message)
    act.condition(ConditionKind.PLACED, is_true=False, reason="GIVEN_BACK", message=message)
    act.publish()
