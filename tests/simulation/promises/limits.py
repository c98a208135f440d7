"""What may be on nodes at a time is never exceeded by a start (I4): counted from rows alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from services.scheduler.model import Now, Quota, Spec, TaskState, array_of, format_task_id
from services.scheduler.queues.shares import QueueSettings
from services.scheduler.state.effects import (
    Effects,
    RecordAccount,
    RecordChange,
    RecordModification,
    RecordQueue,
    Row,
    StartTask,
)
from services.scheduler.state.events import Event
from services.scheduler.state.state import State
from tests.simulation.history import History
from tests.simulation.kernel import Violation
from tests.simulation.promises.promise import Promise

ON_NODE = (TaskState.ASSIGNED, TaskState.RUNNING, TaskState.SUSPENDED)
# ("cap", account, key), ("queue", name) or ("account", name) or ("array", key).
Holder = tuple[str, ...]


class Limits(Promise):
    """Counts for caps, queues, accounts and arrays what is on nodes; what only waits at an agent does not count."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._waiting: set[int] = set()
        self._on_node: dict[int, Spec] = {}
        self._counts: Counter[Holder] = Counter()
        self._amounts: Counter[tuple[Holder, str]] = Counter()
        self._queues: dict[str, QueueSettings] = {}
        self._accounts: dict[str, Quota] = {}
        self._failures: Counter[int] = Counter()

    def on_step(self, state: State, events: Sequence[Event], effects: Effects, now: Now) -> None:
        for _, commands in effects.commands.values():
            self._waiting.update(c.key for c in commands if isinstance(c, StartTask) and c.is_prefill)

    def on_commit(self, state: State, rows: Sequence[Row], now: Now) -> None:
        for row in rows:
            if type(row) is RecordChange:
                self._on_change(row)
            elif type(row) is RecordModification and row.task in self._on_node:
                self._count(row.task, self._on_node.pop(row.task), -1)
                self._enter(row.task)
            elif type(row) is RecordQueue:
                self._queues[row.name] = row.settings
            elif type(row) is RecordAccount:
                self._accounts[row.name] = row.settings.quota

    def _on_change(self, row: RecordChange) -> None:
        if row.state is not TaskState.ASSIGNED:
            self._waiting.discard(row.task)
        if row.state is TaskState.FAILED:
            self._failures[array_of(row.task)] += 1
        is_on_node = row.state in ON_NODE and row.attempt > 0 and row.task not in self._waiting
        if row.task in self._on_node and not is_on_node:
            self._count(row.task, self._on_node.pop(row.task), -1)
        elif is_on_node and row.task not in self._on_node:
            self._enter(row.task)
            if row.state is TaskState.ASSIGNED:
                self._check(row.task, self._on_node[row.task])

    def _enter(self, task: int) -> None:
        spec = self._on_node[task] = self._history.spec_of(task)
        self._count(task, spec, 1)

    def _count(self, task: int, spec: Spec, number: int) -> None:
        for holder in _holders(task, spec):
            self._counts[holder] += number
            for name, amount in spec.shape.amounts:
                self._amounts[holder, name] += number * amount

    def _check(self, task: int, spec: Spec) -> None:
        shape = spec.shape
        settings = self._queues.get(shape.queue, QueueSettings())
        if settings.is_stopped:
            self._object(task, f"starts in the queue {shape.queue}, which is stopped")
        self._check_quota(task, spec, ("queue", shape.queue), settings.quota)
        self._check_quota(task, spec, ("account", shape.account), self._accounts.get(shape.account, Quota()))
        for key, most in shape.caps:
            self._history.count("caps")
            self._check_count(task, ("cap", shape.account, key), most)
        array = array_of(task)
        if array != task and spec.max_running:
            self._check_count(task, ("array", str(array)), spec.max_running)
        if array != task and 0 <= spec.max_fails < self._failures[array]:
            self._object(
                task, f"starts after {self._failures[array]} elements failed, of at most {spec.max_fails}"
            )

    def _check_quota(self, task: int, spec: Spec, holder: Holder, quota: Quota) -> None:
        if quota.is_limit:
            self._history.count("quotas")
        if quota.max_running:
            self._check_count(task, holder, quota.max_running)
        asked = dict(spec.shape.amounts)
        for name, limit in quota.limit:
            if asked.get(name, 0) and self._amounts[holder, name] > limit:
                self._object(
                    task, f"makes {self._amounts[holder, name]} of {name} for {holder}, {limit} is the limit"
                )

    def _check_count(self, task: int, holder: Holder, most: int) -> None:
        if self._counts[holder] > most:
            self._object(task, f"is number {self._counts[holder]} on nodes for {holder}, of at most {most}")

    def _object(self, task: int, what: str) -> None:
        name = format_task_id(task)
        raise Violation(f"{name} {what}", name)


def _holders(task: int, spec: Spec) -> Iterable[Holder]:
    shape = spec.shape
    yield ("queue", shape.queue)
    yield ("account", shape.account)
    yield from (("cap", shape.account, key) for key, _ in shape.caps)
    if array_of(task) != task:
        yield ("array", str(array_of(task)))
