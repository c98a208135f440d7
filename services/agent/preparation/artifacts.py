"""Bytes from and to the store, by digest.

Owns the calls of ArtifactService and the checking of what comes. Files are read and written outside
the event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio

from modelyard.v1 import artifact_pb2 as pb
from modelyard.v1.artifact_pb2_grpc import ArtifactServiceStub
from services.agent.tasks.model import StoredOutput

if TYPE_CHECKING:
    from modelyard.v1.artifact_pb2_grpc import ArtifactServiceAsyncStub

T = TypeVar("T")
EMPTY = hashlib.sha256().hexdigest()
CHUNK_BYTES = 1024 * 1024
TRIES = 6
TRANSFER_S = 3600.0
FIRST_PAUSE_S = 0.2
LOCAL_BYTES_LEAST = 1 << 20
NOT_HERE = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT)
RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED)


class TransferFailed(Exception):
    """Bytes could not be fetched or stored; what to do about it stands in next_step."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


class Artifacts:
    """One channel to the store, opened with the first transfer and again when credentials change."""

    def __init__(self, connect: Callable[[], grpc.aio.Channel]) -> None:
        self._connect = connect
        self._channel: grpc.aio.Channel | None = None
        self._is_store_here = True
        """Until it says that it is not."""

    async def fetch(self, digest: str, account: str, path: Path) -> None:
        """Writes the artefact to `path`, whole and checked, or raises TransferFailed. Idempotent."""
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            with _Download(draft) as download:

                async def attempt() -> None:
                    await self._fetch(digest, account, download)

                what = f"artefact {digest[:12]} could not be fetched"
                await self._try(attempt, what, lambda: download.size_bytes)
            await asyncio.to_thread(draft.replace, path)
        finally:
            draft.unlink(missing_ok=True)

    async def check(self, digest: str, account: str) -> None:
        """Raises TransferFailed unless the account may have this artefact."""

        async def attempt() -> None:
            await self._stub().StatArtifact(pb.StatArtifactRequest(digest=digest, account=account))

        await self._try(attempt, f"artefact {digest[:12]} could not be fetched")

    async def put(
        self, path: Path, name: str, account: str, holder: str, tasks: Path | None = None
    ) -> StoredOutput:
        """Stores a file. `tasks`: it lies below this directory and stays as it is, so that a store on this machine may
        copy it by itself. Raises TransferFailed."""

        async def attempt() -> StoredOutput:
            found = path.stat()
            size_bytes = found.st_size
            header = pb.PutArtifactHeader(
                name=name,
                media_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
                # An upload has to announce something, and of an empty file the size says nothing.
                digest="" if size_bytes else EMPTY,
                size_bytes=size_bytes,
                account=account,
                holder=holder,
            )
            if tasks is not None and self._is_store_here and size_bytes >= LOCAL_BYTES_LEAST:
                file = pb.LocalFile(
                    path=str(path.resolve().relative_to(tasks.resolve())),
                    device=found.st_dev,
                    inode=found.st_ino,
                )
                digest = await self._offer(header, file)
                if digest:
                    return StoredOutput(name, digest, size_bytes)
            answer = await self._stub().PutArtifact(_upload(header, path))
            return StoredOutput(name, answer.artifact.digest, answer.artifact.size_bytes)

        return await self._try(attempt, f"output {name!r} could not be stored")

    async def _offer(self, header: pb.PutArtifactHeader, file: pb.LocalFile) -> str:
        """The digest of a file that the store has copied by itself; empty: it cannot, or knows of no such thing."""
        offer = pb.PutArtifactHeader(local_file=file)
        offer.MergeFrom(header)
        try:
            answer = await self._stub().PutArtifact(_header_alone(offer))
        except grpc.aio.AioRpcError as error:
            if error.code() not in NOT_HERE:
                raise
            self._is_store_here = False
            return ""
        return answer.artifact.digest if answer.artifact.size_bytes == header.size_bytes else ""

    async def renew(self) -> None:
        """The next transfer opens another channel, with new credentials; those under way end in peace."""
        await self._close(TRANSFER_S)

    async def close(self) -> None:
        """Ends transfers that are under way."""
        await self._close(None)

    async def _close(self, grace_s: float | None) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(grace_s)

    def _stub(self) -> ArtifactServiceAsyncStub:
        if self._channel is None:
            self._channel = self._connect()
        return ArtifactServiceStub(self._channel)

    async def _fetch(self, digest: str, account: str, download: _Download) -> None:
        """Goes on where the attempt before has stopped."""
        request = pb.GetArtifactRequest(digest=digest, account=account, offset=download.size_bytes)
        async for part in self._stub().GetArtifact(request):
            await asyncio.to_thread(download.append, part.chunk)
        if download.digest != digest:
            download.restart()
            raise TransferFailed(
                f"artefact {digest[:12]} came damaged from the store",
                "upload it again; if it happens again, check the store's disk",
            )

    async def _try(
        self, attempt: Callable[[], Awaitable[T]], what: str, progress: Callable[[], int] = lambda: 0
    ) -> T:
        """Tries again what the store could not do just now; attempts that came further do not count."""
        left, pause_s, reached = TRIES - 1, FIRST_PAUSE_S, 0
        while True:
            try:
                return await attempt()
            except grpc.aio.AioRpcError as error:
                if progress() > reached:
                    left, pause_s, reached = TRIES - 1, FIRST_PAUSE_S, progress()
                if left and error.code() in RETRIED:
                    left -= 1
                    await asyncio.sleep(pause_s)
                    pause_s *= 2
                    continue
                raise TransferFailed(f"{what}: {error.details()}", _next_step(error)) from error
            except OSError as error:
                raise TransferFailed(
                    f"{what}: {error.strerror or error}", "free disk space on the node, then retry the task"
                ) from error


class _Download:
    """What has arrived of an artefact, in a draft of its file. `append` blocks."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def __enter__(self) -> _Download:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def append(self, chunk: bytes) -> None:
        """Raises OSError; what was written then counts."""
        rest = memoryview(chunk)
        while rest:
            written = self._file.write(rest)
            self._hash.update(rest[:written])
            self.size_bytes += written
            rest = rest[written:]

    def restart(self) -> None:
        """Forgets what has arrived."""
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self.size_bytes = 0


def _next_step(error: grpc.aio.AioRpcError) -> str:
    if error.code() is grpc.StatusCode.NOT_FOUND:
        return "put the artefact into the store again and submit the task with its digest"
    if error.code() is grpc.StatusCode.PERMISSION_DENIED:
        return "the artefact belongs to another account; upload it with your own"
    return "see whether the store is running, then retry the task"


async def _header_alone(header: pb.PutArtifactHeader) -> AsyncIterator[pb.PutArtifactRequest]:
    yield pb.PutArtifactRequest(header=header)


async def _upload(header: pb.PutArtifactHeader, path: Path) -> AsyncIterator[pb.PutArtifactRequest]:
    yield pb.PutArtifactRequest(header=header)
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield pb.PutArtifactRequest(chunk=chunk)
