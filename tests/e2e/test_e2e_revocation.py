"""A token that is revoked ends at once in every process of a yard, with what it has open there (S0.9, S2.6)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from modelyard.channel import connect
from modelyard.errors import from_rpc_error
from modelyard.oip.v2.inference_pb2_grpc import GRPCInferenceServiceStub
from modelyard.v1.artifact_pb2_grpc import ArtifactServiceStub
from modelyard.v1.task_pb2_grpc import TaskServiceStub
from tests.support.yard import Yard, new_yard

AT_ONCE_S = 10.0
"""Patience with a slow machine; without the word of the scheduler it would be 15 s for calls and 90 s for streams."""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard(is_up=False, agents=1) as made:
        result = made.up("--trainer", "--models")
        assert result.code == 0, f"{result.stderr}\n{made.logs()}"
        yield made


@contextlib.asynccontextmanager
async def channels_of(yard: Yard, secret: str) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
    """To each service, with the token."""
    places = {
        "scheduler": yard.endpoint, "store": yard.store, "graph": yard.graph, "trainer": yard.trainer,
        "models": yard.models,
    }  # fmt: skip
    async with contextlib.AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(connect(address, token=secret))
            for name, address in places.items()
        }


async def assert_refused(name: str, ending: Any) -> None:
    """The call ends, or has ended, because its token is no longer good."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async with asyncio.timeout(AT_ONCE_S):
            await ending
    found = from_rpc_error(refused.value)
    assert (found.code, found.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID"), (name, found)


@pytest.mark.asyncio
@pytest.mark.parametrize("what", ["token", "account"])
async def test_revocation_reaches_every_service_and_what_is_open_there(yard: Yard, what: str) -> None:
    async with yard.client() as admin:
        account = f"erin-{what}"
        await admin.accounts.add(account)
        made = await admin.tokens.add(account=account)
        async with channels_of(yard, made.secret) as channels:
            streams = await _opened(channels)
            if what == "token":
                await admin.tokens.remove(made.token.id)
            else:
                await admin.accounts.remove(account)
            for name, stream in streams.items():
                await assert_refused(name, stream if name == "upload" else stream.read())
            for name, channel in channels.items():
                await assert_refused(name, HealthStub(channel).Watch(HealthCheckRequest()).read())


async def _opened(channels: dict[str, grpc.aio.Channel]) -> dict[str, Any]:
    """By name. The watches are open; of the others, one that came too late would be refused in the same words."""
    watches = {name: HealthStub(channel).Watch(HealthCheckRequest()) for name, channel in channels.items()}
    for watch in watches.values():
        assert (await watch.read()).status == HealthCheckResponse.SERVING
    return {
        **watches,
        "session": TaskServiceStub(channels["scheduler"]).Session(),
        "upload": ArtifactServiceStub(channels["store"]).PutArtifact(),
        "calls": GRPCInferenceServiceStub(channels["models"]).ModelStreamInfer(),
    }
