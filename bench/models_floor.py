"""The floor of `bench models`: a bare grpc.aio server that gives tensors back.

`python -m bench.models_floor` says its port.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import grpc.aio

from modelyard.oip.v2 import inference_pb2 as pb

SIZES = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]


async def infer(request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:
    answer = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
    for tensor, data in zip(request.inputs, request.raw_input_contents, strict=True):
        answer.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        answer.raw_output_contents.append(data)
    return answer


async def main() -> None:
    server = grpc.aio.server(options=SIZES)
    handler = grpc.unary_unary_rpc_method_handler(
        infer, pb.ModelInferRequest.FromString, pb.ModelInferResponse.SerializeToString
    )
    service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(main())
