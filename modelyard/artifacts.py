"""Artefacts for clients: what the SDK, the command line and the agents do with the store.

Owns uploads and downloads over a channel (see modelyard.channel). Memory stays small whatever the size,
errors are YardError. Packing and unpacking directories is in modelyard.bundle and offered here, too.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import io
import os
import secrets
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import IO, TypeVar

import grpc.aio

from modelyard.bundle import BundleInvalid, BundleLimits, extract_bundle, pack_directory
from modelyard.errors import ConnectionFailed, YardError, from_rpc_error
from modelyard.v1 import artifact_pb2 as pb
from modelyard.v1.artifact_pb2 import Artifact
from modelyard.v1.artifact_pb2_grpc import ArtifactServiceStub

__all__ = [
    "ArtifactDamaged",
    "BundleInvalid",
    "BundleLimits",
    "extract_bundle",
    "get_to_file",
    "pack_directory",
    "put_bytes",
    "put_file",
    "stat",
]

CHUNK_BYTES = 1 << 20
ATTEMPTS = 5
"""How often in a row a transfer is tried without any progress."""
_PAUSE_S = 0.1
_PASSING = frozenset({"UPLOAD_INTERFERED", "ACCOUNTS_UNREACHABLE", "GRPC_CANCELLED", "GRPC_INTERNAL"})
"""GRPC_INTERNAL: grpc.aio says so, and not what the server answered, when an answer arrives while it sends."""

T = TypeVar("T")
Sent = Callable[[int, int], None]


class ArtifactDamaged(YardError):
    """What arrived is not what was asked for, also after a second download from the start."""


async def put_file(
    channel: grpc.aio.Channel,
    path: Path,
    *,
    name: str,
    account: str = "",
    holder: str = "",
    media_type: str = "",
    on_sent: Sent | None = None,
) -> Artifact:
    """Uploads a file; the artefact is durable on return.

    The file is read twice, once for its digest; where the account has the bytes already the second pass is
    skipped. account: for agents and services; holder: a first reference. Idempotent: a broken connection is
    tried again. Safe to cancel. Raises YardError, OSError; a file that changes gives DIGEST_MISMATCH.
    on_sent is called with the bytes sent so far and those of the file.
    """
    with await asyncio.to_thread(Path(path).open, "rb", buffering=0) as file:
        digest = await asyncio.to_thread(_digest_of, file)
        header = pb.PutArtifactHeader(
            name=name,
            media_type=media_type,
            digest=digest,
            size_bytes=file.tell(),
            account=account,
            holder=holder,
        )
        return await _put(channel, header, file, on_sent)


async def put_bytes(
    channel: grpc.aio.Channel,
    data: bytes,
    *,
    name: str,
    account: str = "",
    holder: str = "",
    media_type: str = "",
) -> Artifact:
    """As `put_file` for bytes in memory."""
    header = pb.PutArtifactHeader(
        name=name,
        media_type=media_type,
        digest=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        account=account,
        holder=holder,
    )
    return await _put(channel, header, io.BytesIO(data))


async def stat(channel: grpc.aio.Channel, digest: str, *, account: str = "") -> Artifact:
    """The artefact without its bytes. Raises YardError (ARTIFACT_NOT_FOUND)."""
    request = pb.StatArtifactRequest(digest=digest, account=account)
    try:
        return (await ArtifactServiceStub(channel).StatArtifact(request)).artifact
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def get_to_file(channel: grpc.aio.Channel, digest: str, path: Path, account: str = "") -> Path:
    """Downloads an artefact to `path`, which appears complete and checked, or not at all; returns `path`.

    Goes on where an earlier attempt of the same digest and path stopped, also after a crash. Replaces an
    existing file. Safe to cancel. Raises YardError (ARTIFACT_NOT_FOUND, ArtifactDamaged), OSError.
    """
    part = await asyncio.to_thread(_Part, Path(path), digest)
    try:
        for _ in range(2):
            await _persist(lambda: _download(channel, digest, account, part), lambda: part.size_bytes)
            if part.digest == digest:
                await asyncio.to_thread(part.publish)
                return Path(path)
            part.restart()
    finally:
        part.close()
    raise ArtifactDamaged(f"the download of {digest} does not come to its digest", reason="ARTIFACT_DAMAGED")


async def _put(
    channel: grpc.aio.Channel, header: pb.PutArtifactHeader, source: IO[bytes], on_sent: Sent | None = None
) -> Artifact:
    async def attempt() -> Artifact:
        source.seek(0)
        answer = await ArtifactServiceStub(channel).PutArtifact(_requests(header, source, on_sent))
        return answer.artifact

    return await _persist(attempt, lambda: 0)


async def _requests(
    header: pb.PutArtifactHeader, source: IO[bytes], on_sent: Sent | None
) -> AsyncIterator[pb.PutArtifactRequest]:
    yield pb.PutArtifactRequest(header=header)
    sent_bytes = 0
    while chunk := await asyncio.to_thread(source.read, CHUNK_BYTES):
        yield pb.PutArtifactRequest(chunk=chunk)
        sent_bytes += len(chunk)
        if on_sent is not None:
            on_sent(sent_bytes, header.size_bytes)


async def _download(channel: grpc.aio.Channel, digest: str, account: str, part: _Part) -> None:
    """Appends to the part what it lacks."""
    request = pb.GetArtifactRequest(digest=digest, offset=part.size_bytes, account=account)
    stream = ArtifactServiceStub(channel).GetArtifact(request)
    writing: asyncio.Future[None] | None = None
    try:
        async for answer in stream:
            if writing is not None:
                await asyncio.shield(writing)
            writing = asyncio.ensure_future(asyncio.to_thread(part.append, answer.chunk))
    except grpc.aio.AioRpcError as error:
        if from_rpc_error(error).reason != "OFFSET_OUT_OF_RANGE":
            raise
        # The part is longer than the artefact: its digest will say so, and the download starts again.
    finally:
        stream.cancel()
        if writing is not None:
            await writing


async def _persist(attempt: Callable[[], Awaitable[T]], progress: Callable[[], int]) -> T:
    """Runs `attempt` to its end; a broken connection is tried again while there is progress."""
    failures, reached = 0, progress()
    while True:
        try:
            return await attempt()
        except grpc.aio.AioRpcError as error:
            failure = from_rpc_error(error)
            failures = 1 if progress() > reached else failures + 1
            reached = progress()
            if failures == ATTEMPTS or not _is_passing(failure):
                raise failure from error
        await asyncio.sleep(_PAUSE_S * 2**failures)


def _is_passing(failure: YardError) -> bool:
    return isinstance(failure, ConnectionFailed) or failure.reason in _PASSING


def _digest_of(file: IO[bytes]) -> str:
    found = hashlib.sha256()
    while block := file.read(CHUNK_BYTES):
        found.update(block)
    return found.hexdigest()


class _Part:
    """What has arrived of a download, beside its destination. Its methods block, except where they say so.

    One process at a time goes on with a part; a second one gets a part of its own.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self._destination = path
        self._path = path.with_name(f".{path.name}.{digest[:16]}.part")
        self._file = self._path.open("a+b", buffering=0)
        # A cancelled download closes the file while its thread may still be writing.
        self._lock = threading.Lock()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            self._path = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
            self._file = self._path.open("x+b", buffering=0)
        self._file.seek(0)
        self._hash = hashlib.sha256()
        while block := self._file.read(CHUNK_BYTES):
            self._hash.update(block)
        self.size_bytes = self._file.tell()

    @property
    def digest(self) -> str:
        """Of what has arrived; does not block."""
        return self._hash.hexdigest()

    def append(self, block: bytes) -> None:
        """Writes a block; does nothing once closed."""
        with self._lock:
            if self._file.closed:
                return
            rest = memoryview(block)
            while rest:
                rest = rest[self._file.write(rest) :]
            self._hash.update(block)
            self.size_bytes += len(block)

    def restart(self) -> None:
        """Forgets what has arrived."""
        self._file.truncate(0)
        self._file.seek(0)
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def publish(self) -> None:
        """Gives the complete file its name, durably."""
        os.fsync(self._file.fileno())
        self._path.replace(self._destination)
        folder = os.open(self._destination.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Keeps what arrived for the next attempt; nothing stays where nothing arrived. Hardly blocks."""
        with self._lock:
            self._file.close()
            if self.size_bytes == 0:
                self._path.unlink(missing_ok=True)
