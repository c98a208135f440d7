"""When something is expected to end, and when there will be room: from measured run times and timeouts. Pure.

An estimate is a guess that is told to people and used to order; nothing that was promised rests on it.
"""

from services.scheduler.model import Now, TaskState
from services.scheduler.placement.cluster import Node
from services.scheduler.resources import Amounts
from services.scheduler.state.state import State
from services.scheduler.state.task import Task

# A task that has outrun the mean of its like is expected to take this share of what it took so far.
OVERDUE_SHARE = 0.1


def run_ms(task: Task) -> float | None:
    """How long the task is expected to run: the mean of its like, at most its run timeout; None: unknown."""
    mean, limit = task.queue.mean_run_ms, task.spec.run_timeout_ms
    if mean is None:
        return limit or None
    return min(mean, limit) if limit else mean


def end_ms(task: Task, now: Now) -> float | None:
    """When a task on a node is expected to end, by the wall clock; None: unknown."""
    expected = run_ms(task)
    if expected is None:
        return None
    if task.state is not TaskState.RUNNING:
        return now.wall_ms + expected
    passed = now.wall_ms - task.start_ms
    return now.wall_ms + max(expected - passed, OVERDUE_SHARE * passed)


def room_ms(state: State, node: Node, amounts: Amounts, now: Now) -> float | None:
    """When the node will have room for the amounts, if nothing else is placed there; None: unknown."""
    missing = {
        name: amount - node.capacity.get(name, 0) + node.reserved.get(name, 0) for name, amount in amounts
    }
    missing = {name: amount for name, amount in missing.items() if amount > 0}
    if not missing:
        return now.wall_ms
    ends = []
    for key, held in node.tasks.items():
        task = state.tasks.get(key)
        end = end_ms(task, now) if task is not None else None
        if end is not None:
            ends.append((end, key, held))
    for end, _, held in sorted(ends):
        for name, amount in held:
            if name in missing:
                missing[name] -= amount
        if all(amount <= 0 for amount in missing.values()):
            return end
    return None
