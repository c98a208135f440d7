"""What workers are told of a task that they have: to end it, to change it, to watch its time. As they read it."""

from __future__ import annotations

from typing import Any

from services.agent.tasks.effects import CancelTask, ChangeParams, TellAttachments
from services.agent.tasks.model import Task

Message = dict[str, Any]


def cancel(effect: CancelTask) -> Message:
    """End it, or only if it has not begun."""
    told: Message = {"key": effect.task.work_key, "grace_ms": effect.grace_ms}
    if effect.if_waiting:
        told["if_waiting"] = True
    if effect.signal:
        told["signal"] = effect.signal
    return told


def params(effect: ChangeParams) -> Message:
    """Its parameters are these from now on."""
    told = {"key": effect.task.work_key, "params_json": effect.params_json, "revision": effect.revision}
    return _with_signal(told, effect.task)


def attachments(effect: TellAttachments, work: str) -> Message:
    """What is attached to it lies there now, below its directory ``work``."""
    told = {
        "key": effect.task.work_key,
        "revision": effect.revision,
        "has_attachments": True,
        "attachments": {item.path: f"{work}/{item.path}" for item in effect.task.body.attachments},
    }
    return _with_signal(told, effect.task)


def fence(task: Task, after_ms: int, grace_ms: int) -> Message:
    """End it after that time, should the agent be silent until then."""
    return {"key": task.work_key, "after_ms": after_ms, "grace_ms": grace_ms}


def seat_limit(task: Task, after_ms: int) -> Message:
    """How long the seat has still to go; -1: for ever."""
    return {"key": task.work_key, "limit": {"after_ms": after_ms}}


def _with_signal(told: Message, task: Task) -> Message:
    if task.body.modify_signal:
        told["signal"] = task.body.modify_signal
    return told
