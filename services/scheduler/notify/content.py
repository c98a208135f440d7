"""What a message says: text for people, and JSON for webhooks. Pure: from a task's view, or from a service's words.

The same task gives the same bytes each time: a repetition under an event id is a repetition of its body.
"""

import json
import mimetypes
from collections.abc import Iterator
from typing import Any

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from modelyard.quantities import format_duration, format_size
from modelyard.v1 import task_pb2
from services.scheduler.notify.model import Delivery

MOST_FIGURES = 20
MOST_TEXT = 2_000
ATTACHED_BYTES_MOST = 1 << 20
_BEGINNINGS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"<svg": ".svg", b"%PDF": ".pdf"}
_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp")

TEST_TEXT = "This is a test message of your yard. It was taken, so from now on this contact can be told how work ended."


def text(task: task_pb2.Task) -> str:
    """For people: one fact a line, figures as a little table."""
    return "\n".join(f"{name}: {value}" if name else value for name, value in _facts(task) if value)


def _facts(task: task_pb2.Task) -> Iterator[tuple[str, str]]:
    yield "task", f"{task.id} {task.name}".strip()
    yield "state", _word(task)
    yield "account", task.account
    if task.array.size:
        array = task.array
        counts = f"{array.succeeded_count} succeeded, {array.failed_count} failed, {array.cancelled_count} cancelled"
        yield "elements", f"{counts} of {array.size}"
    yield "node", task.node
    yield "attempts", str(task.attempt or "")
    yield "ran", format_duration(duration_s(task)) if task.start_time.seconds else ""
    yield "cpu time", format_duration(task.usage.cpu_time_s) if task.usage.cpu_time_s else ""
    yield "peak memory", format_size(task.usage.memory_peak_bytes) if task.usage.memory_peak_bytes else ""
    if task.HasField("error"):
        cause = task_pb2.TaskCause.Name(task.error.cause).removeprefix("TASK_CAUSE_").lower()
        yield "error", f"{cause}: {task.error.message}"[:MOST_TEXT]
        yield "next", task.error.next_step or f"yard tasks get {task.id}"
    found = figures(task)
    width = max(map(len, found), default=0)
    for name, value in found.items():
        yield "", f"  {name:<{width}}  {value if isinstance(value, int) else format(value, '.6g')}"
    for output in task.result.outputs[:MOST_FIGURES]:
        yield "kept", f"{output.name} ({format_size(output.size_bytes)}, sha256:{output.digest})"


def document(delivery: Delivery, task: task_pb2.Task) -> str:
    """The body of a webhook about a task (docs/contacts.md)."""
    return _encode({**_head(delivery, text(task)), "task": _task(task)})


def told(delivery: Delivery, said: str, facts: str) -> str:
    """The body of a webhook about what a service tells, or of a test: its facts under the first word of its kind."""
    found = {delivery.event.partition(".")[0]: json.loads(facts)} if facts else {}
    return _encode({**found, **_head(delivery, said)})


def _head(delivery: Delivery, said: str) -> dict[str, Any]:
    return {
        "event_id": delivery.event_id,
        "event": delivery.event,
        "time": _iso(delivery.create_ms),
        "contact": delivery.contact,
        "account": delivery.account,
        "title": delivery.title,
        "text": said,
    }


def _encode(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False)


def _task(task: task_pb2.Task) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": task.id,
        "name": task.name,
        "state": _word(task),
        "node": task.node,
        "attempts": task.attempt,
        "submit_time": _time(task.submit_time),
        "start_time": _time(task.start_time),
        "end_time": _time(task.end_time),
        "duration_s": duration_s(task),
        "usage": {"cpu_time_s": task.usage.cpu_time_s, "memory_peak_bytes": task.usage.memory_peak_bytes},
        "labels": dict(sorted(task.spec.labels.items())),
        "figures": figures(task),
        "outputs": [
            {"name": output.name, "sha256": output.digest, "size_bytes": output.size_bytes}
            for output in task.result.outputs
        ],
    }
    if task.HasField("error"):
        error = task.error
        found["error"] = {
            "cause": task_pb2.TaskCause.Name(error.cause).removeprefix("TASK_CAUSE_").lower(),
            "message": error.message[:MOST_TEXT],
            "exit_code": error.exit_code,
            "signal": error.signal,
            "next_step": error.next_step or f"yard tasks get {task.id}",
        }
    if task.array.size:
        array = task.array
        found["array"] = {
            "size": array.size,
            "succeeded": array.succeeded_count,
            "failed": array.failed_count,
            "cancelled": array.cancelled_count,
        }
    return found


def figures(task: task_pb2.Task) -> dict[str, float]:
    """The numbers of the result: itself, or the fields of an object that are numbers."""
    if not task.result.value_json:
        return {}
    try:
        value = msgspec.json.decode(task.result.value_json)
    except (msgspec.DecodeError, RecursionError):
        return {}
    if _is_number(value):
        return {"result": value}
    if not isinstance(value, dict):
        return {}
    return dict([(name[:80], number) for name, number in value.items() if _is_number(number)][:MOST_FIGURES])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def duration_s(task: task_pb2.Task) -> float:
    """From the start of its last attempt to its end."""
    if not task.start_time.seconds:
        return 0.0
    return max((task.end_time.ToMilliseconds() - task.start_time.ToMilliseconds()) / 1000, 0.0)


def chosen(outputs: list[task_pb2.Output]) -> list[task_pb2.Output]:
    """What is attached: images first, then the smallest, 1 MiB in all."""
    ranked = sorted(
        outputs, key=lambda output: (not output.name.lower().endswith(_IMAGES), output.size_bytes)
    )
    found, left_bytes = [], ATTACHED_BYTES_MOST
    for output in ranked:
        if 0 < output.size_bytes <= left_bytes:
            left_bytes -= output.size_bytes
            found.append(output)
    return found


def file_of(name: str, data: bytes) -> tuple[str, str]:
    """The name and type that a file goes along under: a picture without an ending is known by its first bytes."""
    if not mimetypes.guess_type(name)[0]:
        name += next((ending for bytes_, ending in _BEGINNINGS.items() if data.startswith(bytes_)), "")
    return name, mimetypes.guess_type(name)[0] or "application/octet-stream"


def _word(task: task_pb2.Task) -> str:
    return task_pb2.TaskState.Name(task.state).removeprefix("TASK_STATE_").lower()


def _time(moment: Timestamp) -> str:
    return moment.ToJsonString() if moment.seconds else ""


def _iso(milliseconds: int) -> str:
    moment = Timestamp()
    moment.FromMilliseconds(milliseconds)
    return moment.ToJsonString()
