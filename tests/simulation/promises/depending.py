"""Nothing starts before what it depends on has happened (P4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from services.scheduler.model import (
    Condition,
    Dependency,
    Now,
    TaskState,
    array_of,
    element_key,
    format_task_id,
    index_of,
)
from services.scheduler.state.effects import InsertDependency, RecordChange, Row
from services.scheduler.state.state import State
from tests.simulation.history import History
from tests.simulation.kernel import Violation
from tests.simulation.promises.promise import Promise

_FINAL = {
    Condition.SUCCEEDED: (TaskState.SUCCEEDED,),
    Condition.FAILED: (TaskState.FAILED,),
    Condition.ENDED: (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED),
}


class Depending(Promise):
    """Knows what depends on what from the rows alone, and what has happened from the history."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._on: dict[int, list[Dependency]] = defaultdict(list)

    def on_commit(self, state: State, rows: Sequence[Row], now: Now) -> None:
        for row in rows:
            if type(row) is InsertDependency:
                self._on[row.task].append(row.dependency)
            elif type(row) is RecordChange and row.state is TaskState.ASSIGNED:
                for one in self._on.get(array_of(row.task), ()):
                    self._check(row.task, one)

    def _check(self, key: int, one: Dependency) -> None:
        on = element_key(one.on, index_of(key)) if one.is_element_wise else one.on
        self._history.count("dependencies")
        if not self._holds(on, one.condition):
            names = format_task_id(key), format_task_id(on)
            raise Violation(f"{names[0]} started before {names[1]} did what it waits for", *names)

    def _holds(self, key: int, condition: Condition) -> bool:
        tasks = self._history.tasks
        task = tasks.get(key)
        if task is None:
            # An element that was never made has ended, cancelled, with its array. One that the array does not have is
            # over from the beginning, and to its counterpart as good as the array.
            array = tasks[array_of(key)]
            indexes = self._history.spec_of(array_of(key)).array_indexes
            is_absent = bool(indexes) and index_of(key) not in indexes
            if is_absent and array.state is TaskState.SUCCEEDED and condition is not Condition.FAILED:
                return True
            return condition is Condition.ENDED and (is_absent or array.state.is_terminal)
        return task.has_started if condition is Condition.STARTED else task.state in _FINAL[condition]
