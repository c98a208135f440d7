"""A gang starts together or not at all: of each, none or as many as must be are on nodes until its first end (I5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from services.scheduler.model import Now, TaskState, array_of, format_task_id
from services.scheduler.state.effects import RecordChange, RecordGang, Row
from services.scheduler.state.state import State
from tests.simulation.history import History
from tests.simulation.kernel import Violation
from tests.simulation.promises.limits import ON_NODE
from tests.simulation.promises.promise import Promise


class Gathering(Promise):
    """Counts from rows alone, at each commit that starts a member."""

    def __init__(self, history: History) -> None:
        self._history = history
        # Of gangs that have had no end yet, by their key; and the gang's key by unit.
        self._units: dict[int, dict[int, int]] = {}
        self._gang_of: dict[int, int] = {}
        self._on_node: dict[int, set[int]] = {}
        self._succeeded: Counter[int] = Counter()

    def on_commit(self, state: State, rows: Sequence[Row], now: Now) -> None:
        started: set[int] = set()
        loose: set[int] = set()
        for row in rows:
            if type(row) is RecordGang:
                self._on_gang(row, loose)
            elif type(row) is RecordChange and (unit := array_of(row.task)) in self._gang_of:
                members = self._on_node.setdefault(unit, set())
                if row.state in ON_NODE and row.attempt:
                    is_new = row.task not in members
                    members.add(row.task)
                    if row.state is TaskState.ASSIGNED and is_new:
                        started.add(self._gang_of[unit])
                else:
                    members.discard(row.task)
                    # It counts as being where it must be.
                    self._succeeded[unit] += row.state is TaskState.SUCCEEDED
        for gang in sorted(started - loose):
            if gang in self._units:
                self._check(gang)

    def _on_gang(self, row: RecordGang, loose: set[int]) -> None:
        if row.is_loose:
            loose.add(row.key)
            self._units.pop(row.key, None)
            return
        self._units[row.key] = dict(row.units)
        self._gang_of.update((unit, row.key) for unit, _ in row.units)

    def _check(self, gang: int) -> None:
        self._history.count("gangs")
        for unit, needed in self._units[gang].items():
            found = len(self._on_node.get(unit, ())) + self._succeeded[unit]
            if found < needed:
                names = format_task_id(gang), format_task_id(unit)
                raise Violation(
                    f"of the gang of {names[0]} some start, and only {found} of {needed} of {names[1]}",
                    *names,
                )
