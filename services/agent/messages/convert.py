"""Between the machine's values and the messages of the agent link and of the workers.

No decisions here. The hot path goes through `starts_of` and `event_of`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from modelyard.v1 import agent_link_pb2 as link
from modelyard.v1 import task_pb2
from services.agent.host.offered import SHOWN_BYTES_MOST
from services.agent.messages.decode import attachments_of, holding_of, pool_of
from services.agent.tasks.events import (
    Command,
    ModifyAsked,
    ResumeAsked,
    RetractAsked,
    StartAsked,
    StopAsked,
    SuspendAsked,
    VerdictGiven,
    WorkBegun,
    WorkDone,
    WorkModified,
    WorkMoved,
    WorkReported,
)
from services.agent.tasks.model import (
    Body,
    Cause,
    Exit,
    Given,
    LeftFile,
    Note,
    NoteKind,
    Phase,
    Task,
    TaskError,
)

Message = dict[str, Any]

HELD = {
    Phase.PREPARING: link.HELD_STATE_WAITING,
    Phase.WAITING: link.HELD_STATE_WAITING,
    Phase.HANDED: link.HELD_STATE_WAITING,
    Phase.RUNNING: link.HELD_STATE_RUNNING,
    Phase.STORING: link.HELD_STATE_RUNNING,
    Phase.ENDED: link.HELD_STATE_ENDED,
}
CAUSES: dict[Cause, task_pb2.TaskCause.ValueType] = {
    cause: task_pb2.TaskCause.Value(f"TASK_CAUSE_{cause}") for cause in Cause
}
CAUSE_OF_NUMBER: dict[int, Cause] = {number: cause for cause, number in CAUSES.items()}
VERDICTS: dict[int, str] = {
    link.VERDICT_KIND_KEEP: "KEEP",
    link.VERDICT_KIND_STOP: "STOP",
    link.VERDICT_KIND_FORGET: "FORGET",
}
WORK_CAUSES = {
    "error": Cause.ERROR,
    "exit": Cause.EXIT,
    "signal": Cause.SIGNAL,
    "out_of_memory": Cause.OUT_OF_MEMORY,
    "setup": Cause.SETUP,
    "cancelled": Cause.CANCELLED,
    "timeout": Cause.TIMEOUT,
}
NEXT_STEPS = {
    Cause.OUT_OF_MEMORY: "raise resources.memory_bytes, or make it need less",
    Cause.SETUP: "",
    Cause.TIMEOUT: "raise timeouts.run_timeout, or make it shorter",
}


# --- from the scheduler


def commands_of(commands: link.Commands, body_of: Callable[[int], Body | None]) -> tuple[Command, ...]:
    """The commands of one message; body_of gives None for a body that is not known or not readable."""
    return tuple(_command(command, body_of) for command in commands.commands)


def _command(command: link.Command, body_of: Callable[[int], Body | None]) -> Command:
    kind = command.WhichOneof("command")
    if kind == "start":
        start = command.start
        body = body_of(start.body)
        devices = tuple(start.gpu_devices)
        return StartAsked(
            start.task_id,
            start.attempt,
            start.epoch,
            body,
            start.params_json,
            start.prefill,
            start.array_index,
            devices,
            start.task_token,
            pool_of(body, devices) if devices and body is not None and not body.is_command else None,
        )
    if kind == "retract":
        return RetractAsked(command.retract.task_id, command.retract.attempt)
    if kind == "suspend":
        return SuspendAsked(command.suspend.task_id, command.suspend.attempt)
    if kind == "resume":
        return ResumeAsked(command.resume.task_id, command.resume.attempt)
    if kind == "modify":
        change = command.modify
        limit_ms = change.run_timeout_ms if change.HasField("run_timeout_ms") else None
        return ModifyAsked(
            change.task_id,
            change.attempt,
            change.revision,
            change.params_json,
            limit_ms,
            attachments_of(change.attachments),
            holding_of(change.resources) if change.HasField("resources") else None,
        )
    stop = command.stop
    cause = CAUSE_OF_NUMBER.get(stop.cause, Cause.CANCELLED)
    message = stop.message or "it was cancelled"
    return StopAsked(stop.task_id, stop.attempt, stop.grace_ms, cause, message, stop.signal)


def verdicts_of(welcome: link.Welcome) -> tuple[VerdictGiven, ...]:
    """What becomes of the tasks that the Hello has told of."""
    return tuple(
        VerdictGiven(verdict.task_id, verdict.attempt, VERDICTS.get(verdict.kind, "KEEP"))
        for verdict in welcome.verdicts
    )


# --- to the scheduler


def event_of(note: Note, enforcement: str) -> link.TaskEvent:
    """One event of the link."""
    task = note.task
    event = link.TaskEvent(task_id=task.task_id, attempt=task.attempt, epoch=task.epoch)
    if note.kind is NoteKind.EXITED:
        assert task.exit is not None
        event.exited.CopyFrom(exited_of(task.exit, _enforcement(task, enforcement)))
    elif note.kind is NoteKind.STARTED:
        event.started.start_time.FromMilliseconds(note.start_ms)
    elif note.kind is NoteKind.PROGRESS:
        event.progress.ratio = note.ratio
        event.progress.message = note.message
    elif note.kind is NoteKind.REJECTED:
        event.rejected.reason = note.reason
        event.rejected.message = note.message
    elif note.kind is NoteKind.MODIFIED:
        event.modified.revision = note.revision
        kind = task_pb2.FIELD_VERDICT_KIND_REJECTED if note.message else task_pb2.FIELD_VERDICT_KIND_APPLIED
        event.modified.fields.add(path=note.field, kind=kind, message=note.message or note.remark)
    elif note.kind is NoteKind.SUSPENDED:
        event.suspended.SetInParent()
    elif note.kind is NoteKind.RESUMED:
        event.resumed.SetInParent()
    else:
        event.retracted.SetInParent()
    return event


def _enforcement(task: Task, usual: str) -> str:
    return "container" if task.body.image else usual


def exited_of(end: Exit, enforcement: str) -> link.TaskExited:
    """The end of an attempt; enforcement is how its limits were enforced."""
    exited = link.TaskExited(
        start_time_ms=end.start_ms,
        end_time_ms=end.end_ms,
        stdout_bytes=end.stdout_bytes,
        stderr_bytes=end.stderr_bytes,
        usage=task_pb2.TaskUsage(
            cpu_time_s=end.cpu_time_s,
            memory_peak_bytes=end.memory_peak_bytes,
            enforcement=enforcement,
        ),
    )
    if end.given is not None:
        exited.usage.given_parameters.CopyFrom(_given(end.given))
    if end.error is not None:
        exited.error.CopyFrom(_error(end.error))
    if end.value_json or end.value_digest or end.outputs:
        result = exited.result
        result.value_json = end.value_json
        result.value_digest = end.value_digest
        for output in end.outputs:
            result.outputs.add(
                name=output.name,
                digest=output.digest,
                size_bytes=output.size_bytes,
                is_value=output.is_value,
            )
    return exited


def _given(given: Given) -> task_pb2.GivenParameters:
    is_short = len(given.params_json.encode()) <= SHOWN_BYTES_MOST
    return task_pb2.GivenParameters(
        variable=given.variable, digest=given.digest, params_json=given.params_json if is_short else ""
    )


def held_of(task: Task, enforcement: str) -> link.HeldTask:
    """A task as the Hello tells of it."""
    return link.HeldTask(
        task_id=task.task_id,
        attempt=task.attempt,
        epoch=task.epoch,
        state=HELD[task.phase],
        exited=exited_of(task.exit, _enforcement(task, enforcement)) if task.exit is not None else None,
        is_suspended=task.is_suspended,
    )


def _error(error: TaskError) -> task_pb2.TaskError:
    return task_pb2.TaskError(
        cause=CAUSES[error.cause],
        message=error.message,
        exit_code=error.exit_code,
        signal=error.signal,
        traceback=error.traceback,
        next_step=error.next_step or NEXT_STEPS.get(error.cause, ""),
    )


# --- from a worker


def report_of(worker: str, message: Message) -> WorkReported:
    """One frame of a worker as an event."""
    begun = message.get("started")
    moved = message.get("progress")
    ended = message.get("ended")
    modified = message.get("modified")
    return WorkReported(
        worker,
        tuple([WorkBegun(item["key"], item["start_time_ms"]) for item in begun]) if begun else (),
        tuple([WorkMoved(i["key"], i["ratio"], i.get("message", "")) for i in moved]) if moved else (),
        tuple([done_of(item) for item in ended]) if ended else (),
        tuple([_modified_of(item) for item in modified]) if modified else (),
    )


def _modified_of(item: Message) -> WorkModified:
    return WorkModified(
        item["key"],
        item["revision"],
        item["accepted"],
        item.get("message", ""),
        item.get("unknown", False),
        item.get("has_attachments", False),
    )


def done_of(ended: Message) -> WorkDone:
    """The end of one piece of work."""
    failure = ended.get("error")
    start_ms = ended.get("start_time_ms", 0)
    return WorkDone(
        ended["key"],
        Exit(
            error_of(failure) if failure else None,
            ended.get("value_json", ""),
            start_ms=start_ms,
            end_ms=ended.get("end_time_ms", 0),
            cpu_time_s=ended.get("cpu_time_s", 0.0),
            memory_peak_bytes=ended.get("memory_peak_bytes", 0),
            stdout_bytes=ended.get("stdout_bytes", 0),
            stderr_bytes=ended.get("stderr_bytes", 0),
            files=tuple([LeftFile(f["name"], f["path"], f.get("is_value", False)) for f in ended["files"]])
            if "files" in ended
            else (),
            value_path=ended.get("value_path", ""),
            kept=tuple(ended.get("kept", ())),
        ),
        not_started=not start_ms,
    )


def error_of(failure: Message) -> TaskError:
    """Why a piece of work failed."""
    cause = WORK_CAUSES.get(failure.get("cause", ""), Cause.ERROR)
    return TaskError(
        cause,
        failure.get("message", "") or f"it ended: {cause.lower().replace('_', ' ')}",
        failure.get("exit_code", 0),
        failure.get("signal", 0),
        failure.get("traceback", ""),
        failure.get("next_step", ""),
    )


# --- to a worker


def operator_work(task: Task, directory: str, paths: Mapping[str, str]) -> Message:
    """A RunWork for an operator. paths: where the fetched inputs are, by digest."""
    body = task.body
    call: Message = {
        "operator": body.label,
        "directory": f"{directory}/work",
        "log_directory": directory,
        "task": {
            "task_id": task.task_id,
            "attempt": task.attempt,
            "epoch": task.epoch,
            "account": body.account,
            "array_index": task.array_index,
        },
    }
    if body.params_json:
        call["params_json"] = body.params_json
    if task.params_json:
        call["override_json"] = task.params_json
    if body.inputs:
        call["inputs"] = {
            name: _work_input(source, paths, is_value=name in body.values)
            for name, source in body.inputs.items()
        }
    if body.attachments:
        call["attachments"] = {item.path: f"{directory}/work/{item.path}" for item in body.attachments}
    return {"key": task.work_key, "operator": call}


def _work_input(source: bytes | str, paths: Mapping[str, str], *, is_value: bool) -> Message:
    item: Message = (
        {"path": paths[source]} if isinstance(source, str) else {"data": base64.b64encode(source).decode()}
    )
    if is_value:
        item["is_value"] = True
    return item
