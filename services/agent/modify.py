"""What a modification does to a task that this machine has (S0.7). Pure.

A time limit is the machine's own. New parameters of a task that waits here are laid over what it will start with;
those of one that its worker has go to the worker, whose word is what counts. Saying it again does no harm.
"""

from __future__ import annotations

from services.agent.effects import ChangeParams, Effect
from services.agent.events import ModifyAsked, WorkModified
from services.agent.lifecycle import UNSTARTED, limit_run
from services.agent.model import NoteKind, Phase, Task
from services.agent.params import merged_params
from services.agent.state import State

PARAMS, RUN_TIMEOUT = "params_json", "timeouts.run_timeout"


def modify(state: State, asked: ModifyAsked, now_ms: int, effects: list[Effect]) -> None:
    """Of a task that has ended, or is not here, the scheduler hears by other events: it gets no answer."""
    task = state.tasks.get(f"{asked.task_id}/{asked.attempt}")
    if task is None or task.phase in (Phase.STORING, Phase.ENDED):
        return
    if asked.run_timeout_ms is not None:
        task.run_timeout_ms = asked.run_timeout_ms
        if task.phase is Phase.RUNNING:
            limit_run(state, task, now_ms)
        _answer(state, task, asked.revision, RUN_TIMEOUT)
    if asked.params_json:
        _change_params(state, task, asked, effects)


def _change_params(state: State, task: Task, asked: ModifyAsked, effects: list[Effect]) -> None:
    has_worker = task.phase not in UNSTARTED and state.workers[task.worker].ready
    if has_worker:
        effects.append(ChangeParams(task.worker, task, asked.revision, asked.params_json))
    if task.phase is not Phase.RUNNING:
        # Also where a worker has it: it may be called back from there.
        task.params_json = merged_params(task.params_json, asked.params_json)
    if not has_worker:
        _answer(state, task, asked.revision, PARAMS)


def on_work_modified(state: State, task: Task, said: WorkModified) -> None:
    """The worker's word. A task that was called back before it heard has the change with it at its next start; of one
    that has ended the scheduler hears by its end."""
    if said.accepted or not said.unknown:
        refusal = "" if said.accepted else said.message or "its worker refused"
        if task.phase not in (Phase.STORING, Phase.ENDED):
            _answer(state, task, said.revision, PARAMS, refusal)
    elif task.phase in (*UNSTARTED, Phase.HANDED):
        _answer(state, task, said.revision, PARAMS)


def _answer(state: State, task: Task, revision: int, field: str, refusal: str = "") -> None:
    state.tell(task, NoteKind.MODIFIED, revision=revision, field=field, message=refusal)
