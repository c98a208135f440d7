"""`client.artifacts`: put, get, stat, list, remove; and how files become inputs and bundles."""

from __future__ import annotations

import asyncio
import tempfile
from functools import cached_property
from pathlib import Path

from modelyard import artifacts
from modelyard.client.connection import Connection, new_request_id
from modelyard.client.specs import InvalidSpecification
from modelyard.v1 import artifact_pb2, artifact_pb2_grpc, task_pb2

INLINE_BYTES = 64 * 1024
"""Larger inputs go through the store."""

InputSource = bytes | str | Path
"""Bytes; a file by its Path; or text: an artefact as "sha256:<digest>", anything else is sent as UTF-8."""


class Artifacts:
    """Bytes by their sha256, as far as the caller's account may see them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def _stub(self) -> artifact_pb2_grpc.ArtifactServiceAsyncStub:
        return artifact_pb2_grpc.ArtifactServiceStub(self._connection.store())

    async def put(self, source: bytes | Path, *, name: str = "") -> artifact_pb2.Artifact:
        """Keeps bytes or a file; durable on return. Idempotent: identical bytes are kept once."""
        if isinstance(source, bytes):
            return await artifacts.put_bytes(self._connection.store(), source, name=name)
        return await artifacts.put_file(self._connection.store(), source, name=name or source.name)

    async def get(self, digest: str, path: Path) -> Path:
        """Downloads to a file, which appears complete and checked, or not at all."""
        return await artifacts.get_to_file(self._connection.store(), bare_digest(digest), path)

    async def read(self, digest: str) -> bytes:
        """The bytes of an artefact that fits memory."""
        with tempfile.TemporaryDirectory() as directory:
            path = await self.get(digest, Path(directory) / "artifact")
            return await asyncio.to_thread(path.read_bytes)

    async def stat(self, digest: str) -> artifact_pb2.Artifact:
        """The artefact without its bytes."""
        return await artifacts.stat(self._connection.store(), bare_digest(digest))

    async def list(
        self, name: str = "", *, page_size: int = 0, page_token: str = ""
    ) -> artifact_pb2.ListArtifactsResponse:
        """One page of artefacts, of this name if one is given."""
        request = artifact_pb2.ListArtifactsRequest(name=name, page_size=page_size, page_token=page_token)
        return await self._connection.unary(self._stub.ListArtifacts, request)

    async def remove(self, digest: str) -> None:
        """Refused while something refers to it."""
        request = artifact_pb2.DeleteArtifactRequest(request_id=new_request_id(), digest=bare_digest(digest))
        await self._connection.unary(self._stub.DeleteArtifact, request)

    async def bundle(self, directory: str | Path) -> str:
        """Packs a directory and keeps it; its digest. The same content is shipped once."""
        try:
            packed, digest = await asyncio.to_thread(artifacts.pack_directory, Path(directory))
        except artifacts.BundleInvalid as error:
            raise InvalidSpecification(str(error), "bundle_digest") from error
        try:
            await self.put(packed, name=f"{Path(directory).resolve().name}.tar.gz")
        finally:
            packed.unlink()
        return digest

    async def input(self, source: InputSource, name: str) -> task_pb2.Input:
        """An input of a task: up to 64 KiB inline, more through the store."""
        if isinstance(source, str) and source.startswith("sha256:"):
            return task_pb2.Input(digest=bare_digest(source))
        if isinstance(source, Path):
            if source.stat().st_size > INLINE_BYTES:
                return task_pb2.Input(digest=(await self.put(source)).digest)
            source = await asyncio.to_thread(source.read_bytes)
        data = source.encode() if isinstance(source, str) else source
        if len(data) > INLINE_BYTES:
            return task_pb2.Input(digest=(await self.put(data, name=name)).digest)
        return task_pb2.Input(data=data)


def bare_digest(digest: str) -> str:
    """64 hexadecimal digits of "sha256:…" or of themselves."""
    return digest.removeprefix("sha256:")
