"""The bytes, for the event loop: every blocking call of a storage runs in a thread of its own pool.

Owns the pool and the choice of the storage. Knows digests and bytes, no accounts.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

from services.store.blobs.directory import Directory
from services.store.blobs.failures import storage_errors
from services.store.blobs.in_order import InOrder
from services.store.blobs.intake import Intake
from services.store.blobs.remote import Remote

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

THREADS = 16

T = TypeVar("T")


class Storage(Protocol):
    """Where blobs are kept; see Directory for what each call promises."""

    def open(self) -> None: ...
    def incoming_path(self) -> Path: ...
    def size(self, digest: str) -> int | None: ...
    def publish(self, staged: Path, digest: str) -> None: ...
    def read(self, digest: str) -> BinaryIO: ...
    def remove(self, digest: str) -> None: ...
    def quarantine(self, digest: str) -> None: ...
    def digests(self) -> Iterator[str]: ...
    def free_bytes(self) -> int | None: ...


def storage_of(url: str, state: Path) -> Storage:
    """The storage for a configured URL; empty: the directory ``blobs`` in `state`."""
    if not url:
        return Directory(state / "blobs")
    scheme, separator, rest = url.partition("://")
    if not separator:
        return Directory(Path(url).expanduser())
    if scheme == "file":
        return Directory(Path(rest))
    return Remote(url, state)


class Blobs:
    """The async side of a storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")

    async def open(self) -> None:
        """Prepares the storage and sweeps what interrupted uploads left."""
        await self._run(self._storage.open)

    def close(self) -> None:
        """Waits for the threads."""
        self._threads.shutdown()

    def intake(self, *, keep: bool) -> Intake:
        """Room for one upload; keep=False only hashes."""
        return Intake(self._threads, self._storage.incoming_path() if keep else None)

    async def size(self, digest: str) -> int | None:
        """The bytes of the blob, None where it is not there."""
        return await self._run(lambda: self._storage.size(digest))

    async def publish(self, intake: Intake, digest: str) -> None:
        """Gives a sealed intake its name; durable on return."""
        path = intake.path
        if path is not None:
            await self._run(lambda: self._storage.publish(path, digest))
            intake.published()

    async def remove(self, digest: str) -> None:
        """Forgets the blob. Idempotent."""
        await self._run(lambda: self._storage.remove(digest))

    async def quarantine(self, digest: str) -> None:
        """Puts the bytes aside."""
        await self._run(lambda: self._storage.quarantine(digest))

    async def digests(self) -> list[str]:
        """Every blob that is there."""
        return await self._run(lambda: list(self._storage.digests()))

    async def free_bytes(self) -> int | None:
        """The room left; None: not known."""
        return await self._run(self._storage.free_bytes)

    async def is_intact(self, digest: str) -> bool:
        """Reads all of it again and compares; what is not there is not intact."""
        return await self._run(lambda: self._digest_of(digest) == digest)

    async def read(
        self, digest: str, offset: int, block_bytes: int, seen: Hash | None
    ) -> AsyncGenerator[bytes, None]:
        """Blocks from `offset` on; the next is read while the last is being sent. Raises FileNotFoundError.

        seen: is fed every byte before it is given out.
        """
        reader, steps = _Reader(self._storage, digest, offset, block_bytes, seen), InOrder(self._threads)
        ahead = steps.start(reader.next_block)
        try:
            while block := await asyncio.shield(ahead):
                ahead = steps.start(reader.next_block)
                yield block
        finally:
            # Whoever leaves does not ask how the block went that was being read for them.
            ahead.add_done_callback(asyncio.Future.exception)
            await steps.end(reader.close)

    def _digest_of(self, digest: str) -> str:
        found = hashlib.sha256()
        reader = _Reader(self._storage, digest, 0, 1 << 20, found)
        with closing(reader), suppress(FileNotFoundError):
            while reader.next_block():
                pass
        return found.hexdigest()

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class _Reader:
    """One pass over a blob; opens it with the first block, so that a thread owns the file from the start."""

    def __init__(
        self, storage: Storage, digest: str, offset: int, block_bytes: int, seen: Hash | None
    ) -> None:
        self._storage = storage
        self._digest = digest
        self._offset = offset
        self._block_bytes = block_bytes
        self._seen = seen
        self._file: BinaryIO | None = None

    def next_block(self) -> bytes:
        """Empty at the end."""
        if self._file is None:
            self._file = self._storage.read(self._digest)
            self._file.seek(self._offset)
        with storage_errors():
            block = self._file.read(self._block_bytes)
        if self._seen is not None:
            self._seen.update(block)
        return block

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
