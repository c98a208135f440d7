"""What contacts are told of a run (S1.6): its end, or that one of its gates waits. For people, and for webhooks.

The same run gives the same words each time: a repetition of an event is a repetition of what it says.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from modelyard.quantities import format_duration, format_size
from modelyard.v1 import canvas_pb2, contact_pb2, run_pb2, task_pb2
from services.chassis.peers import notice
from services.chassis.peers.notice import ENTRIES_MOST, WORDS_CHARACTERS_MOST

VALUE_CHARACTERS_MOST = 500

EVENTS = {
    run_pb2.RUN_STATE_SUCCEEDED: task_pb2.NOTIFICATION_EVENT_SUCCEEDED,
    run_pb2.RUN_STATE_FAILED: task_pb2.NOTIFICATION_EVENT_FAILED,
    run_pb2.RUN_STATE_CANCELLED: task_pb2.NOTIFICATION_EVENT_FAILED,
}


class Gate(msgspec.Struct, frozen=True):
    """A gate that waits: its id within the run, and what it asks."""

    node_id: str
    message: str


def end_request(run: run_pb2.Run, project: str, failed_node: str) -> contact_pb2.NotifyRequest:
    """How a run ended. ``project``: its name, if it has one; ``failed_node``: the first in error."""
    word = _word(run)
    request = _request(run, word, f"run.{word}", f"{_name(run, project)} {word}")
    request.event = EVENTS[run.state]
    facts = _facts(run, project)
    if run.HasField("error"):
        facts["error"] = _error(run, failed_node)
    facts["results"] = [_result(sink) for sink in run.results[:ENTRIES_MOST]]
    request.text = notice.text_of([*_head(run, project), *_ending(run, failed_node)])
    request.facts_json = notice.facts_of(facts, "results")
    request.outputs.extend(_files(run))
    return request


def gate_request(run: run_pb2.Run, project: str, gate: Gate) -> contact_pb2.NotifyRequest:
    """That a gate waits for somebody to decide."""
    asked = gate.message or f"{gate.node_id} waits for approval"
    request = _request(
        run, f"gate {gate.node_id}", "run.gate_waiting", f"{_name(run, project)} waits: {asked}"
    )
    request.event = task_pb2.NOTIFICATION_EVENT_GATE_WAITING
    approve, reject = (f"yard graph {word} {run.id} {gate.node_id}" for word in ("approve", "reject"))
    lines = [
        ("gate", gate.node_id),
        ("asks", gate.message[:WORDS_CHARACTERS_MOST]),
        ("approve", approve),
        ("reject", reject),
    ]
    request.text = notice.text_of([*_head(run, project), *lines])
    waits = {"node": gate.node_id, "message": gate.message[:WORDS_CHARACTERS_MOST]}
    facts = {**_facts(run, project), "gate": {**waits, "approve": approve, "reject": reject}}
    request.facts_json = notice.facts_of(facts, "results")
    return request


def _request(run: run_pb2.Run, event: str, kind: str, title: str) -> contact_pb2.NotifyRequest:
    request = notice.request_of(run.id, run.create_time.ToMilliseconds(), event, kind=kind, title=title)
    if run.HasField("notification"):
        request.notification.CopyFrom(run.notification)
    return request


def _name(run: run_pb2.Run, project: str) -> str:
    return f"{' '.join(project.split())[:80] or run.project_id} ({run.id})"


def _head(run: run_pb2.Run, project: str) -> Iterator[tuple[str, str]]:
    yield "run", run.id
    yield "project", f"{project} ({run.project_id})" if project else run.project_id
    yield "version", str(run.version)
    yield "state", _word(run)
    yield "account", run.account
    yield "comment", run.comment[:WORDS_CHARACTERS_MOST]
    yield "ran", format_duration(_duration_s(run)) if run.HasField("end_time") else ""
    yield "nodes", _counts(run)


def _counts(run: run_pb2.Run) -> str:
    parts = [f"{run.done_count} done" + (f" ({run.cached_count} from the cache)" if run.cached_count else "")]
    if run.error_count:
        parts.append(f"{run.error_count} in error")
    if run.pending_count:
        parts.append(f"{run.pending_count} pending")
    return f"{', '.join(parts)} of {run.node_count}"


def _ending(run: run_pb2.Run, failed_node: str) -> Iterator[tuple[str, str]]:
    if run.HasField("error"):
        error = _error(run, failed_node)
        yield "error", ": ".join(filter(None, (failed_node, error["cause"], error["message"])))
        yield "next", error["next_step"]
    outputs = [(f"{sink.node_id}.{output.port}", output) for sink in run.results for output in sink.outputs]
    for name, output in outputs[:ENTRIES_MOST]:
        yield name, _shown(output)
    if len(outputs) > ENTRIES_MOST:
        yield "", f"… and {len(outputs) - ENTRIES_MOST} more: yard graph result {run.id} NODE"


def _files(run: run_pb2.Run) -> list[task_pb2.Output]:
    """The sinks' artefacts, as what may go along."""
    found = [(sink.node_id, output) for sink in run.results for output in sink.outputs if output.digest]
    return [
        notice.file_of(f"{node_id}.{output.port}", output.digest, output.size_bytes)
        for node_id, output in found[:ENTRIES_MOST]
    ]  # fmt: skip


def _shown(output: canvas_pb2.NodeOutput) -> str:
    if output.digest:
        size = f"{format_size(output.size_bytes)}, " if output.size_bytes else ""
        return f"{size}sha256:{output.digest}"
    value = output.value_json
    return value if len(value) <= VALUE_CHARACTERS_MOST else f"{value[:VALUE_CHARACTERS_MOST]}…"


def _facts(run: run_pb2.Run, project: str) -> dict[str, Any]:
    return {
        "id": run.id,
        "project": run.project_id,
        "project_name": project,
        "version": run.version,
        "state": _word(run),
        "comment": run.comment[:WORDS_CHARACTERS_MOST],
        "create_time": notice.time_of(run.create_time),
        "end_time": notice.time_of(run.end_time),
        "duration_s": _duration_s(run),
        "counts": {
            "nodes": run.node_count, "done": run.done_count, "cached": run.cached_count, "error": run.error_count,
            "pending": run.pending_count,
        },
    }  # fmt: skip


def _error(run: run_pb2.Run, failed_node: str) -> dict[str, str]:
    cause = (
        task_pb2.TaskCause.Name(run.error.cause).removeprefix("TASK_CAUSE_").lower()
        if run.error.cause
        else ""
    )
    return {
        "node": failed_node,
        "cause": cause,
        "message": run.error.message[:WORDS_CHARACTERS_MOST],
        "next_step": run.error.next_step or f"yard graph show {run.id}; then: yard graph continue {run.id}",
    }


def _result(sink: run_pb2.SinkResult) -> dict[str, Any]:
    return {"node": sink.node_id, "outputs": [_output(output) for output in sink.outputs]}


def _output(output: canvas_pb2.NodeOutput) -> dict[str, Any]:
    if output.digest:
        return {"port": output.port, "sha256": output.digest, "size_bytes": output.size_bytes}
    if not output.value_json:
        # Too much to be shown with the run.
        return {"port": output.port}
    if len(output.value_json) > VALUE_CHARACTERS_MOST:
        return {"port": output.port, "size_bytes": len(output.value_json.encode())}
    try:
        # What JSON has no word for, such as NaN, is told as null.
        value = json.loads(output.value_json, parse_constant=lambda _: None)
    except ValueError:
        value = output.value_json
    return {"port": output.port, "value": value}


def _word(run: run_pb2.Run) -> str:
    return run_pb2.RunState.Name(run.state).removeprefix("RUN_STATE_").lower()


def _duration_s(run: run_pb2.Run) -> float:
    if not run.HasField("end_time"):
        return 0.0
    return max((run.end_time.ToMilliseconds() - run.create_time.ToMilliseconds()) / 1000, 0.0)
