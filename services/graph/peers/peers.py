"""Outgoing calls: what is asked of the scheduler and of the store, always for an account."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from hashlib import sha256

import grpc
import grpc.aio
import msgspec

from modelyard.errors import YardError, from_rpc_error
from modelyard.v1 import (
    artifact_pb2,
    artifact_pb2_grpc,
    task_pb2,
    task_pb2_grpc,
)
from services.chassis.peers.sessions import Listener, Session, on_behalf_of
from services.graph.runs.places import Place

CALL_S = 20.0
ID_REUSED = "REQUEST_ID_REUSED"
CHUNK_BYTES = 1 << 20
REFERENCES_MOST = 1_000


class Batch(msgspec.Struct, frozen=True):
    """A submission that is on disk."""

    number: int
    run: int
    places: tuple[Place, ...]
    request: task_pb2.SubmitTasksRequest


class Scheduler:
    """Everything that is asked of the scheduler."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._tasks = task_pb2_grpc.TaskServiceStub(channel)

    def session(self, account: str, listener: Listener[Batch]) -> Session[Batch]:
        return Session(self._channel, account, listener)

    async def cancel(self, account: str, tasks: Sequence[str]) -> None:
        """Asks them to end, all or, where one is not there, none. Idempotent. Raises YardError."""
        request = task_pb2.CancelTasksRequest(task_ids=tasks, comment="its run ended")
        try:
            await self._tasks.CancelTasks(request, metadata=on_behalf_of(account), timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def made_by(self, account: str, request: task_pb2.SubmitTasksRequest) -> Sequence[str]:
        """Tasks of a submission of which it is not known whether it arrived; they are not to start. Raises YardError.

        Under its id the tasks are asked for as held ones: refused means that it arrived, and its tasks are told; else
        they are made now, held. Idempotent.
        """
        held = task_pb2.SubmitTasksRequest()
        held.CopyFrom(request)
        for spec in held.specs:
            spec.hold = True
        try:
            return await self._submit(account, held)
        except YardError as error:
            if error.reason != ID_REUSED:
                raise
        return await self._submit(account, request)

    async def _submit(self, account: str, request: task_pb2.SubmitTasksRequest) -> Sequence[str]:
        try:
            answer = await self._tasks.SubmitTasks(request, metadata=on_behalf_of(account), timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return answer.task_ids


class Artifacts:
    """What is asked of the store, always for an account."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = artifact_pb2_grpc.ArtifactServiceStub(channel)

    async def hold(self, account: str, holder: str, digests: Sequence[str]) -> None:
        """The holder refers to them; none: to nothing any more. Idempotent. Raises YardError."""
        try:
            if not digests:
                remove = artifact_pb2.RemoveReferencesRequest(holder=holder)
                await self._stub.RemoveReferences(remove, timeout=CALL_S)
            for start in range(0, len(digests), REFERENCES_MOST):
                some = digests[start : start + REFERENCES_MOST]
                request = artifact_pb2.AddReferencesRequest(account=account, holder=holder, digests=some)
                await self._stub.AddReferences(request, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def put(self, account: str, data: bytes, holder: str) -> str:
        """Keeps the bytes; their digest. Idempotent. Raises YardError."""
        digest = sha256(data).hexdigest()

        async def parts() -> AsyncIterator[artifact_pb2.PutArtifactRequest]:
            header = artifact_pb2.PutArtifactHeader(
                digest=digest, size_bytes=len(data), account=account, holder=holder, name="inputs.json"
            )
            yield artifact_pb2.PutArtifactRequest(header=header)
            for start in range(0, len(data), CHUNK_BYTES):
                yield artifact_pb2.PutArtifactRequest(chunk=data[start : start + CHUNK_BYTES])

        try:
            await self._stub.PutArtifact(parts())
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return digest

    async def read(self, account: str, digest: str, bytes_most: int) -> bytes:
        """The bytes of a small artefact. Raises YardError; ValueError where it is larger."""
        found = bytearray()
        try:
            call = self._stub.GetArtifact(artifact_pb2.GetArtifactRequest(digest=digest, account=account))
            async for part in call:
                found += part.chunk
                if len(found) > bytes_most:
                    raise ValueError(f"the artefact has more than {bytes_most} bytes")
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return bytes(found)
