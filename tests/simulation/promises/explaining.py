"""Explain says of every waiting task why it waits, and never that it could start while placement leaves it (I10)."""

from __future__ import annotations

import random
from collections.abc import Sequence

from services.scheduler.model import Now, format_task_id
from services.scheduler.scheduling import explain
from services.scheduler.state.effects import Effects
from services.scheduler.state.events import Event
from services.scheduler.state.state import State
from services.scheduler.state.task import Task
from tests.simulation.history import History
from tests.simulation.kernel import Violation
from tests.simulation.promises.promise import Promise

# A look at some tasks after one step of so many.
EVERY, MOST_TASKS = 5, 6


class Explaining(Promise):
    """A step places all that can be placed, so that after it nothing is left of which explain says that it starts."""

    def __init__(self, seed: int, history: History) -> None:
        self._random = random.Random(seed)
        self._history = history

    def on_step(self, state: State, events: Sequence[Event], effects: Effects, now: Now) -> None:
        if self._random.randrange(EVERY):
            return
        waiting = [task for task in state.tasks.values() if waits(task)]
        for task in self._random.sample(waiting, min(MOST_TASKS, len(waiting))):
            said = explain.explain(state, task, now)
            name = format_task_id(task.key)
            self._history.count("explanations")
            if not said.summary or not (said.gates or said.nodes or not state.cluster.nodes):
                raise Violation(f"{name} waits and nothing says why", name)
            if said.starts_now and not _stands_behind_a_gang(state, task):
                fitting = [verdict.node for verdict in said.nodes if verdict.fits]
                raise Violation(f"{name}: explain says that it starts on {fitting}, placement left it", name)


def waits(task: Task) -> bool:
    """For a node; an array whose elements have all had their turn does not."""
    if task.tally is not None:
        return task.tally.left > 0
    return not task.node


def _stands_behind_a_gang(state: State, task: Task) -> bool:
    """Gangs of one shape wait in one queue, and one that cannot form keeps the members of others that have."""
    if not task.spec.shape.gang or not task.queue.keys:
        return False
    return state.gangs.of(task.queue.keys[0][1]) is not state.gangs.of(task.key)
