"""What keeps a waiting task from being placed whatever the nodes say: one function for each reason. Pure.

Placement asks these very functions, so what `explain` names is what holds the task back.
"""

from collections.abc import Callable

from services.scheduler.model import Now, TaskState, format_task_id
from services.scheduler.queues import admission
from services.scheduler.state import members
from services.scheduler.state.gate import Gate
from services.scheduler.state.state import State
from services.scheduler.state.task import Task
from services.scheduler.tasks import arrays, dependencies

__all__ = ["GATES", "Gate", "closed"]


def _held(state: State, task: Task, now: Now) -> Gate | None:
    if task.state is TaskState.HELD:
        why = task.reason.partition(": ")[2] or "by request"
        return Gate("HELD", f"it is held, {why}", f"yard tasks release {format_task_id(task.key)}")
    return None


def _backing_off(state: State, task: Task, now: Now) -> Gate | None:
    if task.key in state.backing_off:
        left_s = max(task.not_before_ms - now.wall_ms, 0) / 1000
        return Gate("BACKING_OFF", f"its next attempt is due in {left_s:.1f} s")
    return None


def _limited(state: State, task: Task, now: Now) -> Gate | None:
    if not task.queue.is_limited:
        return None
    found = admission.obstacle(task.queue)
    return None if found is None else Gate(found.reason, found.message, found.next_step)


# In the order in which they are told.
GATES: tuple[Callable[[State, Task, Now], Gate | None], ...] = (
    _held,
    _backing_off,
    dependencies.gate,
    arrays.gate,
    _limited,
    members.gate,
)


def closed(state: State, task: Task, now: Now) -> tuple[Gate, ...]:
    """Every gate that is closed for a task that is on no node."""
    return tuple(gate for ask in GATES if (gate := ask(state, task, now)) is not None)
