"""Seats: what is asked of the scheduler for a job, what becomes of it, what is given back (S3.4). Pure.

A whole job asks in one submission, as one gang: all that must start together are placed in one step, or none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from modelyard.training import Address
from services.trainer.jobs import checkpoints
from services.trainer.jobs.acts import Act
from services.trainer.model import ConditionKind, InstanceState, JobState
from services.trainer.state.effects import CancelSeats, CloseSeat, DropBatch, InsertBatch, SubmitSeats
from services.trainer.state.jobs import Instance, Key

_NUMBER = re.compile(r"t-(\d+)")


def submit(act: Act, keys: Sequence[Key], *, is_whole: bool) -> None:
    """Asks for seats; `is_whole`: for a job that has none, those that must start together as one gang."""
    if not keys:
        return
    seats: dict[str, tuple[int, ...]] = {}
    for role, index in keys:
        seats[role] = (*seats.get(role, ()), index)
    least = {
        planned.name: min(planned.gang_least, len(seats[planned.name]))
        if is_whole
        else len(seats[planned.name])
        for planned in act.plan.roles
        if planned.name in seats
    }
    number, act.state.next_batch = act.state.next_batch, act.state.next_batch + 1
    act.job.batches = {**act.job.batches, number: [*keys]}
    act.touch()
    avoid = tuple(act.job.avoid[-64:])
    act.effects.rows.append(InsertBatch(act.job.number, act.job.account, number, seats, least, avoid))
    act.effects.wishes.append(SubmitSeats(act.job.number, number))


def accepted(act: Act, batch: int, tasks: dict[Key, str]) -> None:
    """Each instance has a task that holds its seat; what nobody wants by now is cancelled."""
    act.effects.rows.append(DropBatch(batch))
    keys = act.job.batches[batch]
    act.job.batches = {number: wanted for number, wanted in act.job.batches.items() if number != batch}
    act.touch()
    unwanted = []
    for key in keys:
        instance, task = act.live.instances.get(key), tasks[key]
        if instance is not None and instance.task == task:
            # Its agent was quicker than the answer.
            continue
        is_pending = instance is not None and instance.state is InstanceState.PENDING and not instance.task
        if instance is not None and is_pending and act.job.state in WANTING:
            act.seat(instance, task)
        else:
            unwanted.append(task)
    if unwanted:
        act.effects.wishes.append(CancelSeats(act.job.account, tuple(unwanted)))


def opened(act: Act, instance: Instance, task: str, address: Address) -> None:
    """Its ports are leased: it has an address, and may be launched."""
    if task in instance.closing:
        return
    if instance.state is not InstanceState.PENDING or act.job.state not in WANTING:
        if instance.task != task:
            _give_back(act, instance, task, address.node)
        elif instance.address is None and act.job.state in WANTING:
            # It waited for its place when a restart took it along: it is there when that goes on.
            _take(act, instance, address)
        return
    if not instance.task and _submission(task) > _submission(instance.latest_task):
        act.seat(instance, task)
    if instance.task != task:
        # Also one that was given back before, of which the agent has not heard yet.
        _give_back(act, instance, task, address.node)
        return
    act.set(instance, InstanceState.SEATED)
    _take(act, instance, address)


def _take(act: Act, instance: Instance, address: Address) -> None:
    instance.address = msgspec.structs.replace(address, epoch=instance.epoch)
    act.touch_instance(instance)
    act.publish()


WANTING = (JobState.RESERVING, JobState.STARTING, JobState.RUNNING, JobState.RESTARTING)


def _submission(task: str) -> int:
    """Tasks are numbered as they are submitted."""
    found = _NUMBER.match(task)
    return int(found[1]) if found else 0


def _give_back(act: Act, instance: Instance, task: str, node: str) -> None:
    act.effects.wishes.append(
        CloseSeat(act.job.number, instance.role, instance.index, task, node, (), False, "it is not wanted")
    )


def place(act: Act) -> None:
    """A gang that has its places is placed."""
    if act.job.state is not JobState.RESERVING or not is_placed(act):
        return
    act.job.place_ms = act.job.place_ms or act.now
    checkpoints.choose(act, [key for key, one in act.live.instances.items() if not one.state.has_ended])
    act.live.check, act.job.checked = None, []
    act.set_job(JobState.STARTING)
    act.condition(ConditionKind.PLACED, is_true=True, reason="GANG")
    _ask_for_others(act)


def _ask_for_others(act: Act) -> None:
    """Those whose role has grown after the gang was asked for."""
    asked = {key for keys in act.job.batches.values() for key in keys}
    others = [
        key
        for key, one in act.live.instances.items()
        if one.state is InstanceState.PENDING and not one.task and key not in asked
    ]
    submit(act, others, is_whole=False)


def is_placed(act: Act) -> bool:
    """Whether as many of each role have a seat as must start together."""
    for planned in act.plan.roles:
        least = min(planned.gang_least, act.job.counts.get(planned.name, 0))
        of_role = act.live.of_role(planned.name)
        seated = sum(one.address is not None or one.state.has_ended for one in of_role)
        if seated < least:
            return False
    return True


def give_up(act: Act, *, message: str) -> None:
    """Everything that it holds or has asked for is given back, and what was placed has no place any more."""
    tasks = [one.task for one in act.live.instances.values() if one.task]
    if tasks:
        act.effects.wishes.append(CancelSeats(act.job.account, tuple(tasks)))
    act.job.batches = {}
    for instance in act.live.instances.values():
        instance.task, instance.address, instance.resume = "", None, checkpoints.UNCHOSEN
        act.touch_instance(instance)
        if act.job.outcome is None:
            # The whole job starts again: also what has succeeded, whose address others may want.
            act.set(instance, InstanceState.PENDING, "", message)
    act.condition(ConditionKind.PLACED, is_true=False, reason="GIVEN_BACK", message=message)
    act.publish()
