"""What is tried again, and what counts as a failure: only the task's own faults do (P5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from services.scheduler.model import Cause, Now, Spec, TaskState, format_task_id
from services.scheduler.state.effects import Effects, RecordChange, Row, StopTask
from services.scheduler.state.events import Event
from services.scheduler.state.state import State
from tests.simulation.history import History
from tests.simulation.kernel import Violation
from tests.simulation.promises.promise import Promise

# Somebody else's doing.
NOT_ITS_OWN = (Cause.NODE_LOST, Cause.DRAINED, Cause.PREEMPTED, Cause.GANG)
BACK = (TaskState.QUEUED, TaskState.HELD)


class Retrying(Promise):
    """Counts failures from rows alone."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._failures: Counter[int] = Counter()

    def on_step(self, state: State, events: Sequence[Event], effects: Effects, now: Now) -> None:
        for _, commands in effects.commands.values():
            for command in commands:
                if isinstance(command, StopTask) and command.cause is Cause.PREEMPTED:
                    self._history.count("preemptions")
                    if not state.tasks[command.key].spec.is_preemptible:
                        name = format_task_id(command.key)
                        raise Violation(f"{name} is interrupted and never said that it may be", name)

    def on_commit(self, state: State, rows: Sequence[Row], now: Now) -> None:
        for row in rows:
            if type(row) is not RecordChange or row.cause is Cause.NONE or not row.attempt:
                continue
            spec, name = self._history.spec_of(row.task), format_task_id(row.task)
            if row.state is TaskState.FAILED and self._may_go_on(row, spec):
                raise Violation(f"{name} failed by {row.cause.name}, and might have been tried again", name)
            if row.state in BACK and row.cause not in NOT_ITS_OWN:
                self._failures[row.task] += 1
                if self._failures[row.task] >= spec.retry.most_attempts:
                    raise Violation(f"{name} is tried again after {self._failures[row.task]} failures", name)

    def _may_go_on(self, row: RecordChange, spec: Spec) -> bool:
        if spec.is_at_most_once:
            return False
        if row.cause in NOT_ITS_OWN:
            return True
        is_wanted = not spec.retry.on or row.cause in spec.retry.on
        return is_wanted and self._failures[row.task] + 1 < spec.retry.most_attempts
