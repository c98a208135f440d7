"""The protocol's front with frames that answer as they are told: what is asked, what comes back, what is refused."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from modelyard.channel import connect
from modelyard.errors import YardError, from_rpc_error
from modelyard.oip.v2 import inference_pb2 as pb
from modelyard.oip.v2 import inference_pb2_grpc as rpc
from tests.support.scripted_frames import ALICE, CallsWorld, calls_world, echo_config

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[CallsWorld]:
    async with calls_world(tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def stub(world: CallsWorld) -> AsyncIterator[Any]:
    async with connect(await world.serve(), token=ALICE) as channel:
        yield rpc.GRPCInferenceServiceStub(channel)


def raw(*rows: float, name: str = "echo") -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=name, id="7")
    request.inputs.add(name="in_fp32", datatype="FP32", shape=[1, len(rows)])
    request.raw_input_contents.append(struct.pack(f"<{len(rows)}f", *rows))
    return request


async def refusal(call: Any) -> YardError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_raw_request_is_answered_raw(world: CallsWorld, stub: Any) -> None:  # S2.5
    await world.frame(world.versions.add(echo_config()))
    answer = await stub.ModelInfer(raw(1.0, 2.0), timeout=5)
    assert (answer.model_name, answer.model_version, answer.id) == ("echo", "1", "7")
    assert answer.outputs[0].name == "out_fp32"
    assert list(answer.outputs[0].shape) == [1, 2]
    assert not answer.outputs[0].HasField("contents")
    assert struct.unpack("<2f", answer.raw_output_contents[0]) == (1.0, 2.0)


async def test_typed_request_is_answered_typed(world: CallsWorld, stub: Any) -> None:  # S2.5
    await world.frame(world.versions.add(echo_config()))
    request = pb.ModelInferRequest(model_name="echo")
    request.inputs.add(name="in_fp32", datatype="FP32", shape=[2, 1]).contents.fp32_contents.extend(
        [1.5, 2.5]
    )
    answer = await stub.ModelInfer(request, timeout=5)
    assert list(answer.outputs[0].contents.fp32_contents) == [1.5, 2.5]
    assert not answer.raw_output_contents
