"""That a mutation is carried out once however often it is asked for: proofs for any unary RPC, by its descriptor."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor

from modelyard.channel import ACCOUNT_KEY
from tests.support.scheduler_service import refusal

Ask = Callable[[Any], Any]
"""Sends a request; its answer is to be awaited."""


def call(channel: grpc.aio.Channel, method: MethodDescriptor, request: Any, account: str = "") -> Any:
    """The answer, to be awaited; with an account on behalf of it."""
    metadata = ((ACCOUNT_KEY, account),) if account else None
    path = f"/{method.containing_service.full_name}/{method.name}"
    answer = message_factory.GetMessageClass(method.output_type)
    return channel.unary_unary(path, type(request).SerializeToString, answer.FromString)(
        request, metadata=metadata
    )


def under(request: Any, request_id: str) -> Any:
    """The request with this id."""
    request.request_id = request_id
    return request


async def prove_first_answer(
    ask: Ask, request: Any, other: Any, restart: Callable[[], Awaitable[Any]]
) -> None:
    """A repeated request gets the first answer, also after a restart; `other` under its id is refused."""
    request_id = str(uuid.uuid4())
    first = await ask(under(request, request_id))
    assert await ask(under(request, request_id)) == first
    assert (await refusal(ask(under(other, request_id)))).reason == "REQUEST_ID_REUSED"
    await restart()
    assert await ask(under(request, request_id)) == first
    assert (await refusal(ask(under(other, request_id)))).reason == "REQUEST_ID_REUSED"
    bad = await refusal(ask(under(request, "not a uuid")))
    assert (bad.reason, bad.field) == ("REQUEST_ID_INVALID", "request_id")


async def prove_once(ask: Ask, request: Any) -> None:
    """Requests under one id that come together get the same answer."""
    under(request, str(uuid.uuid4()))
    answers = await asyncio.gather(*[ask(request) for _ in range(5)])
    assert answers == [answers[0]] * 5
