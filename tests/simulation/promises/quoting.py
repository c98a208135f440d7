"""A submission that names a quote is on nodes after the step that took it, or was refused (S0.5)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from services.scheduler.model import Now, element_key, format_task_id, task_key
from services.scheduler.state.effects import Effects
from services.scheduler.state.events import Event, TasksSubmitted
from services.scheduler.state.state import State
from tests.simulation.history import History
from tests.simulation.kernel import Violation
from tests.simulation.promises.promise import Promise


class Quoting(Promise):
    """Counts for itself what is promised on each node: to tasks, and to quotes."""

    def __init__(self, history: History) -> None:
        self._history = history

    def on_step(self, state: State, events: Sequence[Event], effects: Effects, now: Now) -> None:
        for event in events:
            if isinstance(event, TasksSubmitted) and any(spec.quote for spec in event.specs):
                self._check_submission(state, event, effects)
        if state.quotes.live:
            self._check_sums(state)

    def _check_submission(self, state: State, event: TasksSubmitted, effects: Effects) -> None:
        answer = next(answer for answer in effects.answers if answer.reply == event.reply)
        if answer.is_repeat:
            return
        if answer.error is not None:
            self._history.count("quotes refused")
            return
        self._history.count("quotes used")
        for number, (index, _) in enumerate(event.items, answer.first):
            spec, key = event.specs[index], task_key(number)
            placed = [element_key(key, i) for i in range(spec.array_size)] if spec.array_size else [key]
            for one in placed:
                task = state.tasks.get(one)
                # Its node may be lost, or say that it has not heard of it, in the very same step.
                if spec.quote and task is not None and not task.attempt:
                    name = format_task_id(one)
                    raise Violation(f"{name} has the quote {spec.quote} and was given no node", name)

    def _check_sums(self, state: State) -> None:
        used: dict[tuple[str, str], int] = defaultdict(int)
        for task in state.tasks.values():
            if (
                task.node
                and not task.is_prefilled
                and task.key not in state.cluster.nodes[task.node].expected
            ):
                for name, amount in task.spec.shape.amounts:
                    used[task.node, name] += amount
        for quote in state.quotes.live.values():
            for room, node in quote.rooms.items():
                for name, amount in state.cluster.nodes[node].rooms[room].amounts:
                    used[node, name] += amount
        for (node, name), amount in used.items():
            if amount > state.cluster.nodes[node].capacity.get(name, 0):
                raise Violation(f"{amount} of {name} is promised on {node} with its quotes", node)
