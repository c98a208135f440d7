"""What may be on nodes at a time is never exceeded by a start (I4): counted from rows alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from services.scheduler.effects import RecordChange
from services.scheduler.model import Now, Spec, TaskState, format_task_id
from services.scheduler.state import State
from services.scheduler.store import Row
from tests.simulation.history import History
from tests.simulation.kernel import Violation
from tests.simulation.promises.promise import Promise

ON_NODE = (TaskState.ASSIGNED, TaskState.RUNNING, TaskState.SUSPENDED)


class Limits(Promise):
    """Caps by (account, key)."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._on_node: dict[int, Spec] = {}
        self._by_cap: Counter[tuple[str, str]] = Counter()

    def on_commit(self, state: State, rows: Sequence[Row], now: Now) -> None:
        for row in rows:
            if type(row) is RecordChange:
                self._on_change(row)

    def _on_change(self, row: RecordChange) -> None:
        was, is_now = row.task in self._on_node, row.state in ON_NODE and row.attempt > 0
        if was and not is_now:
            self._count(self._on_node.pop(row.task), -1)
        elif is_now and not was:
            spec = self._on_node[row.task] = self._history.spec_of(row.task)
            self._count(spec, 1)
            if row.state is TaskState.ASSIGNED:
                self._check_caps(row.task, spec)

    def _count(self, spec: Spec, number: int) -> None:
        for key, _ in spec.shape.caps:
            self._by_cap[spec.shape.account, key] += number

    def _check_caps(self, task: int, spec: Spec) -> None:
        for key, most in spec.shape.caps:
            self._history.count("caps")
            if (found := self._by_cap[spec.shape.account, key]) > most:
                name = format_task_id(task)
                raise Violation(
                    f"{name} is number {found} on nodes with the key {key}, of at most {most}", name
                )
