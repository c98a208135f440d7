"""A replaced attempt of a task writes nothing any more (the zombie): real scheduler, real store, real tokens."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from modelyard.channel import connect
from modelyard.errors import YardError, from_rpc_error
from modelyard.v1 import agent_link_pb2 as links
from modelyard.v1 import artifact_pb2 as pb
from modelyard.v1 import task_pb2
from modelyard.v1.artifact_pb2_grpc import ArtifactServiceStub
from services.chassis.access.remote import RemoteAuthenticator
from tests.support.scheduler_service import command, scheduler_yard
from tests.support.scripted_agent import ScriptedAgent, connected
from tests.support.store_yard import store_yard
from tests.support.wait import wait_until

pytestmark = pytest.mark.asyncio


async def nothing() -> None:
    """In between."""


async def put(
    address: str, token: str, data: bytes, between: Callable[[], Awaitable[None]] = nothing
) -> pb.Artifact:
    """Uploads in two pieces; raises YardError."""

    async def requests() -> AsyncIterator[pb.PutArtifactRequest]:
        yield pb.PutArtifactRequest(header=pb.PutArtifactHeader(name="result", size_bytes=len(data)))
        yield pb.PutArtifactRequest(chunk=data[:2])
        await between()
        yield pb.PutArtifactRequest(chunk=data[2:])

    async with connect(address, token=token) as channel:
        try:
            return (await ArtifactServiceStub(channel).PutArtifact(requests())).artifact
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error


async def replaced(agent: ScriptedAgent, old: links.StartTask) -> links.StartTask:
    """The next attempt, after the agent has given the first one back."""
    agent.events(links.TaskEvent(task_id=old.task_id, attempt=old.attempt, epoch=old.epoch, retracted={}))
    return await agent.start(1)


async def refused(call: Awaitable[Any]) -> YardError:
    with pytest.raises(YardError) as caught:
        await call
    return caught.value


async def test_replaced_attempt_can_neither_write_nor_finish_what_it_began(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path / "scheduler") as yard:
        channel = yard.service_client.channel
        desk = RemoteAuthenticator(channel)
        async with (
            store_yard(tmp_path / "store", authenticator=desk) as store,
            connected(yard, script=lambda agent, start: None) as agent,
        ):
            (task_id,) = await yard.admin.submit(command())
            old = await agent.start()
            assert (await put(store.address, old.task_token, b"first")).size_bytes == 5

            new: list[links.StartTask] = []

            async def replace() -> None:
                await wait_until(lambda: store.engine._transfers, "the upload to have begun")
                new.append(await replaced(agent, old))

            late = b"written while it was replaced"
            error = await refused(put(store.address, old.task_token, late, replace))
            assert (error.code, error.reason) == ("UNAUTHENTICATED", "TOKEN_STALE")
            error = await refused(put(store.address, old.task_token, b"zombie"))
            assert error.reason == "TOKEN_STALE"
            assert "another attempt has taken its place" in error.message
            for lost in (late, b"zombie"):
                assert not store.blob_path(hashlib.sha256(lost).hexdigest()).exists()

            assert (await put(store.address, new[0].task_token, b"second")).size_bytes == 6
            agent.exit(new[0])
            assert (await yard.admin.wait(task_id)).state == task_pb2.TASK_STATE_SUCCEEDED
            error = await refused(put(store.address, new[0].task_token, b"too late"))
            assert error.reason == "TOKEN_STALE"
