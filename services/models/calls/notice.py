"""What contacts are told of a call (S2.7): its values, its key figures, its drawings; or why it failed."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from modelyard.models.values import Tensor
from modelyard.serving.wire import Message
from modelyard.v1 import contact_pb2, task_pb2
from services.chassis.errors import ServiceError
from services.chassis.peers import notice
from services.chassis.peers.notice import ENTRIES_MOST, WORDS_CHARACTERS_MOST
from services.models.calls import tensors
from services.models.seams import Served

ROWS_MOST = 5
"""Of an output, that are put into words."""
VALUES_MOST = 20
"""Of a row."""
VALUE_CHARACTERS_MOST = 200
FILE_BYTES_MOST = 1 << 20
"""Of one file that goes along; larger ones are named."""
_ENDINGS = {
    "image/png": ".png", "image/jpeg": ".jpg", "image/svg+xml": ".svg", "text/html": ".html",
    "application/vnd.vegalite.v5+json": ".vl.json", "application/pdf": ".pdf",
}  # fmt: skip
_FP16 = struct.Struct("<e")
_LENGTH = struct.Struct("<I")
_ELEMENTS_MOST = 4_096
"""Of BYTES, that are counted to find a row: the other calls wait for it."""


class Told(NamedTuple):
    """A call that a contact is told of."""

    call: str
    """What the message is about, once for all time."""
    create_ms: int
    contact: str
    account: str
    model: str
    version: int


class Drawn(NamedTuple):
    """A file that goes along."""

    name: str
    content_type: str
    content: bytes


def result_request(
    told: Told, served: Served, messages: Sequence[Message], now_ms: int
) -> contact_pb2.NotifyRequest:
    """What a call came to; ``messages``: the parts of its answer, the last ones of many."""
    request = _request(told, "succeeded")
    request.event = task_pb2.NOTIFICATION_EVENT_SUCCEEDED
    specs = {spec.name: spec for spec in served.config.outputs}
    outputs = [found for message in messages for found in _outputs(message, specs)][:ENTRIES_MOST]
    failed = "; ".join(filter(None, (_viz_error(message) for message in messages)))
    lines = [*_head(told, now_ms), *_lines(outputs), ("drawing failed", failed[:WORDS_CHARACTERS_MOST])]
    request.text = notice.text_of(lines)
    facts = {**_facts(told, now_ms, "succeeded"), "outputs": outputs}
    if failed:
        facts["viz_error"] = failed[:WORDS_CHARACTERS_MOST]
    request.facts_json = notice.facts_of(facts, "outputs")
    return request


def failure_request(told: Told, error: ServiceError, now_ms: int) -> contact_pb2.NotifyRequest:
    """Why a call got no answer."""
    request = _request(told, "failed")
    request.event = task_pb2.NOTIFICATION_EVENT_FAILED
    message = error.message[:WORDS_CHARACTERS_MOST]
    said = {"code": error.code, "reason": error.reason, "message": message, "next_step": error.next_step}
    lines = [*_head(told, now_ms), ("error", f"{error.reason}: {message}"), ("next", error.next_step)]
    request.text = notice.text_of(lines)
    request.facts_json = notice.facts_of({**_facts(told, now_ms, "failed"), "error": said}, "outputs")
    return request


def files_of(messages: Sequence[Message]) -> list[Drawn]:
    """Drawings, and pictures that are answers themselves, small enough to go along."""
    found = []
    for message in messages:
        for head, data in zip(message.header.get("outputs", ()), message.buffers, strict=True):
            content_type = str(head.get("parameters", {}).get("content_type", "")).partition(";")[0]
            ending = _ENDINGS.get(content_type)
            content = _whole(head, data)
            if ending and content and len(content) <= FILE_BYTES_MOST:
                name = "".join(
                    c if c.isalnum() or c in "-_." else "-" for c in head["name"].removeprefix("viz:")
                )
                found.append(Drawn(f"{name}{ending}", content_type, content))
    return found[:ENTRIES_MOST]


def _request(told: Told, word: str) -> contact_pb2.NotifyRequest:
    title = f"{told.model}:{told.version} {'answered' if word == 'succeeded' else word}"
    made = notice.request_of(told.call, told.create_ms, word, kind=f"call.{word}", title=title)
    made.notification.contact = told.contact
    return made


def _head(told: Told, now_ms: int) -> Iterator[tuple[str, str]]:
    yield "model", f"{told.model}:{told.version}"
    yield "call", told.call
    yield "account", told.account
    yield "took", f"{_took_s(told, now_ms):.3g} s"


def _facts(told: Told, now_ms: int, state: str) -> dict[str, Any]:
    return {
        "id": told.call,
        "model": told.model,
        "version": told.version,
        "state": state,
        "duration_s": _took_s(told, now_ms),
    }


def _took_s(told: Told, now_ms: int) -> float:
    return max(now_ms - told.create_ms, 0) / 1000


def _viz_error(message: Message) -> str:
    return str(message.header.get("parameters", {}).get("viz_error", ""))


def _outputs(message: Message, specs: Mapping[str, Tensor]) -> Iterator[dict[str, Any]]:
    """As facts: what it is, and the values of its first rows."""
    for head, data in zip(message.header.get("outputs", ()), message.buffers, strict=True):
        content_type = str(head.get("parameters", {}).get("content_type", ""))
        said = {"name": head["name"], "datatype": head["datatype"], "shape": list(head["shape"])}
        if content_type.partition(";")[0] in _ENDINGS:
            content = _whole(head, data)
            yield {**said, "content_type": content_type, "size_bytes": len(content)}
            continue
        yield {**said, "rows": _rows(head, data, specs.get(head["name"]))}


def _rows(head: Mapping[str, Any], data: memoryview, spec: Tensor | None) -> list[Any]:
    """Rows along the first axis of what has two or more; by the names of columns where they have names."""
    shape = head["shape"]
    total = tensors.count_of(shape)
    if not total:
        return []
    if len(shape) < 2:
        return _named(spec, _values(head["datatype"], data, 0, min(total, VALUES_MOST)))
    width = total // shape[0]
    begins = range(0, min(total, ROWS_MOST * width), width)
    rows = [
        _named(spec, _values(head["datatype"], data, begin, min(width, VALUES_MOST)))
        for begin in begins
        if begin <= _ELEMENTS_MOST or head["datatype"] != "BYTES"
    ]
    if spec is not None and len(spec.columns) == width:
        return [dict(zip(spec.columns, row, strict=False)) for row in rows]
    return rows


def _named(spec: Tensor | None, values: list[Any]) -> list[Any]:
    """Numbers that stand for something, as that."""
    if spec is None or not spec.labels:
        return values
    return [
        spec.labels[value] if type(value) is int and 0 <= value < len(spec.labels) else value
        for value in values
    ]


def _values(datatype: str, data: memoryview, begin: int, count: int) -> list[Any]:
    """Elements as JSON has them; what no JSON has is null."""
    if datatype == "BYTES":
        texts = (
            data[start : min(end, start + 4 * VALUE_CHARACTERS_MOST)]
            for start, end in _texts(data, begin, count)
        )
        return [bytes(text).decode(errors="replace")[:VALUE_CHARACTERS_MOST] for text in texts]
    size = tensors.SIZES[datatype]
    part = bytes(data[begin * size : (begin + count) * size])
    if datatype == "BF16":
        # The upper half of an FP32.
        found = [struct.unpack("<f", b"\0\0" + part[at : at + 2])[0] for at in range(0, len(part), 2)]
    elif datatype == "FP16":
        found = [value for (value,) in _FP16.iter_unpack(part)]
    else:
        found = list(tensors.unpack(datatype, part))
    return [value if not isinstance(value, float) or math.isfinite(value) else None for value in found]


def _texts(data: memoryview, begin: int, count: int) -> list[tuple[int, int]]:
    """Where elements of BYTES lie, without a look at those after them."""
    found: list[tuple[int, int]] = []
    at = 0
    while at < len(data) and len(found) < begin + count:
        [length] = _LENGTH.unpack_from(data, at)
        found.append((at + 4, at + 4 + length))
        at += 4 + length
    return found[begin:]


def _whole(head: Mapping[str, Any], data: memoryview) -> bytes:
    """The one element of a tensor that is a file."""
    if head["datatype"] != "BYTES" or tensors.count_of(head["shape"]) != 1:
        return b""
    [(start, end)] = _texts(data, 0, 1)
    return bytes(data[start:end])


def _lines(outputs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for output in outputs:
        if "size_bytes" in output:
            yield output["name"], f"{output['content_type']}, {output['size_bytes']} bytes"
            continue
        rows = output["rows"]
        if output["shape"][1:]:
            for place, row in enumerate(rows):
                yield output["name"] if len(rows) == 1 else f"{output['name']}[{place}]", _shown(row)
        else:
            yield output["name"], _shown(rows)
        left = output["shape"][0] - len(rows) if output["shape"] else 0
        if left > 0:
            yield "", f"  … and {left} more"


def _shown(row: Any) -> str:
    if isinstance(row, dict):
        return ", ".join(f"{name}={_one(value)}" for name, value in row.items())
    return ", ".join(map(_one, row))


def _one(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
