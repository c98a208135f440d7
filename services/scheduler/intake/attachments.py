"""Attachments of a specification as they come in: paths that stay below the working directory and exclude nobody.

Checks words only. Whether the bytes are in the store is asked by `inputs`; whether a bundle has a file of the same
name only the agent sees.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence

from modelyard.v1 import task_pb2
from services.scheduler.refusals import invalid

MOST = 1_000
PATH_BYTES_MOST = 1_024
_DIGEST = re.compile(r"[0-9a-f]{64}")


def check(attachments: Sequence[task_pb2.Attachment], field: str) -> tuple[str, ...]:
    """Their digests. Raises `InvalidSpec` with the field of the first that cannot be."""
    if len(attachments) > MOST:
        raise invalid(field, f"{len(attachments)} are more than {MOST}", "attach one directory instead")
    taken: dict[str, int] = {}
    for number, attachment in enumerate(attachments):
        where = f"{field}[{number}]"
        _check_path(attachment.path, f"{where}.path")
        _check_free(attachment.path, taken, f"{where}.path")
        taken[attachment.path] = number
        if not _DIGEST.fullmatch(attachment.digest):
            raise invalid(
                f"{where}.digest",
                f"{attachment.digest[:80]!r} is not a sha256 digest",
                "put the file into the store and give its digest: yard artifacts put FILE",
            )
    return tuple(attachment.digest for attachment in attachments)


def laid_over(
    present: Iterable[task_pb2.Attachment], changes: Iterable[task_pb2.Attachment]
) -> list[task_pb2.Attachment]:
    """``changes`` on top of ``present`` by path; one without a digest takes its path away."""
    found = {attachment.path: attachment for attachment in present}
    for change in changes:
        if change.digest:
            found[change.path] = change
        else:
            found.pop(change.path, None)
    return list(found.values())


def _check_path(path: str, field: str) -> None:
    below = "a path below the working directory, such as data/train.csv"
    if not path or len(path.encode()) > PATH_BYTES_MOST or "\0" in path:
        raise invalid(field, f"{path[:80]!r} is not a path", below)
    if path.startswith("/") or ".." in path.split("/"):
        raise invalid(field, f"{path[:80]!r} leaves the working directory", below)
    if posixpath.normpath(path) != path or path == ".":
        raise invalid(
            field, f"{path[:80]!r} is not in its shortest form", f"write {posixpath.normpath(path)!r}"
        )


def _check_free(path: str, taken: dict[str, int], field: str) -> None:
    if path in taken:
        raise invalid(field, f"{path!r} is attached twice", "give each attachment a path of its own")
    for other in taken:
        if path.startswith(f"{other}/") or other.startswith(f"{path}/"):
            raise invalid(
                field, f"{path!r} and {other!r}: one lies within the other", "place them side by side"
            )
