"""One entry, and what of a request may stand in it: the names of things, never contents. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

READS = frozenset({
    "Check", "Describe", "Diff", "Explain", "Find", "Get", "List", "Model", "Plan", "Preview", "Resolve", "Server",
    "Stat", "Stream", "Validate", "Wait", "Watch",
})  # fmt: skip
"""First words of RPCs that change nothing; the Open Inference Protocol names what it asks of a model so."""
_NO_CHANGE = frozenset({"RepositoryIndex"})
LONG = frozenset({"Session", "Connect", "PushLogs", "PutArtifact"})
"""Streams whose request the interceptor does not see: they note what they change themselves (`note_in_stream`)."""
SOON = frozenset({"SubmitTasks"})
"""Changes whose entry follows their answer: the tasks themselves say who submitted them, and there are many."""
RESOURCES_MOST = 32
# Beyond so many of one field the others are not even counted.
NAMES_MOST = 1_000
_CHARACTERS_MOST = 100
# Fields that name a thing, and its kind; "" takes the kind from the service (ContactService: contacts).
_NAMES = {
    "task_id": "tasks", "task_ids": "tasks", "node": "nodes", "account": "accounts", "token_id": "tokens",
    "digest": "artifacts", "digests": "artifacts", "holder": "holders", "quote_id": "quotes", "event_id": "deliveries",
    "project_id": "projects", "run_id": "runs",
    "name": "", "id": "",
}  # fmt: skip

_THINGS = frozenset({"Account", "Artifact", "Contact", "Node", "Queue", "Quote", "Task", "Token"})
"""Messages that are resources: those inside a request or an answer are named by their id."""


class Entry(msgspec.Struct):
    """What somebody did, or was refused."""

    time_ms: int
    rpc: str
    role: str
    account: str
    token_id: str
    node: str
    peer: str
    resources: str
    code: str = "OK"
    reason: str = ""
    request_id: str = ""
    call_id: str = ""
    count: int = 1

    def row(self) -> tuple[Any, ...]:
        """Its values, in the order of the table."""
        return msgspec.structs.astuple(self)


def is_change(method: str) -> bool:
    """Whether the RPC "/package.Service/Method" changes something, by the first word of its name."""
    name = method.rpartition("/")[2]
    if name in LONG or name in _NO_CHANGE:
        return False
    end = next((i for i, letter in enumerate(name) if i and letter.isupper()), len(name))
    return name[:end] not in READS


def resources_of(method: str, request: Any, answer: Any = None) -> str:
    """The names of what a request and its answer speak of: "tasks/t-1 nodes/n0"."""
    service = method.rpartition("/")[0].rpartition(".")[2].removesuffix("Service")
    kind = f"{service.lower()}s"
    found: dict[str, None] = {}
    for message in (request, answer):
        if hasattr(message, "DESCRIPTOR"):
            found.update(dict.fromkeys(_named(message, kind)))
    names = [name for name in found if len(name) <= _CHARACTERS_MOST and " " not in name]
    more = len(names) - RESOURCES_MOST
    return " ".join([*names[:RESOURCES_MOST], f"(+{more})"] if more > 0 else names)


def _named(message: Any, kind: str) -> Iterator[str]:
    """Of the message and of the messages directly in it."""
    for field, value in message.ListFields():
        own = _NAMES.get(field.name)
        if field.type == field.TYPE_STRING and own is not None:
            for text in (value,) if isinstance(value, str) else value[:NAMES_MOST]:
                if text:
                    yield f"{own or kind}/{text}"
        elif field.type == field.TYPE_MESSAGE and field.message_type.name in _THINGS:
            inner_kind = f"{field.message_type.name.lower()}s"
            for inner in [value] if hasattr(value, "DESCRIPTOR") else value[:RESOURCES_MOST]:
                yield from _own_name(inner, inner_kind)


def _own_name(message: Any, kind: str) -> Iterator[str]:
    for name in ("id", "name"):
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if field is not None and field.type == field.TYPE_STRING and getattr(message, name):
            yield f"{kind}/{getattr(message, name)}"
            return
