"""A `NotifyRequest` as it comes in from a service: checked and bounded (the edge)."""

import re

import msgspec

from modelyard.v1 import contact_pb2 as pb
from services.scheduler.notify.model import Message, MessageInvalid

MOST_BYTES = 64 << 10
MOST_OUTPUTS = 20
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KIND = re.compile(r"[a-z][a-z_]{0,30}\.[a-z][a-z_]{0,30}")
_SUBJECT = re.compile(r"[a-z]{1,10}-[A-Za-z0-9_.-]{1,60}")
_LENGTHS = {"event_id": 200, "title": 200}
# Words that say something of the message itself, or of tasks.
_TAKEN = frozenset({"event", "time", "contact", "account", "title", "text", "task", "test"})


def message(account: str, request: pb.NotifyRequest) -> Message:
    """Raises `MessageInvalid`, naming the field."""
    for field, most in _LENGTHS.items():
        if not 0 < len(getattr(request, field)) <= most:
            raise MessageInvalid(f"{field}: 1 to {most} characters", field=field)
    for field in ("text", "facts_json"):
        if len(getattr(request, field).encode()) > MOST_BYTES:
            raise MessageInvalid(f"{field}: more than {MOST_BYTES} bytes", field=field)
    if not _KIND.fullmatch(request.kind) or request.kind.partition(".")[0] in _TAKEN:
        raise MessageInvalid(f"kind: {request.kind[:80]!r} is not a thing and what became of it", field="kind",
                             next_step="for example run.failed")  # fmt: skip
    if not _SUBJECT.fullmatch(request.subject) or request.subject.startswith("t-"):
        raise MessageInvalid(f"subject: {request.subject[:80]!r} is no id of a service's", field="subject",
                             next_step="for example r-12")  # fmt: skip
    return Message(
        account, request.event_id, request.subject, request.kind, " ".join(request.title.split()), request.text,
        _facts(request.facts_json), _outputs(request),
    )  # fmt: skip


def _outputs(request: pb.NotifyRequest) -> tuple[tuple[str, str, int], ...]:
    if len(request.outputs) > MOST_OUTPUTS:
        raise MessageInvalid(f"outputs: more than {MOST_OUTPUTS}", field="outputs")
    for place, output in enumerate(request.outputs):
        is_named = 0 < len(output.name) <= 200 and output.name.isprintable() and output.size_bytes >= 0
        if not (is_named and _DIGEST.fullmatch(output.digest)):
            raise MessageInvalid(f"outputs[{place}]: no name, or no digest", field=f"outputs[{place}]")
    return tuple((output.name, output.digest, output.size_bytes) for output in request.outputs)


def _facts(text: str) -> str:
    if not text:
        return ""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageInvalid(f"facts_json: {error}", field="facts_json") from error
    if not isinstance(found, dict):
        raise MessageInvalid("facts_json: not a JSON object", field="facts_json")
    return text
