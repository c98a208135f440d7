"""Requests of the Open Inference Protocol for tests."""

from __future__ import annotations

import struct
from typing import Any

import grpc.aio
import pytest

from modelyard.errors import YardError, from_rpc_error
from modelyard.oip.v2 import inference_pb2 as pb


def raw(*row: float, rows: int = 1, **more: Any) -> pb.ModelInferRequest:
    """FP32 for the echo, `rows` times the same row."""
    request = pb.ModelInferRequest(**{"model_name": "echo", "id": "7", **more})
    request.inputs.add(name="in_fp32", datatype="FP32", shape=[rows, len(row)])
    request.raw_input_contents.append(struct.pack(f"<{len(row)}f", *row) * rows)
    return request


def floats(answer: pb.ModelInferResponse) -> tuple[float, ...]:
    """Of a raw answer."""
    data = answer.raw_output_contents[0]
    return struct.unpack(f"<{len(data) // 4}f", data)


async def refusal(call: Any) -> YardError:
    """What the call is refused with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)
