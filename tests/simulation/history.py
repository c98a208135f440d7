"""Everything that happened, and what must hold of it: the promises of reliability.md, checked as it happens.

Sees both sides from above. Owns no behaviour.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from services.scheduler.machine import TRANSITIONS
from services.scheduler.model import (
    TERMINAL,
    Cause,
    DisconnectMode,
    Spec,
    TaskState,
    array_of,
    format_task_id,
    parse_task_id,
)
from services.scheduler.nodes.pace import LEASE_MS
from services.scheduler.records.recovery import FAILOVER_LEASE_MS
from services.scheduler.resources import Amounts
from services.scheduler.state.effects import InsertSpec, InsertTask, RecordChange, RecordModification, Row
from services.scheduler.state.state import State
from services.scheduler.timers import STALL_MS
from tests.simulation.kernel import MS, Kernel, Violation

if TYPE_CHECKING:
    from tests.simulation.worker import Work

WALL_MS = 1_800_000_000_000
_ON_NODE = (TaskState.ASSIGNED, TaskState.RUNNING, TaskState.SUSPENDED)


class Execution(msgspec.Struct):
    """One attempt that really ran, or still does."""

    node: str
    attempt: int
    epoch: int
    begin_us: int
    end_us: int = -1
    # Its worker died within a millisecond of it, before it had told: the agent cannot know that it began.
    is_unsaid: bool = False
    # It succeeded, and its report is where a restarted agent finds it.
    is_kept: bool = False
    # It is stopped where it is.
    is_halted: bool = False
    # Another attempt was rightly begun, or kept, in its place.
    is_given_up: bool = False


class Committed(msgspec.Struct):
    """A task as the scheduler's disk has it."""

    state: TaskState = TaskState.QUEUED
    attempt: int = 0
    epoch: int = 0
    node: str = ""
    assign_us: int = 0
    revision: int = 0
    spec: Spec | None = None
    has_started: bool = False
    # (epoch, node) of every attempt there was.
    tokens: dict[int, tuple[int, str]] = {}
    # No attempt may begin any more: a cancel was acknowledged.
    most_attempts: int = 1 << 30


class History:
    """One per run."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.specs: dict[int, Spec] = {}
        self.tasks: dict[int, Committed] = {}
        self.executions: dict[int, list[Execution]] = defaultdict(list)
        self.counts: dict[str, int] = defaultdict(int)
        self.last_end_us = 0
        self._arrays_cancelled: set[int] = set()
        self._lost_us: dict[str, list[int]] = defaultdict(list)
        self._rebooted_us: dict[str, list[int]] = defaultdict(list)
        self._said_goodbye: set[str] = set()
        # The scheduler's own awake time: pauses that it is to credit do not count.
        self._asleep_us = 0
        self._pause_us = 0
        self._heard_us: dict[str, int] = {}
        self._start_us = 0

    def wall_ms(self) -> int:
        return WALL_MS + self.kernel.now_ms

    def count(self, what: str) -> None:
        self.counts[what] += 1

    # The scheduler

    def on_scheduler_start(self, state: State) -> None:
        self._start_us = self._awake_us()
        live = {key for key, task in self.tasks.items() if task.state not in TERMINAL}
        if live != set(state.tasks):
            missing = sorted(live ^ set(state.tasks))
            raise Violation(f"recovery lost or invented {_names(missing)}", *_names(missing))
        for key, task in state.tasks.items():
            known = self.tasks[key]
            if (task.state, task.attempt, task.node) != (known.state, known.attempt, known.node):
                raise Violation(f"recovery changed {format_task_id(key)}", format_task_id(key))

    def on_scheduler_pause(self) -> None:
        self._pause_us = self.kernel.now_us

    def on_scheduler_resume(self) -> None:
        slept_us = self.kernel.now_us - self._pause_us
        if slept_us > STALL_MS * MS:
            self._asleep_us += slept_us

    def _awake_us(self) -> int:
        return self.kernel.now_us - self._asleep_us

    def on_heard(self, node: str) -> None:
        self._heard_us[node] = self._awake_us()
        self._said_goodbye.discard(node)

    def on_goodbye(self, node: str) -> None:
        self._said_goodbye.add(node)

    def on_node_lost(self, node: str) -> None:
        """A node may be given up only after its lease, counted in time that the scheduler was awake."""
        self.count("nodes lost")
        self._lost_us[node].append(self.kernel.now_us)
        silent_us = self._awake_us() - self._heard_us.get(node, -(1 << 60))
        if silent_us < LEASE_MS * MS and node not in self._said_goodbye:
            raise Violation(f"{node} was given up {silent_us // MS} ms after it was heard", node)

    def on_node_not_back(self, node: str) -> None:
        """After a restart, a node that did not come back within its lease."""
        self.count("nodes not back")
        self._lost_us[node].append(self.kernel.now_us)
        waited_us = self._awake_us() - self._start_us
        if waited_us < FAILOVER_LEASE_MS * MS and node not in self._said_goodbye:
            raise Violation(f"{node} was given up {waited_us // MS} ms after the restart", node)

    def on_commit(self, rows: Iterable[Row]) -> None:
        for row in rows:
            if type(row) is InsertSpec:
                self.specs[row.spec.number] = row.spec
            elif type(row) is InsertTask:
                if row.key in self.tasks:
                    raise Violation(f"{format_task_id(row.key)} was made twice", format_task_id(row.key))
                self.tasks[row.key] = Committed(revision=row.revision, spec=self.specs[row.spec], tokens={})
                self.count("tasks made")
                if array_of(row.key) in self._arrays_cancelled and array_of(row.key) != row.key:
                    raise Violation("an element was made after its array's cancel", format_task_id(row.key))
            elif type(row) is RecordChange:
                self._on_change(row)
            elif type(row) is RecordModification:
                self._on_modification(row)

    def _on_change(self, row: RecordChange) -> None:
        name = format_task_id(row.task)
        task = self.tasks[row.task]
        if row.state is not task.state and row.state not in TRANSITIONS[task.state]:
            raise Violation(f"{name} went from {task.state.name} to {row.state.name}", name)
        if task.state in TERMINAL:
            raise Violation(f"{name} changed after its end", name)
        if row.revision <= task.revision:
            raise Violation(f"{name} went back to revision {row.revision}", name)
        if row.attempt > max(task.tokens, default=0):
            self._check_attempt(name, task, row)
            task.assign_us = self.kernel.now_us
            task.tokens[row.attempt] = (row.epoch, row.node)
        elif (row.attempt, row.epoch) != (task.attempt, task.epoch):
            self._check_original(name, task, row)
        if row.state in TERMINAL and row.payload:
            self._check_outcome(name, task, row)
        task.state, task.attempt, task.epoch, task.node = row.state, row.attempt, row.epoch, row.node
        task.revision = row.revision
        task.has_started |= row.state is TaskState.RUNNING or row.start_ms > 0
        if row.state in TERMINAL or row.cause is not Cause.NONE:
            # Of a task, or of one of its attempts.
            self.last_end_us = self.kernel.now_us
        if row.state in TERMINAL:
            self.count("tasks ended")
            self.count(row.state.name.lower())

    def _on_modification(self, row: RecordModification) -> None:
        name = format_task_id(row.task)
        task = self.tasks[row.task]
        if task.state in TERMINAL or row.revision <= task.revision:
            raise Violation(f"{name} was modified after its end, or in the past", name)
        task.revision = row.revision
        task.spec = self.specs[row.spec]
        self.count("modifications")

    def _check_attempt(self, name: str, task: Committed, row: RecordChange) -> None:
        """A further attempt needs an end of the one before: its own, or that of its node."""
        if row.attempt > task.most_attempts:
            raise Violation(f"{name} begins attempt {row.attempt} after its cancel was acknowledged", name)
        if row.attempt != max(task.tokens, default=0) + 1 or row.state is not TaskState.ASSIGNED:
            raise Violation(f"{name} jumps to attempt {row.attempt}", name)
        for execution in self.executions[row.task]:
            if execution.is_given_up:
                continue
            if execution.end_us >= 0 and not (execution.is_kept and execution.attempt == task.attempt):
                continue
            lost = self._lost_us[execution.node]
            if not lost or lost[-1] < task.assign_us:
                raise Violation(
                    f"{name} begins attempt {row.attempt} though {execution.attempt} "
                    f"{'succeeded' if execution.is_kept else 'runs'} on {execution.node}",
                    name,
                )
            execution.is_given_up = True

    def _check_original(self, name: str, task: Committed, row: RecordChange) -> None:
        """An earlier attempt goes on in place of a later one, as was asked for; it is the very same."""
        was_replaced = self._lost_us[row.node]
        if task.tokens[row.attempt] != (row.epoch, row.node) or not was_replaced:
            raise Violation(f"{name}: a change with token {row.epoch}/{row.attempt}", name)
        self.count("originals kept")
        for execution in self.executions[row.task]:
            execution.is_given_up = execution.attempt != row.attempt

    def _check_outcome(self, name: str, task: Committed, row: RecordChange) -> None:
        """What is taken as an outcome was really produced, by the holder of the current token."""
        expected = f"{name}/{row.attempt}/{row.epoch}@{row.node}"
        if row.payload.decode() != expected:
            raise Violation(f"{name} took the outcome {row.payload!r}, not {expected}", name)

    def on_cancel_acknowledged(self, keys: Iterable[int]) -> None:
        for key in keys:
            task = self.tasks.get(key)
            if task is not None:
                task.most_attempts = min(task.most_attempts, task.attempt)
                self._arrays_cancelled.add(key)

    # The machines

    def on_execution_begin(
        self, node: str, work: Work, running: list[tuple[Work, Amounts]], capacity: Mapping[str, int]
    ) -> None:
        key = parse_task_id(work.task)
        self._check_alone(key, work)
        for execution in self.executions[key]:
            if execution.attempt == work.attempt and execution.is_unsaid:
                self.count("calls run again after a worker's death")
            elif execution.attempt == work.attempt:
                raise Violation(f"attempt {work.key} ran twice", work.task, node)
        self.executions[key].append(Execution(node, work.attempt, work.epoch, self.kernel.now_us))
        self.count("executions")
        used: dict[str, int] = defaultdict(int)
        devices: dict[str, int] = defaultdict(int)
        for one, amounts in running:
            for name, amount in amounts:
                used[name] += amount
                if name == "gpu":
                    if not one.devices:
                        raise Violation(f"{one.key} asked for devices and got none", one.task, node)
                    for device in one.devices:
                        devices[device] += min(amount, 10_000)
        for name, amount in used.items():
            if amount > capacity.get(name, 0):
                raise Violation(
                    f"{node} runs {amount} of {name}, it has {capacity.get(name, 0)}", work.task, node
                )
        if any(amount > 10_000 for amount in devices.values()):
            raise Violation(f"a device of {node} is used twice: {dict(devices)}", work.task, node)

    def _check_alone(self, key: int, work: Work) -> None:
        """What is delivered at most once runs once; what must not outlast silence never beside another attempt."""
        spec = self.spec_of(key)
        before = self.executions[key]
        if spec.is_at_most_once:
            self.count("deliveries at most once")
            if before:
                raise Violation(f"{work.task} is delivered a second time", work.task, before[-1].node)
        if spec.disconnect.mode is DisconnectMode.STOP:
            self.count("fenced executions")
            other = next((one for one in before if one.end_us < 0 and not one.is_halted), None)
            if other is not None:
                raise Violation(
                    f"{work.task} runs twice: attempt {other.attempt} on {other.node}", work.task, other.node
                )

    def on_execution_halted(self, node: str, work: Work, *, is_halted: bool) -> None:
        for execution in self.executions[parse_task_id(work.task)]:
            if execution.attempt == work.attempt and execution.node == node:
                execution.is_halted = is_halted

    def on_execution_end(self, node: str, work: Work, *, is_success: bool = False) -> None:
        for execution in self.executions[parse_task_id(work.task)]:
            if execution.attempt == work.attempt and execution.node == node:
                execution.end_us = self.kernel.now_us
                execution.is_kept = is_success

    def on_reports_lost(self, work_keys: Iterable[str]) -> None:
        """The worker that kept them is gone."""
        for work_key in work_keys:
            task_id, attempt, _, _ = work_key.split("/")
            for execution in self.executions[parse_task_id(task_id)]:
                execution.is_kept &= execution.attempt != int(attempt)

    def on_unsaid(self, work_keys: Iterable[str]) -> None:
        for work_key in work_keys:
            task_id, attempt, _, _ = work_key.split("/")
            for execution in self.executions[parse_task_id(task_id)]:
                execution.is_unsaid |= execution.attempt == int(attempt)

    def on_reboot(self, node: str) -> None:
        self._rebooted_us[node].append(self.kernel.now_us)

    def spec_of(self, key: int) -> Spec:
        """What holds of a task, as the disk has it."""
        spec = self.tasks[key].spec
        assert spec is not None
        return spec

    def is_current(self, work: Work) -> bool:
        """Whether the scheduler's disk wants this attempt to run."""
        task = self.tasks[parse_task_id(work.task)]
        return task.state in _ON_NODE and (task.attempt, task.epoch) == (work.attempt, work.epoch)


def _names(keys: Iterable[int]) -> list[str]:
    return [format_task_id(key) for key in keys]
