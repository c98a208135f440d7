"""One job within one step: the state, what is wanted, the time; and the few ways in which an instance changes. Pure."""

from __future__ import annotations

from modelyard.training import Plan
from services.trainer.model import Condition, ConditionKind, InstanceState, JobState
from services.trainer.state.effects import (
    CancelSeats,
    CloseSeat,
    Effects,
    InsertCondition,
    InsertSeat,
    PublishAddresses,
    StopInstance,
)
from services.trainer.state.jobs import Instance, Job, Key, LiveJob
from services.trainer.state.state import State


class Act:
    """What modules of the machine do things with."""

    __slots__ = ("effects", "live", "now", "state")

    def __init__(self, state: State, live: LiveJob, effects: Effects, now: int) -> None:
        self.state = state
        self.live = live
        self.effects = effects
        self.now = now

    @property
    def job(self) -> Job:
        return self.live.job

    @property
    def plan(self) -> Plan:
        return self.live.plan

    def touch(self) -> None:
        """Something of the job has changed."""
        self.live.is_changed = True
        self.state.changed[self.live.job.number] = self.live

    def touch_instance(self, instance: Instance) -> None:
        self.live.changed.add(instance.key)
        self.state.changed[self.live.job.number] = self.live

    def set_job(self, state: JobState, reason: str = "", message: str = "") -> None:
        """Where it is, and why."""
        before = self.job.state
        self.job.state, self.job.reason, self.job.message = state, reason, message
        self.state.moved(self.job, before)
        self.touch()

    def set(self, instance: Instance, state: InstanceState, reason: str = "", message: str = "") -> None:
        """Where it is, and why."""
        if instance.state is not state:
            instance.since_ms = self.now
        instance.state, instance.reason, instance.message = state, reason, message
        if state is not InstanceState.STOPPING:
            instance.stopping_for = ""
        self.touch_instance(instance)

    def condition(self, kind: ConditionKind, *, is_true: bool, reason: str, message: str = "") -> None:
        """Noted where it changes."""
        if self.is_true(kind) is is_true:
            return
        made = Condition(kind, is_true, reason, message, self.now, self.state.revision + 1)
        self.job.conditions = [*self.job.conditions, made][-200:]
        self.effects.rows.append(InsertCondition(self.job.number, made))
        self.touch()

    def is_true(self, kind: ConditionKind) -> bool:
        """What was noted last."""
        known = next((one for one in reversed(self.job.conditions) if one.kind is kind), None)
        return known is not None and known.is_true

    def seat(self, instance: Instance, task: str) -> None:
        """The task holds its place from now on."""
        instance.task = instance.latest_task = task
        instance.seats += 1
        self.effects.rows.append(InsertSeat(self.job.number, instance.role, instance.index, task))
        self.touch_instance(instance)

    def stop(self, instance: Instance, why: str) -> None:
        """It is asked to end; what has no processes is stopped at once."""
        if instance.state.has_ended:
            return
        if not instance.state.has_processes:
            self.set(instance, InstanceState.STOPPED, why.upper())
            return
        if instance.state is InstanceState.STOPPING and instance.stopping_for == why:
            return
        if instance.is_condemned and why == "drain":
            # It ends as what it was judged.
            return
        self.set(instance, InstanceState.STOPPING, why.upper())
        instance.stopping_for = why
        self.ask_to_stop(instance)

    def ask_to_stop(self, instance: Instance) -> None:
        """The command; sent again after every greeting."""
        role = self.plan.role(instance.role)
        if role is None or instance.address is None:
            return
        stop = role.role.stop()
        self.effects.wishes.append(
            StopInstance(
                self.job.number, instance.role, instance.index, instance.task, instance.address.node,
                instance.epoch, stop.signal, stop.grace_s,
            )
        )  # fmt: skip

    def close(self, instance: Instance, *, is_failure: bool = False, message: str = "") -> None:
        """Its seat is given back."""
        task, address = instance.task, instance.address
        instance.task, instance.address = "", None
        self.touch_instance(instance)
        if not task:
            return
        if address is None:
            # No agent has it yet.
            self.effects.wishes.append(CancelSeats(self.job.account, (task,)))
            return
        role = self.plan.role(instance.role)
        keep = role.role.clean().keep if role is not None else ()
        rules = self.plan.job.checkpoints
        if keep or (rules.directory and not rules.is_shared):
            instance.closing = {**instance.closing, task: address.node}
        found = (self.job.number, instance.role, instance.index, task, address.node)
        self.effects.wishes.append(CloseSeat(*found, keep, is_failure, message))

    def close_again(self, instance: Instance, task: str) -> None:
        """The command; sent again after every greeting."""
        role = self.plan.role(instance.role)
        keep = role.role.clean().keep if role is not None else ()
        found = (self.job.number, instance.role, instance.index, task, instance.closing[task])
        self.effects.wishes.append(CloseSeat(*found, keep, False, ""))

    def publish(self) -> None:
        """The address cache has changed."""
        self.job.address_revision += 1
        self.effects.wishes.append(PublishAddresses(self.job.number, self.job.address_revision))
        self.touch()

    def wanted(self) -> list[Key]:
        """Every instance that there is to be."""
        return [
            (role.name, index)
            for role in self.plan.roles
            for index in range(self.job.counts.get(role.name, 0))
        ]
