"""What the store does: takes uploads, gives bytes, lets go of what nobody needs.

Owns the order of things: bytes are on the disk before their row is committed, a row is gone before its bytes
are. Publishing and removing one digest exclude each other; nothing else waits. Knows no protobuf.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager

from services.chassis.clock import Clock
from services.chassis.errors import ServiceError
from services.chassis.failpoints import failpoint
from services.chassis.logs import get_logger
from services.store.blobs.blobs import Blobs
from services.store.blobs.digest_locks import DigestLocks
from services.store.blobs.intake import Intake
from services.store.model import (
    READ_BYTES,
    Artifact,
    ArtifactCorrupt,
    FreeSpaceLow,
    Limits,
    OffsetOutOfRange,
    UploadInterfered,
    Wish,
)
from services.store.store import Store, check_quota, missing_artifact

FREE_SPACE_STRIDE_BYTES = 64 << 20
"""How often an upload looks at the room that is left."""

_log = get_logger("store")


class Engine:
    """The artefacts of all accounts. Whether a caller may act for an account was decided before."""

    def __init__(self, store: Store, blobs: Blobs, limits: Limits, clock: Clock) -> None:
        self._store = store
        self._blobs = blobs
        self._limits = limits
        self._clock = clock
        self._locks = DigestLocks()
        self._transfers: dict[object, asyncio.Future[None]] = {}

    async def close(self) -> None:
        """Waits for the transfers under way, which the server has cancelled, to put away their things."""
        if self._transfers:
            await asyncio.wait(self._transfers.values())

    @property
    def transfers(self) -> int:
        """How many are under way."""
        return len(self._transfers)

    @contextmanager
    def _transfer(self) -> Iterator[None]:
        key, ended = object(), asyncio.get_running_loop().create_future()
        self._transfers[key] = ended
        try:
            yield
        finally:
            del self._transfers[key]
            ended.set_result(None)

    async def put(self, wish: Wish, chunks: AsyncIterator[bytes]) -> Artifact:
        """Takes an upload to its end; durable on return, nothing is left of it when it raises.

        Idempotent. Safe to cancel: once all bytes are there it may still be kept. Raises DigestMismatch,
        SizeMismatch, QuotaExceeded, FreeSpaceLow, UploadInterfered and storage errors.
        """
        with self._transfer():
            return await self._renewed(wish) or await self._take(wish, chunks)

    async def _take(self, wish: Wish, chunks: AsyncIterator[bytes]) -> Artifact:
        present = await self._is_present(wish.digest)
        await self._check_room(wish.account, wish.size_bytes, 0 if present else wish.size_bytes)
        intake = self._blobs.intake(keep=not present)
        try:
            await self._receive(wish, intake, chunks)
            digest = await intake.seal()
            wish.check_outcome(digest, intake.size_bytes)
            return await self._finish(wish, intake, digest)
        finally:
            await intake.discard()

    async def find(self, account: str, digest: str) -> Artifact:
        """The account's artefact; raises ArtifactNotFound."""
        found = await self._store.find(account, digest)
        if found is None:
            raise missing_artifact(account, digest)
        return found

    async def read(self, artifact: Artifact, offset: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `offset` on. Raises OffsetOutOfRange, ArtifactCorrupt and storage errors.

        Reading from 0 is checked against the digest: where bytes have rotted the last step raises, and the
        blob is put aside.
        """
        if not 0 <= offset <= artifact.size_bytes:
            raise OffsetOutOfRange(
                f"The artefact has {artifact.size_bytes} bytes; {offset} is no offset in it.", field="offset"
            )
        seen = hashlib.sha256() if offset == 0 else None
        sent = offset
        try:
            with self._transfer():
                async with aclosing(self._blobs.read(artifact.digest, offset, READ_BYTES, seen)) as blocks:
                    async for block in blocks:
                        sent += len(block)
                        yield block
        except FileNotFoundError as error:
            raise await self._set_aside(artifact) from error
        if sent != artifact.size_bytes or (seen is not None and seen.hexdigest() != artifact.digest):
            raise await self._set_aside(artifact)

    async def page(
        self,
        account: str,
        name: str,
        after: tuple[int, str],
        most: int,
        *,
        prefix: str = "",
        since_ms: int = 0,
    ) -> list[Artifact]:
        """Newest first, behind the position (create_time_ms, digest); those that are not older than `since_ms`."""
        return await self._store.page(account, name, after, most, prefix=prefix, since_ms=since_ms)

    async def delete(self, account: str, digest: str, request_id: str) -> None:
        """See Store.delete; the bytes go with the last account that has them."""
        if await self._store.delete(account, digest, request_id, self._clock.now_ms()):
            await self.remove_unowned(digest)

    async def add_references(self, account: str, holder: str, digests: Sequence[str]) -> None:
        """All or none; raises ArtifactNotFound. Idempotent."""
        await self._store.add_references(account, holder, digests)

    async def remove_references(self, holder: str, account: str | None) -> None:
        """Everything of this holder, in one account or (None) in all. Idempotent."""
        await self._store.remove_references(holder, account, self._clock.now_ms())

    async def remove_unowned(self, digest: str) -> bool:
        """Removes the bytes unless an account has them (again); True when removed."""
        async with self._locks.of(digest):
            if await self._store.blob(digest) is not None:
                return False
            await self._blobs.remove(digest)
            return True

    async def _receive(self, wish: Wish, intake: Intake, chunks: AsyncIterator[bytes]) -> None:
        look_at = FREE_SPACE_STRIDE_BYTES
        async for chunk in chunks:
            size_bytes = intake.size_bytes + len(chunk)
            if wish.size_bytes and size_bytes > wish.size_bytes:
                wish.check_size(size_bytes)
            if size_bytes >= look_at:
                await self._check_room(wish.account, size_bytes, 0 if intake.path is None else len(chunk))
                look_at = size_bytes + FREE_SPACE_STRIDE_BYTES
            await intake.write(chunk)

    async def _check_room(self, account: str, total_bytes: int, more_bytes: int) -> None:
        """Raises QuotaExceeded or FreeSpaceLow; more_bytes: what is still to be written, as far as known."""
        if self._limits.quota_bytes:
            used = await self._store.used_bytes(account)
            check_quota(account, used, total_bytes, self._limits.quota_bytes)
        free = await self._blobs.free_bytes() if self._limits.free_space_floor_bytes else None
        if free is not None and more_bytes and free - more_bytes < self._limits.free_space_floor_bytes:
            raise FreeSpaceLow(
                f"{free} bytes are free, {self._limits.free_space_floor_bytes} have to stay free "
                f"and this needs {more_bytes}.",
                next_step="Delete artefacts that are not needed, or give the store more room.",
            )

    async def _renewed(self, wish: Wish) -> Artifact | None:
        """The artefact where the account sent these bytes before and they are there: it need not again."""
        if not wish.digest or not await self._is_present(wish.digest):
            return None
        known = await self._store.find(wish.account, wish.digest)
        if known is None:
            return None
        if wish.size_bytes:
            wish.check_size(known.size_bytes)
        return await self._store.renew(wish, self._clock.now_ms())

    async def _is_present(self, digest: str) -> bool:
        blob = await self._store.blob(digest) if digest else None
        if blob is None or blob.quarantined:
            return False
        return await self._blobs.size(digest) == blob.size_bytes

    async def _finish(self, wish: Wish, intake: Intake, digest: str) -> Artifact:
        # In a task of its own: half of it must not happen, whoever goes away meanwhile.
        task = asyncio.get_running_loop().create_task(self._publish(wish, intake, digest))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise

    async def _publish(self, wish: Wish, intake: Intake, digest: str) -> Artifact:
        async with self._locks.of(digest):
            present = await self._is_present(digest)
            if not present and intake.path is None:
                raise UploadInterfered(next_step="Send the upload again.")
            if not present:
                await self._blobs.publish(intake, digest)
            try:
                failpoint("store.before_row")
                artifact = await self._store.record(
                    wish, digest, intake.size_bytes, self._limits.quota_bytes, self._clock.now_ms()
                )
                failpoint("store.after_row")
                return artifact
            except ServiceError:
                if await self._store.blob(digest) is None:
                    await self._blobs.remove(digest)
                raise

    async def _set_aside(self, artifact: Artifact) -> ServiceError:
        """The error to raise; quarantines the blob if a second look agrees that it is damaged."""
        digest = artifact.digest
        async with self._locks.of(digest):
            if await self._store.blob(digest) is None:
                return missing_artifact(artifact.account, digest)
            if await self._blobs.is_intact(digest):
                return ArtifactCorrupt(
                    f"Reading {digest} failed.", field="digest", next_step="Read it again."
                )
            await self._blobs.quarantine(digest)
            await self._store.quarantine(digest, self._clock.now_ms())
        _log.error("blob_quarantined", digest=digest)
        return ArtifactCorrupt(
            f"The stored bytes of {digest} are damaged or gone.",
            field="digest",
            next_step="Upload the same bytes again: that heals it.",
            metadata={"digest": digest},
        )
