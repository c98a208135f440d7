"""Artefacts that lie in the directory of every instance: checked when a job is handed in. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from typing import Protocol

from services.chassis.errors import InvalidArgument
from services.trainer.model import Attached

MOST = 100
PATH_BYTES_MOST = 1_024
_DIGEST = re.compile(r"[0-9a-f]{64}")


class JobAttachmentInvalid(InvalidArgument):
    """An attachment has a path below the directory of instances, and the digest of an artefact."""


class Wish(Protocol):
    """As the contract has it."""

    path: str
    digest: str
    is_directory: bool


def read(attachments: Sequence[Wish], field: str = "attachments") -> tuple[Attached, ...]:
    """Raises JobAttachmentInvalid."""
    if len(attachments) > MOST:
        raise JobAttachmentInvalid(f"{len(attachments)} are more than {MOST}", field=field)
    for number, one in enumerate(attachments):
        where = f"{field}[{number}]"
        if not _is_below(one.path):
            raise JobAttachmentInvalid(f"{one.path[:80]!r} is no path below it", field=f"{where}.path")
        if any(_clash(one.path, other.path) for other in attachments[:number]):
            raise JobAttachmentInvalid(f"{one.path!r} is where another lies", field=f"{where}.path")
        if not _DIGEST.fullmatch(one.digest):
            raise JobAttachmentInvalid(
                f"{one.digest[:80]!r} is no sha256 digest", field=f"{where}.digest",
                next_step="put the file into the store and give its digest: yard artifacts put FILE",
            )  # fmt: skip
    return tuple(Attached(one.path, one.digest, one.is_directory) for one in attachments)


def _is_below(path: str) -> bool:
    if not path or len(path.encode()) > PATH_BYTES_MOST or "\0" in path or path.startswith("/"):
        return False
    return ".." not in path.split("/") and path != "." and posixpath.normpath(path) == path


def _clash(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")
