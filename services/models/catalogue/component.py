"""A component as it is handed in: names that stay below it, files that the store has. Its bytes are never read here."""

from __future__ import annotations

import asyncio
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256

import grpc.aio

from modelyard.artifacts import stat
from modelyard.errors import YardError
from modelyard.v1 import model_pb2 as pb
from modelyard.v1 import task_pb2
from services.chassis.errors import FailedPrecondition, InvalidArgument
from services.chassis.peers.passing import passed_on
from services.models.catalogue.state import File

FILES_MOST = 900
WHOLE = "./"
"""The component itself, as a tar.gz."""
PATH_BYTES_MOST = 900
NAME_BYTES_MOST = 255
"""What disks keep as the name of one file."""
AT_ONCE = 16
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ComponentInvalid(InvalidArgument):
    """The files cannot be a component."""


class ComponentFileMissing(FailedPrecondition):
    """The store has no such file for this account."""


def check(files: Sequence[pb.ComponentFile]) -> None:
    """Raises ComponentInvalid with the field of the first that cannot be."""
    if not files:
        raise ComponentInvalid(
            "a component has at least one file", field="files", next_step="yard model push FILE"
        )
    if len(files) > FILES_MOST:
        raise ComponentInvalid(
            f"{len(files)} files are more than {FILES_MOST}", field="files",
            next_step="pack a directory into one file: a tar.gz under a path that ends with /; yard model push does",
        )  # fmt: skip
    taken: dict[str, int] = {}
    folders: set[str] = set()
    for number, file in enumerate(files):
        where = f"files[{number}]"
        path = file.path.removesuffix("/")
        if file.path != WHOLE:
            _check_path(path, f"{where}.path")
        above = _above(path)
        is_alone = file.path != WHOLE or len(files) == 1
        if not is_alone or path in taken or path in folders or any(one in taken for one in above):
            raise ComponentInvalid(
                f"{file.path[:80]!r} is there twice, or lies within a file", field=f"{where}.path"
            )
        taken[path] = number
        folders.update(above)
        if not _DIGEST.fullmatch(file.digest):
            raise ComponentInvalid(
                f"{file.digest[:80]!r} is not a sha256 digest", field=f"{where}.digest",
                next_step="put the file into the store and give its digest: yard artifacts put FILE",
            )  # fmt: skip


def _above(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _check_path(path: str, field: str) -> None:
    step = "a path below the component, such as model/weights.bin"
    if not path or len(path.encode()) > PATH_BYTES_MOST or not path.isprintable():
        raise ComponentInvalid(f"{path[:80]!r} is no path", field=field, next_step=step)
    if any(len(part.encode()) > NAME_BYTES_MOST for part in path.split("/")):
        raise ComponentInvalid(
            f"{path[:80]!r} has a name of more than {NAME_BYTES_MOST} bytes", field=field, next_step=step
        )
    if path.startswith("/") or ".." in path.split("/") or "\\" in path:
        raise ComponentInvalid(f"{path[:80]!r} leaves the component", field=field, next_step=step)
    if posixpath.normpath(path) != path or path == ".":
        raise ComponentInvalid(
            f"{path[:80]!r} is not in its shortest form",
            field=field,
            next_step=f"write {posixpath.normpath(path)[:80]!r}",
        )


async def known(store: grpc.aio.Channel, account: str, files: Sequence[pb.ComponentFile]) -> tuple[File, ...]:
    """By path, with the sizes that the store knows. Raises ComponentFileMissing, and what the store refuses else."""
    turns = asyncio.Semaphore(AT_ONCE)
    sizes: dict[str, int] = {}

    async def ask(number: int, digest: str) -> None:
        async with turns:
            try:
                sizes[digest] = (await stat(store, digest, account=account)).size_bytes
            except YardError as error:
                if error.code != "NOT_FOUND":
                    raise passed_on(error, f"files[{number}].digest") from error
                raise ComponentFileMissing(
                    f"the store has no {digest[:12]} ({files[number].path[:80]}) of {account}",
                    field=f"files[{number}].digest", next_step="yard artifacts put FILE, or yard model push FILE",
                ) from error  # fmt: skip

    first = {file.digest: number for number, file in reversed(list(enumerate(files)))}
    found = await asyncio.gather(
        *(ask(number, digest) for digest, number in first.items()), return_exceptions=True
    )
    for failure in found:
        if failure is not None:
            raise failure
    return tuple(sorted((file.path, file.digest, sizes[file.digest]) for file in files))


def attachments_of(files: Iterable[File], below: str) -> Iterator[task_pb2.Attachment]:
    """As a task finds them in the directory ``below``; what is packed lies there unpacked."""
    for path, digest, _ in files:
        place = posixpath.normpath(f"{below}/{path}")
        yield task_pb2.Attachment(path=place, digest=digest, is_directory=is_packed(path))


def is_packed(path: str) -> bool:
    """Whether it is a directory, kept as a tar.gz."""
    return path.endswith("/")


def tree_digest(files: Iterable[File]) -> str:
    """sha256 over the paths and digests."""
    text = "".join(f"{path}\0{digest}\n" for path, digest, _ in sorted(files))
    return sha256(text.encode()).hexdigest()
