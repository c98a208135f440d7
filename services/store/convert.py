"""Requests into checked values, values into responses. Every word of a caller is checked here."""

import re
import uuid

from google.protobuf.timestamp_pb2 import Timestamp

from modelyard.v1 import artifact_pb2
from services.chassis.requests.paging import PageTokenInvalid
from services.store.model import (
    DIGESTS_PER_CALL,
    HOLDER_LENGTH,
    NAME_LENGTH,
    Artifact,
    DigestInvalid,
    DigestsTooMany,
    HolderInvalid,
    NameInvalid,
    RequestIdInvalid,
    SinceTimeInvalid,
    SizeInvalid,
    UploadUnstated,
    Wish,
)

_DIGEST = re.compile(r"[0-9a-f]{64}")
_FIRST_PAGE = (1 << 62, "")
"""Before every position: newer than anything."""


def digest_of(text: str, field: str = "digest") -> str:
    """The digest; raises DigestInvalid."""
    if not _DIGEST.fullmatch(text):
        raise DigestInvalid(field=field, next_step="Use the digest that the upload answered with.")
    return text


def digests_of(texts: list[str]) -> list[str]:
    """Each digest once; raises DigestInvalid, DigestsTooMany."""
    if not 1 <= len(texts) <= DIGESTS_PER_CALL:
        raise DigestsTooMany(
            f"One call names 1 to {DIGESTS_PER_CALL} digests, not {len(texts)}.", field="digests"
        )
    return list(dict.fromkeys(digest_of(text, f"digests[{i}]") for i, text in enumerate(texts)))


def holder_of(text: str, field: str = "holder") -> str:
    """The holder; raises HolderInvalid."""
    if not 1 <= len(text) <= HOLDER_LENGTH or not text.isprintable() or " " in text:
        raise HolderInvalid(field=field)
    return text


def request_id_of(text: str) -> str:
    """The request id in its canonical form, empty where there is none; raises RequestIdInvalid."""
    try:
        return str(uuid.UUID(text)) if text else ""
    except ValueError as error:
        raise RequestIdInvalid(field="request_id") from error


def wish_of(header: artifact_pb2.PutArtifactHeader, account: str) -> Wish:
    """What the upload announced; `account` was decided before."""
    if header.size_bytes < 0:
        raise SizeInvalid(field="header.size_bytes")
    if not header.digest and not header.size_bytes:
        raise UploadUnstated(field="header.digest")
    return Wish(
        account=account,
        name=_label_of(header.name, "header.name"),
        media_type=_label_of(header.media_type, "header.media_type"),
        digest=digest_of(header.digest, "header.digest") if header.digest else "",
        size_bytes=header.size_bytes,
        holder=holder_of(header.holder, "header.holder") if header.holder else "",
    )


def artifact_message(artifact: Artifact) -> artifact_pb2.Artifact:
    """The wire form."""
    seconds, milliseconds = divmod(artifact.create_time_ms, 1000)
    return artifact_pb2.Artifact(
        digest=artifact.digest,
        size_bytes=artifact.size_bytes,
        name=artifact.name,
        media_type=artifact.media_type,
        account=artifact.account,
        create_time=Timestamp(seconds=seconds, nanos=milliseconds * 1_000_000),
        reference_count=artifact.reference_count,
    )


def cursor_of(artifact: Artifact) -> str:
    """The position of an artefact in a list."""
    return f"{artifact.create_time_ms}:{artifact.digest}"


def position_of(cursor: str) -> tuple[int, str]:
    """The position that `cursor_of` wrote; the empty one is before everything."""
    if not cursor:
        return _FIRST_PAGE
    time_ms, _, digest = cursor.partition(":")
    if not (time_ms.isdecimal() and len(time_ms) < 19 and _DIGEST.fullmatch(digest)):
        raise PageTokenInvalid(field="page_token")
    return int(time_ms), digest


def name_filter_of(name: str, field: str = "name") -> str:
    """The name to look for, or its beginning; raises NameInvalid."""
    return _label_of(name, field)


def since_ms_of(time: Timestamp) -> int:
    """Milliseconds since 1970, not before; raises SinceTimeInvalid."""
    try:
        time.ToDatetime()
    except (ValueError, OverflowError):
        raise SinceTimeInvalid(field="since_time") from None
    return max(0, time.ToMilliseconds())


def _label_of(text: str, field: str) -> str:
    if len(text) > NAME_LENGTH or not text.isprintable():
        raise NameInvalid(field=field)
    return text
