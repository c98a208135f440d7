"""Every RPC of the store, found from the descriptors, with boundary values: never UNKNOWN or INTERNAL, nothing lost."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from modelyard.v1 import artifact_pb2
from tests.support.mutations import mutate
from tests.support.store_yard import Client, sha256, store_yard

METHODS: list[MethodDescriptor] = list(artifact_pb2.DESCRIPTOR.services_by_name["ArtifactService"].methods)
MUTATIONS = 200
KEPT = b"what must survive"
HOLDER = "user:kept"
NEVER = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)


def requests(method: MethodDescriptor, chance: random.Random) -> list[Message]:
    """One request, or the parts of an upload; half of them name what is there."""
    kind = message_factory.GetMessageClass(method.input_type)
    made = [kind() for _ in range(chance.choice((0, 1, 2, 5)) if method.client_streaming else 1)]
    for request in made:
        mutate(request, chance)
        if "digest" in request.DESCRIPTOR.fields_by_name and chance.random() < 0.5:
            request.digest = sha256(KEPT)  # type: ignore[attr-defined]
    return made


async def code_of(client: Client, method: MethodDescriptor, parts: list[Message]) -> grpc.StatusCode:
    """What the call ends with."""

    async def stream() -> AsyncIterator[Any]:
        for part in parts:
            yield part

    call = getattr(client.stub, method.name)(stream() if method.client_streaming else parts[0], timeout=20)
    try:
        if method.server_streaming:
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.asyncio
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
async def test_rpc_boundary_values_are_refused_in_words_and_lose_nothing(
    method: MethodDescriptor, tmp_path: Path
) -> None:
    chance = random.Random(method.name)
    async with store_yard(tmp_path) as yard, Client(yard.address, "ada") as client:
        await client.put(KEPT, holder=HOLDER)
        for _ in range(MUTATIONS):
            parts = requests(method, chance)
            code = await code_of(client, method, parts)
            assert code not in NEVER, f"{code.name} for {parts}"
        assert await client.get(sha256(KEPT)) == KEPT
