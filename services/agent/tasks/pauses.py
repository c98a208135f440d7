"""How long a task has been stopped where it is. Pure."""

from __future__ import annotations

from services.agent.tasks.effects import Effect, ResumeWork
from services.agent.tasks.model import NoteKind, Task
from services.agent.tasks.state import State


def wake(state: State, task: Task, now_ms: int, effects: list[Effect]) -> None:
    """Lets a suspended task go on, whatever for."""
    task.suspend_asked = False
    task.paused_ms += max(0, now_ms - task.suspended_ms)
    task.suspended_ms = -1
    effects.append(ResumeWork(task.worker, task))
    state.tell(task, NoteKind.RESUMED)
