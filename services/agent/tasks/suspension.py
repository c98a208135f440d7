"""Suspending and resuming what this machine has. Pure.

Of a command every process below its shim is stopped, of an operator its worker with everything below it. What has not
begun is given back instead. A worker that is stopped cannot hear: so what waits behind a task is called back first.
"""

from __future__ import annotations

from services.agent.tasks.dispatch import recall
from services.agent.tasks.effects import Effect, SuspendWork
from services.agent.tasks.events import ResumeAsked, SuspendAsked
from services.agent.tasks.lifecycle import give_back, limit_run, limit_shim
from services.agent.tasks.model import NoteKind, Phase, Task
from services.agent.tasks.pauses import wake
from services.agent.tasks.state import State


def suspend(state: State, asked: SuspendAsked, now_ms: int, effects: list[Effect]) -> None:
    """Doing it twice is told twice and changes nothing. One that is to end goes on to its end."""
    task = state.tasks.get(f"{asked.task_id}/{asked.attempt}")
    if task is None or task.stop is not None or task.phase in (Phase.STORING, Phase.ENDED):
        return
    if task.is_suspended:
        state.tell(task, NoteKind.SUSPENDED)
        return
    task.suspend_asked = True
    give_back(state, task, effects)
    halt(state, task, now_ms, effects)


def resume(state: State, asked: ResumeAsked, now_ms: int, effects: list[Effect]) -> None:
    task = state.tasks.get(f"{asked.task_id}/{asked.attempt}")
    if task is None:
        return
    task.suspend_asked = False
    if task.is_suspended:
        wake(state, task, now_ms, effects)
        limit_run(state, task, now_ms)
        limit_shim(task, effects)
    elif task.phase is Phase.RUNNING:
        state.tell(task, NoteKind.RESUMED)


def halt(state: State, task: Task, now_ms: int, effects: list[Effect]) -> None:
    """Stops a task that is to be, once it runs and nothing waits behind it."""
    if (
        not task.suspend_asked
        or task.phase is not Phase.RUNNING
        or task.is_suspended
        or task.stop is not None
    ):
        return
    worker = state.workers[task.worker]
    if len(worker.queue) > 1:
        effects.extend(recall(state, worker))
        return
    task.suspended_ms = now_ms
    effects.append(SuspendWork(worker.name, task))
    limit_shim(task, effects)
    state.tell(task, NoteKind.SUSPENDED)
