"""Rows of a step as values for statements. Knows columns and encodings, decides nothing, runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from services.graph.runs import effects as e
from services.graph.runs.places import Place, text_of
from services.graph.runs.values import End

_PACK = msgspec.msgpack.Encoder().encode

By = dict[str, list[tuple[Any, ...]]]
"""By name of a statement: what it is executed with."""


def rows_of(row: e.Row, by: By) -> None:
    """Adds the values of a row to those of its statements."""
    _VALUES[type(row)](row, by)


def _bare(end: End) -> bytes:
    """Without the outputs, which have a column of their own."""
    return _PACK(msgspec.structs.replace(end, outputs=()))


def _insert_run(row: e.InsertRun, by: By) -> None:
    spec = row.spec
    project = int(spec.project.removeprefix("p-"))
    values = (
        spec.number,
        spec.account,
        project,
        row.plan,
        _PACK(spec),
        _PACK(_by_text(row.changed)),
        row.revision,
    )
    by["insert_run"].append(values)


def _by_text(changed: Mapping[Place, str]) -> dict[str, str]:
    return {text_of(place): params for place, params in changed.items()}


def _keep_node(row: e.KeepNode, by: By) -> None:
    by["insert_kept"].append((row.run, text_of(row.place), row.from_run, _PACK(row.end)))


def _insert_batch(row: e.InsertBatch, by: By) -> None:
    by["insert_batch"].append((row.batch, row.run, row.request_id, _PACK(row.places), row.content))


def _record_tasks(row: e.RecordTasks, by: By) -> None:
    by["record_tasks"].append((row.first_task, row.batch))


def _drop_batch(row: e.DropBatch, by: By) -> None:
    by["delete_batch"].append((row.batch,))


def _commit_node(row: e.CommitNode, by: By) -> None:
    outputs, ended = _PACK(row.end.outputs), _bare(row.end)
    values = (row.run, text_of(row.place), row.sequence, row.revision, row.is_recorded, outputs, ended)
    by["insert_run_node"].append(values)


def _drop_outputs(row: e.DropOutputs, by: By) -> None:
    by["drop_outputs"].append((_PACK(row.outputs), row.run, text_of(row.place)))


def _put_gate(row: e.PutGate, by: By) -> None:
    record = row.record
    values = (record.is_approved, record.account, record.comment, record.decide_ms)
    by["put_gate"].append((row.run, text_of(row.place), record.open_ms, *values))


def _put_cached(row: e.PutCached, by: By) -> None:
    has_artifacts = any(output.digests for output in row.outputs)
    values = (row.account, row.key, row.run, row.node_id, _PACK(row.outputs), row.size_bytes)
    by["put_cached"].append((*values, has_artifacts, row.time_ms, row.time_ms))


def _touch_cached(row: e.TouchCached, by: By) -> None:
    by["touch_cached"].append((row.time_ms, row.account, row.key))


def _drop_cached(row: e.DropCached, by: By) -> None:
    by["drop_cached"].append((row.account, row.key))


def _record_run_state(row: e.RecordRunState, by: By) -> None:
    failure = _PACK(row.failure) if row.failure is not None else None
    by["end_run"].append(
        (
            row.state.value, row.revision, row.end_ms, row.done, row.error, row.cached, row.order_wait_ms, failure,
            row.run,
        )
    )  # fmt: skip
    if row.state.has_ended:
        by["delete_batches"].append((row.run,))
        by["delete_kept"].append((row.run,))


def _insert_modification(row: e.InsertModification, by: By) -> None:
    by["insert_node_modification"].append(
        (row.run, text_of(row.place), row.revision, row.params, row.time_ms)
    )


def _insert_errand(row: e.InsertErrand, by: By) -> None:
    by["insert_errand"].append((row.number, row.kind, row.account, row.content))


_VALUES: dict[type, Any] = {
    e.InsertRun: _insert_run,
    e.KeepNode: _keep_node,
    e.InsertBatch: _insert_batch,
    e.RecordTasks: _record_tasks,
    e.DropBatch: _drop_batch,
    e.CommitNode: _commit_node,
    e.DropOutputs: _drop_outputs,
    e.PutGate: _put_gate,
    e.PutCached: _put_cached,
    e.TouchCached: _touch_cached,
    e.DropCached: _drop_cached,
    e.RecordRunState: _record_run_state,
    e.InsertModification: _insert_modification,
    e.InsertErrand: _insert_errand,
}
# Within a transaction: what a row refers to before it.
ORDER = (
    "insert_run", "insert_kept", "insert_batch", "record_tasks", "delete_batch", "insert_run_node", "drop_outputs",
    "insert_node_modification", "put_gate", "put_cached", "touch_cached", "drop_cached", "end_run", "delete_batches",
    "delete_kept", "insert_errand",
)  # fmt: skip
