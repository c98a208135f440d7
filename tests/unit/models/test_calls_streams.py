"""Many calls on one stream, and calls that are answered part by part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc.aio
import pytest

from modelyard.oip.v2 import inference_pb2 as pb
from services.chassis.security import NOBODY
from services.models.calls import streaming
from services.models.calls.messages import Request
from tests.support.inference import floats, raw, refusal
from tests.support.scripted_frames import CallsWorld, ScriptedFrame, echo_config

pytestmark = pytest.mark.asyncio


async def answers(stream: Any) -> list[pb.ModelStreamInferResponse]:
    return [answer async for answer in stream]


async def test_answers_come_in_the_order_of_their_requests(world: CallsWorld, stub: Any) -> None:  # S2.5
    frame = await world.frame(world.versions.add(echo_config(is_idempotent=True)))
    held: list[Any] = []

    async def backwards(head: dict[str, Any], buffers: list[memoryview]) -> None:
        held.append((head, buffers))
        if len(held) == 2:
            for one in reversed(held):
                frame.answer(*one)

    frame.conduct = backwards
    found = await answers(stub.ModelStreamInfer(iter([raw(0.0, id="a"), raw(1.0, id="b")]), timeout=5))
    assert [one.infer_response.id for one in found] == ["a", "b"]
    assert all(one.infer_response.parameters["triton_final_response"].bool_param for one in found)


async def test_error_is_an_answer_and_the_stream_goes_on(world: CallsWorld, stub: Any) -> None:  # S2.5
    await world.frame(world.versions.add(echo_config()))
    requests = [raw(0.0), raw(1.0, model_name="other", id="9"), raw(2.0)]
    first, second, third = await answers(stub.ModelStreamInfer(iter(requests), timeout=5))
    assert floats(first.infer_response) == (0.0,)
    assert "other" in second.error_message
    assert second.infer_response.id == "9"
    assert second.infer_response.parameters["code"].string_param == "NOT_FOUND"
    assert floats(third.infer_response) == (2.0,)


async def test_error_ends_the_stream_where_that_is_asked_for(world: CallsWorld, stub: Any) -> None:
    await world.frame(world.versions.add(echo_config()))
    stream = stub.ModelStreamInfer(
        iter([raw(1.0, model_name="other")]), timeout=5, metadata=(("triton_grpc_error", "true"),)
    )
    assert (await refusal(answers(stream))).code == "NOT_FOUND"


def in_parts(frame: ScriptedFrame, count: int) -> None:
    async def parts(head: dict[str, Any], buffers: list[memoryview]) -> None:
        for _ in range(count):
            frame.answer(head, buffers, "part")
        frame.send({"kind": "result", "id": head["id"], "outputs": [], "is_last": True})

    frame.conduct = parts


@pytest.mark.parametrize("wants_empty", [False, True])
async def test_parts_are_answers_of_one_request(
    world: CallsWorld, stub: Any, wants_empty: bool
) -> None:  # S2.5
    in_parts(await world.frame(world.versions.add(echo_config())), 3)
    request = raw(1.0)
    request.parameters["triton_enable_empty_final_response"].bool_param = wants_empty
    found = await answers(stub.ModelStreamInfer(iter([request]), timeout=5))
    finals = [one.infer_response.parameters["triton_final_response"].bool_param for one in found]
    assert finals == [False] * 3 + [True] * wants_empty
    assert [len(one.infer_response.outputs) for one in found] == [1, 1, 1] + [0] * wants_empty


async def test_parts_are_refused_to_who_wants_one_answer(world: CallsWorld, stub: Any) -> None:
    frame = await world.frame(world.versions.add(echo_config()))
    in_parts(frame, 2)
    error = await refusal(stub.ModelInfer(raw(1.0), timeout=5))
    assert (error.code, error.reason) == ("UNIMPLEMENTED", "ANSWERS_IN_PARTS")
    await world.until(lambda: bool(frame.cancelled))


async def test_stream_that_is_left_cancels_its_calls(world: CallsWorld, stub: Any) -> None:  # S2.6
    frame = await world.frame(world.versions.add(echo_config()))
    frame.conduct = frame.silence

    async def requests() -> AsyncIterator[pb.ModelInferRequest]:
        yield raw(1.0)
        await asyncio.Event().wait()

    stream = stub.ModelStreamInfer(requests(), timeout=20)
    await world.until(lambda: len(frame.calls) == 1)
    stream.cancel()
    await world.until(lambda: frame.cancelled == [frame.calls[0]["id"]])
    with pytest.raises((asyncio.CancelledError, grpc.aio.AioRpcError)):
        await stream.read()


async def test_stream_that_is_cancelled_while_it_is_left_cancels_its_calls() -> None:  # S2.6
    # A call whose message could not be sent any more is cancelled while it tidies up.
    under_way: set[str] = set()
    begun = asyncio.Event()

    class Slow:
        async def infer(self, caller: Any, request: Request, *_: Any) -> None:
            under_way.add(request.message.id)
            if len(under_way) == 2:
                begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                under_way.remove(request.message.id)

    async def requests() -> AsyncIterator[Request]:
        for number in range(2):
            yield Request(raw(1.0, id=str(number)), [])
        await asyncio.Event().wait()

    async def read() -> None:
        async for _ in streaming.answers(cast(Any, Slow()), NOBODY, requests(), lambda: None, False):
            pass

    reading = asyncio.create_task(read())
    await begun.wait()
    reading.cancel()
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not under_way
