"""Any unary RPC by its descriptor, and a request under an id: what tests of repeated requests are made of."""

from __future__ import annotations

from typing import Any

import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor

from modelyard.channel import ACCOUNT_KEY


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
