"""What an earlier agent process has left: its workers with their tasks, and the ends of commands. Pure."""

from __future__ import annotations

from services.agent.tasks.effects import Effect
from services.agent.tasks.events import OutcomeRestored, TaskRestored, WorkerRestored
from services.agent.tasks.lifecycle import limit_run, make_task, settle
from services.agent.tasks.model import Phase, Task, Worker
from services.agent.tasks.state import State


def on_worker_restored(state: State, event: WorkerRestored, now_ms: int) -> list[Effect]:
    """Takes a worker of an earlier agent process over, with everything it has."""
    worker = Worker(event.worker, event.pool, ready=True, idle_since_ms=now_ms)
    state.workers[worker.name] = worker
    state.spawned = max(state.spawned, int(worker.name[1:]))
    group = state.group(event.pool)
    for restored in event.tasks:
        task = _restore(state, restored, worker)
        if task is None:
            continue
        if worker.slot is None:
            state.reserve(worker, task.body.resources)
            worker.limits = task.body.limits
            for name, amount in task.body.resources:
                state.inherited[name] = state.inherited.get(name, 0) + amount
        worker.queue.append(task.key)
        if restored.running:
            state.move(task, Phase.RUNNING)
            task.start_ms = restored.start_ms
            task.paused_ms = restored.paused_ms
            if restored.suspended_for_ms >= 0:
                task.suspend_asked = True
                task.suspended_ms = max(0, now_ms - restored.suspended_for_ms)
            limit_run(state, task, now_ms)
    (group.busy if worker.queue else group.idle)[worker.name] = worker
    for restored in event.ended:
        _restore(state, restored, worker)
    return []


def on_outcome_restored(state: State, event: OutcomeRestored, now_ms: int) -> list[Effect]:
    """A command has ended while nobody looked. The name of its worker is taken while its records are there."""
    state.spawned = max(state.spawned, int(event.worker[1:] or 0))
    task = _restore(state, TaskRestored(event.start), None)
    effects: list[Effect] = []
    if task is not None:
        settle(state, task, event.exit, effects)
    return effects


def _restore(state: State, restored: TaskRestored, worker: Worker | None) -> Task | None:
    asked = restored.start
    if asked.body is None or f"{asked.task_id}/{asked.attempt}" in state.tasks:
        return None
    state.rank += 1
    task = make_task(state, asked, asked.body)
    task.phase = Phase.HANDED
    task.is_bare = True
    task.worker = worker.name if worker is not None else ""
    state.tasks[task.key] = task
    if task.body.silent_most_ms is not None:
        state.fenced[task.key] = None
    return task
