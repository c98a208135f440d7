"""What travels between the two sides, and the translation between their words.

The counterpart of `services.scheduler.link.convert` and `services.agent.messages.convert`, with values of the
machines in place of protobuf. No decisions here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from services.agent.messages.convert import HELD
from services.agent.tasks import events as agent
from services.agent.tasks.model import (
    UNITS,
    Body,
    Cause,
    Exit,
    Holding,
    LimitSet,
    Note,
    NoteKind,
    Phase,
    Pool,
    Task,
)
from services.scheduler import model
from services.scheduler.model import format_task_id, index_of, parse_task_id
from services.scheduler.state import effects as do
from services.scheduler.state import events as ev
from tests.simulation.workload import Job

RUNNING = frozenset(phase for phase, held in HELD.items() if held == HELD[Phase.RUNNING])


class AgentMessage(msgspec.Struct, frozen=True):
    """``kind``: hello, events, beat, draining, bye or ack."""

    kind: str
    ack_command: int
    payload: Any = None


class SchedulerMessage(msgspec.Struct, frozen=True):
    """``kind``: welcome, beat_ack, commands, go_away or ack."""

    kind: str
    epoch: int
    ack_event: int
    payload: Any = None


class Welcome(msgspec.Struct, frozen=True):
    lease_ms: int
    beat_ms: int
    credits: int
    verdicts: tuple[do.Verdict, ...]


class Commands(msgspec.Struct, frozen=True):
    """Specifications that this stream has not seen yet come along."""

    first_number: int
    bodies: tuple[model.Spec, ...]
    commands: tuple[do.Command, ...]


def batch(first_number: int, commands: Iterable[do.Command], known: set[int]) -> Commands:
    """One message of commands; ``known`` are the specifications that the stream has carried."""
    commands = tuple(commands)
    bodies = []
    for command in commands:
        if isinstance(command, do.StartTask) and command.spec.number not in known:
            known.add(command.spec.number)
            bodies.append(command.spec)
    return Commands(first_number, tuple(bodies), commands)


def body_of(spec: model.Spec, number: int) -> Body:
    """What the agent's decoder makes of a specification."""
    job = msgspec.json.decode(spec.body, type=Job)
    return Body(
        number,
        spec.shape.account,
        spec.has_token,
        job.label,
        Pool(spec.shape.account, job.environment, job.bundle),
        spec.shape.amounts,
        needs=tuple(
            f"{kind}:{name}" for kind, name in (("bundle", job.bundle), ("input", job.input)) if name
        ),
        staged=spec.has_token,
        keeps_outputs=job.keeps_outputs,
        start_timeout_ms=job.start_timeout_ms,
        run_timeout_ms=job.run_timeout_ms,
        params_json=spec.body.decode(),
        silent_most_ms=_silent_most_ms(spec),
        is_alone=spec.is_at_most_once,
    )


def _silent_most_ms(spec: model.Spec) -> int | None:
    wish = spec.disconnect
    return wish.lost_after_ms if wish.mode is model.DisconnectMode.STOP else None


def command_of(command: do.Command, bodies: Mapping[int, Body]) -> agent.Command:
    task_id = format_task_id(command.key)
    if isinstance(command, do.StartTask):
        return agent.StartAsked(
            task_id, command.attempt, command.epoch, bodies.get(command.spec.number), command.params,
            command.is_prefill, index_of(command.key), command.devices,
        )  # fmt: skip
    if isinstance(command, do.RetractTask):
        return agent.RetractAsked(task_id, command.attempt)
    if isinstance(command, do.SuspendTask):
        return agent.SuspendAsked(task_id, command.attempt)
    if isinstance(command, do.ResumeTask):
        return agent.ResumeAsked(task_id, command.attempt)
    if isinstance(command, do.ModifyTask):
        return agent.ModifyAsked(
            task_id, command.attempt, command.revision, command.params, command.run_timeout_ms,
            holding=_holding_of(command.body) if command.body else None,
        )  # fmt: skip
    return agent.StopAsked(
        task_id, command.attempt, command.grace_ms, Cause[command.cause.name], command.message, command.signal
    )


def _holding_of(body: bytes) -> Holding:
    return Holding(msgspec.json.decode(body, type=Job).amounts, LimitSet())


def verdicts_of(welcome: Welcome) -> tuple[agent.VerdictGiven, ...]:
    return tuple(agent.VerdictGiven(format_task_id(v.key), v.attempt, v.kind) for v in welcome.verdicts)


def hello(
    node: str,
    boot_id: str,
    incarnation: int,
    capacity: Mapping[str, int],
    labels: Mapping[str, str],
    operators: frozenset[str],
    tasks: Iterable[Task],
) -> ev.AgentConnected:
    """The session's number is the scheduler's to fill in."""
    return ev.AgentConnected(
        node=node,
        session=0,
        boot_id=boot_id,
        incarnation=incarnation,
        labels=dict(labels),
        capacity={name: amount for name, amount in capacity.items() if name != "gpu"},
        gpu_devices=tuple(f"{index}" for index in range(capacity.get("gpu", 0) // UNITS)),
        operators=operators,
        tasks=tuple(_held(task) for task in tasks),
    )


def _held(task: Task) -> ev.HeldTask:
    key = parse_task_id(task.task_id)
    ended = _exited(task, task.exit) if task.exit is not None else None
    is_running = task.phase in RUNNING
    return ev.HeldTask(key, task.attempt, task.epoch, is_running, ended, task.is_suspended)


def _exited(task: Task, end: Exit) -> ev.TaskExited:
    cause = model.Cause[end.error.cause.name] if end.error is not None else model.Cause.NONE
    return ev.TaskExited(
        parse_task_id(task.task_id), task.attempt, task.epoch, cause, end.value_json.encode(), end.start_ms,
        end.end_ms,
    )  # fmt: skip


def report_of(note: Note) -> ev.TaskReport:
    return _REPORTS[note.kind](note, parse_task_id(note.task.task_id))


def _ended(note: Note, key: int) -> ev.TaskReport:
    assert note.task.exit is not None
    return _exited(note.task, note.task.exit)


_REPORTS: dict[NoteKind, Callable[[Note, int], ev.TaskReport]] = {
    NoteKind.EXITED: _ended,
    NoteKind.STARTED: lambda n, key: ev.TaskStarted(key, n.task.attempt, n.task.epoch, n.start_ms),
    NoteKind.PROGRESS: lambda n, key: ev.TaskProgressed(
        key, n.task.attempt, n.task.epoch, n.ratio, n.message
    ),
    NoteKind.RETRACTED: lambda n, key: ev.TaskRetracted(key, n.task.attempt, n.task.epoch),
    NoteKind.MODIFIED: lambda n, key: ev.TaskModified(
        key, n.task.attempt, n.task.epoch, n.revision, ((n.field, not n.message, n.message),)
    ),
    NoteKind.SUSPENDED: lambda n, key: ev.TaskSuspended(key, n.task.attempt, n.task.epoch),
    NoteKind.RESUMED: lambda n, key: ev.TaskResumed(key, n.task.attempt, n.task.epoch),
    NoteKind.REJECTED: lambda n, key: ev.TaskRejected(
        key, n.task.attempt, n.task.epoch, n.message or n.reason
    ),
}
