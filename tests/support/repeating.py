"""Any unary RPC by its descriptor, and a request under an id: what tests of repeated requests are made of."""

from __future__ import annotations

from typing import Any

import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor


def call(channel: grpc.aio.Channel, method: MethodDescriptor, request: Any) -> Any:
    """The answer, to be awaited."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    answer = message_factory.GetMessageClass(method.output_type)
    return channel.unary_unary(path, type(request).SerializeToString, answer.FromString)(request)


def under(request: Any, request_id: str) -> Any:
    """The request with this id."""
    request.request_id = request_id
    return request
