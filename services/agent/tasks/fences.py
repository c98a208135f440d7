"""Tasks that must not outlast the silence of the scheduler: ended here before they begin elsewhere. Pure.

The time runs from the sending of the last beat that was acknowledged. The machine ends such a task itself; its
worker has the same deadline, and keeps it while the agent process is dead.
"""

from __future__ import annotations

from services.agent.tasks.effects import Effect, FenceWork
from services.agent.tasks.lifecycle import end_early
from services.agent.tasks.model import Cause, Phase, StopOrder, Task
from services.agent.tasks.state import State

ENDED = (Phase.STORING, Phase.ENDED, Phase.GONE)
SILENT = "its node heard nothing of the scheduler for longer than disconnect allows"


def left_ms(state: State, task: Task, now_ms: int) -> int:
    """How long it may go on without news of the scheduler."""
    longer_ms = max(0, (task.body.silent_most_ms or 0) - state.lease_ms)
    return max(0, state.lease_until_ms + longer_ms - now_ms)


def renew(state: State) -> list[Effect]:
    """The scheduler was heard: workers with such tasks are told their new deadline."""
    tasks = [task for task in _fenced(state) if task.phase in (Phase.HANDED, Phase.RUNNING)]
    return [FenceWork(tuple(tasks))] if tasks else []


def end_overdue(state: State, now_ms: int, effects: list[Effect]) -> None:
    """Ends those whose time is over. Before the first session nothing is known: their workers keep the time then."""
    if not state.fenced or not 0 <= state.lease_until_ms <= now_ms:
        return
    order = StopOrder(Cause.NODE_LOST, SILENT, state.settings.stop_grace_ms)
    for task in _fenced(state):
        if not left_ms(state, task, now_ms):
            end_early(state, task, order, now_ms, effects)


def _fenced(state: State) -> list[Task]:
    """Those that have not ended; the others are forgotten."""
    found = [task for key in state.fenced if (task := state.tasks.get(key)) and task.phase not in ENDED]
    state.fenced = dict.fromkeys(task.key for task in found)
    return found
