"""The RPC edge: whose call it is, one call of the engine, the answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any, TypeAlias

import grpc.aio

from modelyard.v1 import artifact_pb2 as pb
from modelyard.v1.artifact_pb2_grpc import ArtifactServiceServicer
from services.chassis.audit.log import note_in_stream
from services.chassis.errors import ServiceError
from services.chassis.requests.paging import decode_token, encode_token, page_size
from services.chassis.rpc.interceptors import MalformedMessage
from services.chassis.security import principal
from services.store.convert import (
    artifact_message,
    cursor_of,
    digest_of,
    digests_of,
    holder_of,
    name_filter_of,
    position_of,
    request_id_of,
    since_ms_of,
    wish_of,
)
from services.store.engine import Engine
from services.store.model import CHUNK_BYTES, STALL_S, ChunkTooLarge, UploadMalformed, UploadStalled, Wish
from services.store.servicer.accounts import account_for, check_holder, reach_of
from services.store.servicer.fence import Fence
from services.store.servicer.local import LocalFiles

LINGER_S = 0.5
LINGER_MESSAGES = 8

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


_PUT = "ArtifactService/PutArtifact"


class ArtifactServicer(ArtifactServiceServicer):
    """ArtifactService of artifact.proto."""

    def __init__(self, engine: Engine, fence: Fence, local: LocalFiles) -> None:
        self._engine = engine
        self._fence = fence
        self._local = local

    async def PutArtifact(
        self, request_iterator: AsyncIterator[pb.PutArtifactRequest], context: Context
    ) -> pb.PutArtifactResponse:
        try:
            wish, file = await _read_wish(request_iterator)
            if file is None:
                chunks = self._fence.around(_read_chunks(request_iterator), context)
            else:
                chunks = self._local.read(principal(), file, wish.size_bytes)
            artifact = await self._engine.put(wish, chunks)
        except ServiceError as error:
            note_in_stream(_PUT, "", code=error.code, reason=error.reason)
            await _let_finish(request_iterator)
            raise
        note_in_stream(_PUT, f"artifacts/{artifact.digest}")
        await _let_finish(request_iterator)
        return pb.PutArtifactResponse(artifact=artifact_message(artifact))

    async def GetArtifact(
        self, request: pb.GetArtifactRequest, context: Context
    ) -> AsyncIterator[pb.GetArtifactResponse]:
        account = account_for(principal(), request.account)
        artifact = await self._engine.find(account, digest_of(request.digest))
        offset, size_bytes = request.offset, artifact.size_bytes
        async with aclosing(self._engine.read(artifact, offset)) as blocks:
            async for block in blocks:
                yield pb.GetArtifactResponse(chunk=block, offset=offset, size_bytes=size_bytes)
                offset += len(block)
        if offset == request.offset:
            yield pb.GetArtifactResponse(offset=offset, size_bytes=size_bytes)

    async def StatArtifact(
        self, request: pb.StatArtifactRequest, context: Context
    ) -> pb.StatArtifactResponse:
        account = account_for(principal(), request.account)
        artifact = await self._engine.find(account, digest_of(request.digest))
        return pb.StatArtifactResponse(artifact=artifact_message(artifact))

    async def ListArtifacts(
        self, request: pb.ListArtifactsRequest, context: Context
    ) -> pb.ListArtifactsResponse:
        account, name = account_for(principal(), request.account), name_filter_of(request.name)
        prefix = name_filter_of(request.name_prefix, "name_prefix")
        since_ms = since_ms_of(request.since_time)
        filter_key = f"{account}\n{name}\n{prefix}\n{since_ms}".encode()
        most = page_size(request.page_size)
        after = position_of(decode_token(request.page_token, filter_key))
        found = await self._engine.page(account, name, after, most + 1, prefix=prefix, since_ms=since_ms)
        more = encode_token(cursor_of(found[most - 1]), filter_key) if len(found) > most else ""
        return pb.ListArtifactsResponse(
            artifacts=[artifact_message(artifact) for artifact in found[:most]], next_page_token=more
        )

    async def DeleteArtifact(
        self, request: pb.DeleteArtifactRequest, context: Context
    ) -> pb.DeleteArtifactResponse:
        account = account_for(principal(), request.account)
        await self._engine.delete(account, digest_of(request.digest), request_id_of(request.request_id))
        return pb.DeleteArtifactResponse()

    async def AddReferences(
        self, request: pb.AddReferencesRequest, context: Context
    ) -> pb.AddReferencesResponse:
        account, holder = account_for(principal(), request.account), holder_of(request.holder)
        check_holder(principal(), holder)
        await self._engine.add_references(account, holder, digests_of(list(request.digests)))
        return pb.AddReferencesResponse()

    async def RemoveReferences(
        self, request: pb.RemoveReferencesRequest, context: Context
    ) -> pb.RemoveReferencesResponse:
        holder = holder_of(request.holder)
        check_holder(principal(), holder)
        await self._engine.remove_references(holder, reach_of(principal()))
        return pb.RemoveReferencesResponse()


async def _read_wish(requests: AsyncIterator[pb.PutArtifactRequest]) -> tuple[Wish, pb.LocalFile | None]:
    """What is said of the upload, and the file that holds it if it is not sent."""
    first = await _next_request(requests)
    if first is None or first.WhichOneof("part") != "header":
        raise UploadMalformed(field="header", next_step="Send the header first.")
    wish = wish_of(first.header, account_for(principal(), first.header.account))
    if wish.holder:
        check_holder(principal(), wish.holder)
    return wish, first.header.local_file if first.header.HasField("local_file") else None


async def _read_chunks(requests: AsyncIterator[pb.PutArtifactRequest]) -> AsyncIterator[bytes]:
    while (request := await _next_request(requests)) is not None:
        if request.WhichOneof("part") != "chunk":
            raise UploadMalformed(field="chunk", next_step="After the header send chunks only.")
        if len(request.chunk) > CHUNK_BYTES:
            raise ChunkTooLarge(field="chunk", metadata={"size_bytes": str(len(request.chunk))})
        yield request.chunk


async def _let_finish(requests: AsyncIterator[pb.PutArtifactRequest]) -> None:
    """Reads on for a moment: Python's client reports INTERNAL when it is answered while it sends."""
    with suppress(TimeoutError, MalformedMessage):
        async with asyncio.timeout(LINGER_S):
            for _ in range(LINGER_MESSAGES):
                if await anext(requests, None) is None:
                    return


async def _next_request(requests: AsyncIterator[pb.PutArtifactRequest]) -> pb.PutArtifactRequest | None:
    try:
        async with asyncio.timeout(STALL_S):
            return await anext(requests, None)
    except TimeoutError as error:
        raise UploadStalled(next_step="Send the upload again.") from error
