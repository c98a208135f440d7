"""What a modification does to a task that this machine has (S0.7). Pure.

A time limit is the machine's own. New parameters of a task that waits here are laid over what it will start with;
those of one that its worker has go to the worker, whose word is what counts. Saying it again does no harm.
"""

from __future__ import annotations

from msgspec.structs import replace

from services.agent.tasks.dispatch import hand_out
from services.agent.tasks.effects import (
    ChangeHolding,
    ChangeParams,
    Effect,
    PlaceAttachments,
    TellAttachments,
)
from services.agent.tasks.events import AttachmentsPlaced, HoldingChanged, ModifyAsked, WorkModified
from services.agent.tasks.lifecycle import UNSTARTED, give_back, limit_run, limit_shim
from services.agent.tasks.model import Attachment, Holding, NoteKind, Phase, Resources, Task, Worker
from services.agent.tasks.params import merged_params
from services.agent.tasks.state import State

PARAMS, RUN_TIMEOUT = "params_json", "timeouts.run_timeout"
ATTACHMENTS, RESOURCES = "attachments", "resources"


def modify(state: State, asked: ModifyAsked, now_ms: int, effects: list[Effect]) -> None:
    """Of a task that has ended, or is not here, the scheduler hears by other events: it gets no answer."""
    task = state.tasks.get(f"{asked.task_id}/{asked.attempt}")
    if task is None or task.phase in (Phase.STORING, Phase.ENDED):
        return
    if asked.run_timeout_ms is not None:
        task.run_timeout_ms = asked.run_timeout_ms
        if task.phase is Phase.RUNNING:
            limit_run(state, task, now_ms)
            limit_shim(task, effects)
        _answer(state, task, asked.revision, RUN_TIMEOUT)
    if asked.params_json:
        _change_params(state, task, asked, effects)
    if asked.attachments or asked.holding is not None:
        _change_surroundings(state, task, asked, effects)


def change_postponed(state: State, task: Task, effects: list[Effect]) -> None:
    """It has begun, though it was to be given back."""
    postponed, task.postponed = task.postponed, ()
    for asked in postponed:
        assert isinstance(asked, ModifyAsked)
        _change_surroundings(state, task, asked, effects)


def _change_surroundings(state: State, task: Task, asked: ModifyAsked, effects: list[Effect]) -> None:
    """Attachments and resources. A task that has not begun is given back: it starts with them elsewhere, or here."""
    if task.phase is not Phase.RUNNING:
        if task.phase is Phase.HANDED:
            task.postponed += (replace(asked, params_json="", run_timeout_ms=None),)
        give_back(state, task, effects)
        return
    if asked.attachments and asked.revision not in task.placing:
        task.placing.add(asked.revision)
        effects.append(PlaceAttachments(task, asked.revision, asked.attachments))
    if asked.holding is not None:
        _change_holding(state, task, asked.revision, asked.holding, effects)


def on_attachments_placed(state: State, event: AttachmentsPlaced, now_ms: int) -> list[Effect]:
    """Now the task is told; its word is what counts."""
    task = state.tasks.get(event.key)
    if task is None or task.phase is not Phase.RUNNING:
        return []
    task.placing.discard(event.revision)
    if event.message:
        _answer(state, task, event.revision, ATTACHMENTS, event.message)
        return []
    task.body = replace(task.body, attachments=laid_over(task.body.attachments, event.attachments))
    return [TellAttachments(task.worker, task, event.revision)]


def laid_over(present: tuple[Attachment, ...], changes: tuple[Attachment, ...]) -> tuple[Attachment, ...]:
    """``changes`` on top of ``present`` by path; one without a digest takes its path away."""
    found = {attachment.path: attachment for attachment in (*present, *changes)}
    return tuple(attachment for attachment in found.values() if attachment.digest)


def _change_holding(state: State, task: Task, revision: int, holding: Holding, effects: list[Effect]) -> None:
    """Room first: what is more is taken now, what is less is given back when the limits hold."""
    worker = state.workers[task.worker]
    if len(worker.queue) > 1:
        _answer(state, task, revision, RESOURCES, "short calls wait behind it in its worker; ask again")
        return
    own = task.body.limits
    limits = replace(holding.limits, pids=own.pids, whole_worker=own.whole_worker)
    holding = replace(holding, limits=limits)
    before, after = dict(worker.slot or ()), dict(holding.resources)
    for name, amount in after.items():
        if state.free.get(name, 0) < amount - before.get(name, 0):
            _answer(state, task, revision, RESOURCES, f"the machine has no room for more {name}")
            return
    most = {name: max(before.get(name, 0), after.get(name, 0)) for name in before.keys() | after.keys()}
    _hold(state, worker, tuple(sorted(most.items())))
    effects.append(ChangeHolding(worker.name, task, revision, holding))


def _hold(state: State, worker: Worker, resources: Resources) -> None:
    state.release(worker)
    state.reserve(worker, resources)


def on_holding_changed(state: State, event: HoldingChanged, now_ms: int) -> list[Effect]:
    """The limits hold, or they do not and everything is as it was."""
    task = state.tasks.get(event.key)
    if task is None or task.phase is not Phase.RUNNING:
        return []
    worker = state.workers[task.worker]
    if event.refused:
        _hold(state, worker, task.body.resources)
        _answer(state, task, event.revision, RESOURCES, event.message)
        return hand_out(state, now_ms)
    holding = event.holding
    task.body = replace(task.body, resources=holding.resources, limits=holding.limits)
    worker.limits = holding.limits
    _hold(state, worker, holding.resources)
    _answer(state, task, event.revision, RESOURCES, note=event.message)
    return hand_out(state, now_ms)


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
    if said.has_attachments:
        if task.phase is Phase.RUNNING:
            refusal = "" if said.accepted else said.message or "its worker refused"
            _answer(state, task, said.revision, ATTACHMENTS, refusal)
        return
    if said.accepted or not said.unknown:
        refusal = "" if said.accepted else said.message or "its worker refused"
        if task.phase not in (Phase.STORING, Phase.ENDED):
            _answer(state, task, said.revision, PARAMS, refusal)
    elif task.phase in (*UNSTARTED, Phase.HANDED):
        _answer(state, task, said.revision, PARAMS)


def _answer(
    state: State, task: Task, revision: int, field: str, refusal: str = "", *, note: str = ""
) -> None:
    state.tell(task, NoteKind.MODIFIED, revision=revision, field=field, message=refusal, remark=note)
