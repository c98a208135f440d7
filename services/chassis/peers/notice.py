"""What contacts are told is put into words here: an id that stays, a line, lines for people, facts for webhooks.

The same thing gives the same words each time: a repetition of an event is a repetition of what it says.
"""

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from modelyard.v1 import contact_pb2, task_pb2

ENTRIES_MOST = 20
"""Of a list within a message, and artefacts that go along with it."""
WORDS_CHARACTERS_MOST = 2_000
"""Of an error's message, or of what somebody wrote."""
TITLE_CHARACTERS_MOST = 200
FILE_NAME_CHARACTERS_MOST = 120
EVENT_ID_CHARACTERS_MOST = 200
MOST_BYTES = 60 << 10


def request_of(
    subject: str, create_ms: int, event: str, *, kind: str, title: str
) -> contact_pb2.NotifyRequest:
    """A message about ``subject`` ("r-12") that was made at ``create_ms``; ``event`` happens to it once."""
    # A number of a yard that was restored from a backup may be given again, its time is not.
    event_id = f"{subject} of {create_ms} {event}"
    if len(event_id) > EVENT_ID_CHARACTERS_MOST:
        event_id = f"{event_id[:100]} {sha256(event_id.encode()).hexdigest()}"
    line = " ".join(title.split())[:TITLE_CHARACTERS_MOST]
    return contact_pb2.NotifyRequest(event_id=event_id, kind=kind, subject=subject, title=line)


def text_of(lines: Iterable[tuple[str, str]]) -> str:
    """A line for each name and what it is; what is empty is left out."""
    text = "\n".join(f"{name}: {value}" if name else value for name, value in lines if value)
    return sayable(text).encode()[:MOST_BYTES].decode(errors="ignore")


def facts_of(facts: dict[str, Any], long: str) -> str:
    """As JSON; without what ``long`` names where that is more than a message takes: it can be asked for."""
    text = sayable(json.dumps(facts, ensure_ascii=False))
    if len(text.encode()) > MOST_BYTES:
        text = sayable(json.dumps({**facts, long: []}, ensure_ascii=False))
    return text


def file_of(name: str, digest: str, size_bytes: int) -> task_pb2.Output:
    """An artefact that goes along."""
    shown = name.replace("/", "-")[-FILE_NAME_CHARACTERS_MOST:]
    return task_pb2.Output(name=shown, digest=digest, size_bytes=size_bytes)


def sayable(text: str) -> str:
    """Without halves of characters, which JSON can hold and messages cannot."""
    return text.encode(errors="replace").decode()


def time_of(moment: Timestamp) -> str:
    """Empty where it is not set."""
    return moment.ToJsonString() if moment.seconds else ""
