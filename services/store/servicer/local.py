"""Files that an agent of this very machine has: read from its directory instead of being sent through gRPC.

Owns which files these are: regular ones below agents/<node>/tasks/ of the store's own state directory, reached without
any link, and certainly the file that the agent means. Bytes are copied all the same: what tasks may still write to is
never a blob.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from io import FileIO
from pathlib import Path

from modelyard.v1.artifact_pb2 import LocalFile
from services.chassis.errors import FailedPrecondition
from services.chassis.security import AGENT, Principal

BLOCK_BYTES = 1 << 20
PARTS_MOST = 128
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FileNotLocal(FailedPrecondition):
    """The store cannot read this file where it lies."""


class LocalFiles:
    """Those below one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._agents = state_dir / "agents"

    async def read(self, principal: Principal, file: LocalFile, size_bytes: int) -> AsyncIterator[bytes]:
        """Its blocks. Raises FileNotLocal before the first."""
        if principal.role != AGENT or not principal.node:
            raise _not_local("only an agent may name a file of its own")
        # A file, not a descriptor: a thread that is late reads from no other file that has its number by then.
        with await asyncio.to_thread(self._open, principal.node, file, size_bytes) as source:
            while block := await asyncio.to_thread(source.read, BLOCK_BYTES):
                yield block

    def _open(self, node: str, file: LocalFile, size_bytes: int) -> FileIO:
        parts = file.path.split("/")
        if len(parts) > PARTS_MOST or any(part in ("", ".", "..") or "\0" in part for part in (node, *parts)):
            raise _not_local("its path is none below the agent's tasks")
        if "/" in node:
            raise _not_local("its node has no directory here")
        try:
            descriptor = _descend(self._agents, (node, "tasks", *parts))
        except OSError as error:
            raise _not_local("it is not there, or not to be read") from error
        found = os.fstat(descriptor)
        wanted = (file.device, file.inode, size_bytes)
        if not stat.S_ISREG(found.st_mode) or (found.st_dev, found.st_ino, found.st_size) != wanted:
            os.close(descriptor)
            raise _not_local("another file lies there")
        return FileIO(descriptor)


def _descend(start: Path, parts: tuple[str, ...]) -> int:
    """The descriptor of a file, no part of whose path is a link. Raises OSError."""
    here = os.open(start, _DIRECTORY)
    try:
        for part in parts[:-1]:
            below = os.open(part, _DIRECTORY, dir_fd=here)
            os.close(here)
            here = below
        return os.open(parts[-1], _FILE, dir_fd=here)
    finally:
        os.close(here)


def _not_local(why: str) -> FileNotLocal:
    return FileNotLocal(
        f"The store cannot read the file where it lies: {why}.", field="header.local_file",
        next_step="Send its bytes in chunks.",
    )  # fmt: skip
