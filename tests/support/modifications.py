"""Modifications for the scheduler's pure machine: asked for, told to agents, answered, recorded."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec

from services.scheduler.model import Spec, VerdictKind
from services.scheduler.state import events as ev
from services.scheduler.state.effects import Effects, ModifyTask, RecordModification
from tests.support.scheduler_cluster import MachineCluster, make_spec

_replies = itertools.count(1_000_000)


def changed(spec: Spec, **fields: Any) -> Spec:
    """The specification as the edge makes it of another: priority, queue_timeout_ms, run_timeout_ms, labels."""
    priority = fields.pop("priority", spec.shape.priority)
    shape = msgspec.structs.replace(spec.shape, priority=priority)
    known = {name: value for name, value in fields.items() if name != "labels"}
    body = spec.body + repr(sorted({**fields, "priority": priority}.items())).encode()
    return msgspec.structs.replace(spec, number=0, body=body, shape=shape, **known)


def change(
    cluster: MachineCluster,
    key: int,
    *paths: str,
    params: str = "",
    revision: int = 0,
    request_id: str = "",
    content: bytes = b"",
    base: int = -1,
    **fields: Any,
) -> RecordModification:
    """Modifies a task; the row of it. Raises its error."""
    task = cluster.state.tasks.get(key)
    spec = task.spec if task is not None else make_spec()
    late = {name: value for name, value in fields.items() if name not in ("priority", "queue_timeout_ms")}
    running = changed(spec, **late) if late else spec
    reply = next(_replies)
    event = ev.ModifyRequested(
        reply, "ada", request_id, content, key, revision, paths, params, spec.number if base < 0 else base,
        changed(spec, **fields) if fields else spec, running,
    )  # fmt: skip
    cluster.step(event)
    answer = cluster.answers[reply]
    if answer.error is not None:
        raise answer.error
    return next(r for r in modifications(cluster) if r.revision == answer.first)


def modifications(cluster: MachineCluster) -> list[RecordModification]:
    return [row for row in cluster.rows if isinstance(row, RecordModification)]


def kinds(row: RecordModification) -> dict[str, VerdictKind]:
    return {verdict.path: verdict.kind for verdict in row.verdicts}


def told(effects: Effects) -> list[ModifyTask]:
    return [c for _, commands in effects.commands.values() for c in commands if isinstance(c, ModifyTask)]


def answer(cluster: MachineCluster, key: int, revision: int, *fields: tuple[str, bool, str]) -> Effects:
    """The agent's word."""
    task = cluster.task(key)
    return cluster.report(task.node, ev.TaskModified(key, task.attempt, task.epoch, revision, fields))
