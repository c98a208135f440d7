"""`client.artifacts`: put, get, stat, list, remove; and how files become inputs and bundles."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

from modelyard import artifacts
from modelyard.client.connection import Connection, new_request_id
from modelyard.client.specs import InvalidSpecification
from modelyard.v1 import artifact_pb2, artifact_pb2_grpc, task_pb2

INLINE_BYTES = 64 * 1024
"""Larger inputs go through the store."""

InputSource = bytes | str | Path
"""Bytes; a file by its Path; or text: an artefact as "sha256:<digest>", anything else is sent as UTF-8."""


AttachmentSource = str | Path
"""A file or a directory by its path, or an artefact as "sha256:<digest>"."""

Uploading = Callable[[str, int, int], None]
"""Name, bytes sent so far, bytes in all."""


class Artifacts:
    """Bytes by their sha256, as far as the caller's account may see them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # Called while a file is sent.
        self.on_upload: Uploading | None = None

    @cached_property
    def _stub(self) -> artifact_pb2_grpc.ArtifactServiceAsyncStub:
        return artifact_pb2_grpc.ArtifactServiceStub(self._connection.store())

    async def put(self, source: bytes | Path, *, name: str = "") -> artifact_pb2.Artifact:
        """Keeps bytes or a file; durable on return. Idempotent: identical bytes are kept once."""
        if isinstance(source, bytes):
            return await artifacts.put_bytes(self._connection.store(), source, name=name)
        name = name or source.name
        on_sent = None if self.on_upload is None else partial(self.on_upload, name)
        return await artifacts.put_file(self._connection.store(), source, name=name, on_sent=on_sent)

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
        return await self._pack(Path(directory), "bundle_digest")

    async def attachment(self, source: AttachmentSource, path: str) -> task_pb2.Attachment:
        """A file or directory as it will lie at ``path``; kept in the store. The same content is shipped once.

        Raises InvalidSpecification for what is neither.
        """
        if isinstance(source, str) and source.startswith("sha256:"):
            return task_pb2.Attachment(path=path, digest=bare_digest(source))
        source = Path(source)
        if source.is_dir():
            digest = await self._pack(source, "attachments")
            return task_pb2.Attachment(path=path, digest=digest, is_directory=True)
        if not source.is_file():
            raise InvalidSpecification(
                f"attachment {source}: there is no such file or directory", "attachments"
            )
        return task_pb2.Attachment(path=path, digest=(await self.put(source)).digest)

    async def _pack(self, directory: Path, field: str) -> str:
        try:
            packed, digest = await asyncio.to_thread(artifacts.pack_directory, directory)
        except artifacts.BundleInvalid as error:
            raise InvalidSpecification(str(error), field) from error
        try:
            await self.put(packed, name=f"{directory.resolve().name}.tar.gz")
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
