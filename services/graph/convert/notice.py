"""What contacts are told of a run (S1.6): its end, or that one of its gates waits. For people, and for webhooks.

The same run gives the same words each time: a repetition of an event is a repetition of what it says.
"""

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from modelyard.quantities import format_duration, format_size
from modelyard.v1 import canvas_pb2, contact_pb2, run_pb2, task_pb2

RESULTS_MOST = 20
VALUE_CHARACTERS_MOST = 500
ERROR_CHARACTERS_MOST = 2_000
TITLE_CHARACTERS_MOST = 200
FILE_NAME_CHARACTERS_MOST = 120
EVENT_ID_CHARACTERS_MOST = 200
MOST_BYTES = 60 << 10

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
    facts["results"] = [_result(sink) for sink in run.results[:RESULTS_MOST]]
    request.text = _text([*_head(run, project), *_ending(run, failed_node)])
    request.facts_json = _encoded(facts)
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
        ("asks", gate.message[:ERROR_CHARACTERS_MOST]),
        ("approve", approve),
        ("reject", reject),
    ]
    request.text = _text([*_head(run, project), *lines])
    waits = {"node": gate.node_id, "message": gate.message[:ERROR_CHARACTERS_MOST]}
    facts = {**_facts(run, project), "gate": {**waits, "approve": approve, "reject": reject}}
    request.facts_json = _encoded(facts)
    return request


def _request(run: run_pb2.Run, event: str, kind: str, title: str) -> contact_pb2.NotifyRequest:
    # A number of a yard that was restored from a backup may be given again, its time is not.
    event_id = f"{run.id} of {run.create_time.ToMilliseconds()} {event}"
    if len(event_id) > EVENT_ID_CHARACTERS_MOST:
        event_id = f"{event_id[:100]} {sha256(event_id.encode()).hexdigest()}"
    request = contact_pb2.NotifyRequest(
        event_id=event_id, kind=kind, subject=run.id,
        title=" ".join(title.split())[:TITLE_CHARACTERS_MOST],
    )  # fmt: skip
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
    yield "comment", run.comment[:ERROR_CHARACTERS_MOST]
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
    for name, output in outputs[:RESULTS_MOST]:
        yield name, _shown(output)
    if len(outputs) > RESULTS_MOST:
        yield "", f"… and {len(outputs) - RESULTS_MOST} more: yard graph result {run.id} NODE"


def _files(run: run_pb2.Run) -> list[task_pb2.Output]:
    """The sinks' artefacts, as what may go along."""
    found = [(sink.node_id, output) for sink in run.results for output in sink.outputs if output.digest]
    return [
        task_pb2.Output(
            name=f"{node_id}.{output.port}".replace("/", "-")[-FILE_NAME_CHARACTERS_MOST:], digest=output.digest,
            size_bytes=output.size_bytes,
        )
        for node_id, output in found[:RESULTS_MOST]
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
        "comment": run.comment[:ERROR_CHARACTERS_MOST],
        "create_time": _time(run.create_time),
        "end_time": _time(run.end_time),
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
        "message": run.error.message[:ERROR_CHARACTERS_MOST],
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


def _encoded(facts: dict[str, Any]) -> str:
    """Without the results where they are more than a message takes; they can be asked for."""
    text = _sayable(json.dumps(facts, ensure_ascii=False))
    if len(text.encode()) > MOST_BYTES:
        text = _sayable(json.dumps({**facts, "results": []}, ensure_ascii=False))
    return text


def _sayable(text: str) -> str:
    """Without halves of characters, which JSON can hold and messages cannot."""
    return text.encode(errors="replace").decode()


def _text(lines: list[tuple[str, str]]) -> str:
    text = "\n".join(f"{name}: {value}" if name else value for name, value in lines if value)
    return text.encode()[:MOST_BYTES].decode(errors="ignore")


def _word(run: run_pb2.Run) -> str:
    return run_pb2.RunState.Name(run.state).removeprefix("RUN_STATE_").lower()


def _duration_s(run: run_pb2.Run) -> float:
    if not run.HasField("end_time"):
        return 0.0
    return max((run.end_time.ToMilliseconds() - run.create_time.ToMilliseconds()) / 1000, 0.0)


def _time(moment: Timestamp) -> str:
    return moment.ToJsonString() if moment.seconds else ""
