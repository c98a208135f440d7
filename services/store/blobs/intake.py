"""One upload on its way in: bytes are hashed and written to a temporary file by a thread.

Owns the temporary file until it is published or discarded. Memory: at most one block being written and one
being gathered.
"""

import asyncio
import contextlib
import hashlib
import os
from concurrent.futures import Executor
from pathlib import Path

from services.chassis.failpoints import failpoint
from services.store.blobs.failures import storage_errors
from services.store.blobs.in_order import InOrder

BLOCK_BYTES = 1 << 20
"""Small chunks are gathered into blocks of this size, because a hop to a thread costs some 50 µs."""
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Intake:
    """Takes chunks in order; `seal` gives the digest. Always `discard` it: that is a no-op once published."""

    def __init__(self, threads: Executor, path: Path | None) -> None:
        """path: where to write; None: only hash, because the bytes are there already."""
        self._steps = InOrder(threads)
        self._path = path
        self._descriptor = -1
        self._hash = hashlib.sha256()
        self._gathered = bytearray()
        self._writing: asyncio.Future[None] | None = None
        self.size_bytes = 0

    @property
    def path(self) -> Path | None:
        """The temporary file, None when nothing is written."""
        return self._path

    async def write(self, chunk: bytes) -> None:
        """Takes a chunk; the previous block may still be on its way to the disk. Raises storage errors."""
        self.size_bytes += len(chunk)
        if not self._gathered and len(chunk) >= BLOCK_BYTES // 2:
            await self._hand_over(chunk)
            return
        self._gathered += chunk
        if len(self._gathered) >= BLOCK_BYTES:
            await self._flush()

    async def seal(self) -> str:
        """The digest, once every byte is on the disk (fsync). Raises storage errors."""
        await self._flush()
        await self._hand_over(None)
        await self._settle()
        return self._hash.hexdigest()

    def published(self) -> None:
        """The file now belongs to the blobs."""
        self._path = None

    async def discard(self) -> None:
        """Removes what is left. Idempotent; works in a cancelled task, and in one that is cancelled meanwhile."""
        if self._writing is not None:
            self._writing.add_done_callback(asyncio.Future.exception)
        await self._steps.end(self._remove)

    async def _flush(self) -> None:
        if self._gathered:
            gathered, self._gathered = self._gathered, bytearray()
            await self._hand_over(gathered)

    async def _hand_over(self, block: bytes | bytearray | None) -> None:
        await self._settle()
        self._writing = self._steps.start(lambda: self._sync() if block is None else self._write(block))

    async def _settle(self) -> None:
        # Shielded: a cancelled upload still has to wait for its thread before the file may go.
        if self._writing is not None:
            await asyncio.shield(self._writing)

    def _write(self, block: bytes | bytearray) -> None:
        self._hash.update(block)
        if self._path is not None:
            with storage_errors():
                rest = memoryview(block)
                while rest:
                    rest = rest[os.write(self._opened(self._path), rest) :]

    def _sync(self) -> None:
        if self._path is not None:
            failpoint("store.before_blob_sync")
            with storage_errors():
                os.fsync(self._opened(self._path))
            failpoint("store.after_blob_sync")

    def _opened(self, path: Path) -> int:
        if self._descriptor < 0:
            self._descriptor = os.open(path, _FLAGS, 0o400)
        return self._descriptor

    def _remove(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
        if self._path is not None:
            with contextlib.suppress(FileNotFoundError), storage_errors():
                self._path.unlink()
