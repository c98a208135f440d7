"""Nobody starts before somebody of the same account whose turn it was (I9)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.scheduler.model import Now, array_of, format_task_id
from services.scheduler.placement.cluster import Node
from services.scheduler.queues.tenants import TICKETS_PER_MS
from services.scheduler.scheduling.gates import closed
from services.scheduler.state.effects import Effects, StartTask
from services.scheduler.state.events import Event
from services.scheduler.state.state import State
from services.scheduler.state.task import Task
from tests.simulation.history import History
from tests.simulation.kernel import Violation
from tests.simulation.promises.explaining import waits
from tests.simulation.promises.promise import Promise


class Turns(Promise):
    """Whoever was placed directly took nothing that a task of higher priority in its account could have used."""

    def __init__(self, history: History) -> None:
        self._history = history

    def on_step(self, state: State, events: Sequence[Event], effects: Effects, now: Now) -> None:
        placed = list(_placed(state, effects, now))
        if not placed:
            return
        # Whose turn may have come by what was placed in this very step is left out.
        begin = now.wall_ms * TICKETS_PER_MS
        waiting = [task for task in state.tasks.values() if waits(task) and task.ticket < begin]
        for task in placed:
            self._history.count("turns")
            node = state.cluster.nodes[task.node]
            if node.id in state.held_nodes or task.spec.shape.gang:
                # Kept for somebody, and whoever ends in time may use it; a gang goes all at once.
                continue
            for other in waiting:
                if (
                    _goes_before(state, other, task)
                    and _could_take(other, task, node)
                    and not closed(state, other, now)
                ):
                    names = format_task_id(other.key), format_task_id(task.key)
                    raise Violation(f"{names[1]} was placed on {node.id} before {names[0]}", *names)


def _placed(state: State, effects: Effects, now: Now) -> Iterable[Task]:
    """Those that were given a node directly in this step."""
    for _, commands in effects.commands.values():
        direct = (c.key for c in commands if isinstance(c, StartTask) and not c.is_prefill)
        tasks = (task for key in direct if (task := state.tasks.get(key)) is not None)
        yield from (t for t in tasks if t.node and t.assign_ms == now.wall_ms and not t.spec.quote)


def _goes_before(state: State, other: Task, task: Task) -> bool:
    """The higher priority does, where each point of it makes up for so long a wait; then the older."""
    ours, theirs = task.queue.shape, other.queue.shape
    if (theirs.account, theirs.queue) != (ours.account, ours.queue):
        return False
    ageing_ms = state.waiting.tenancy.queues[ours.queue].settings.ageing_ms
    earlier_ms = (_ticket(state, task) - _ticket(state, other)) / TICKETS_PER_MS
    if not ageing_ms:
        return (theirs.priority, earlier_ms) > (ours.priority, 0)
    return (theirs.priority - ours.priority) * ageing_ms + earlier_ms > 0


def _ticket(state: State, task: Task) -> int:
    """An element that has its first turn has it at its array's place."""
    return task.ticket or state.tasks[array_of(task.key)].ticket


def _could_take(other: Task, task: Task, node: Node) -> bool:
    """It wants no more of anything, and nothing that a node is not sure to have."""
    has = dict(task.spec.shape.amounts)
    wants = other.spec.shape.amounts
    is_smaller = all(0 < amount <= has.get(name, 0) for name, amount in wants if name != "gpu")
    return is_smaller and "gpu" not in dict(wants) and node.matches(other.queue.shape)
