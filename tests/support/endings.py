"""How an RPC ends that is asked with anything: its code and its words."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from modelyard.errors import from_rpc_error

NEVER = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
"""How none may end, whatever it is asked with."""


async def ending_of(
    channel: grpc.aio.Channel, method: MethodDescriptor, request: Message, timeout_s: float = 20
) -> tuple[grpc.StatusCode, str]:
    """Of a stream of answers its first message counts."""
    answer = message_factory.GetMessageClass(method.output_type)
    path = f"/{method.containing_service.full_name}/{method.name}"
    kind = channel.unary_stream if method.server_streaming else channel.unary_unary
    call = kind(path, type(request).SerializeToString, answer.FromString)(request, timeout=timeout_s)
    try:
        await asyncio.wait_for(call.read() if method.server_streaming else call, 20)
    except grpc.aio.AioRpcError as error:
        return error.code(), from_rpc_error(error).message
    finally:
        call.cancel()
    return grpc.StatusCode.OK, ""
