"""Two stock clients whose key changes while they run: `python triton_keys.py HOST`, by tritonclient and by plain grpc.

Reads a token a line from its standard input, calls the model `every-type` by it on both connections, which stay the
same all the time, and prints the codes as one JSON object. Nothing of this project is imported.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton
from every_type import MODEL, code_named
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException


def of_triton(client: Any, token: str) -> str:
    tensor = triton.InferInput("in_fp32", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.array([[1, 2]], np.float32))
    try:
        client.infer(MODEL, [tensor], headers={"authorization": f"Bearer {token}"}, client_timeout=60)
    except InferenceServerException as error:
        return code_named(error.status())
    return "OK"


def of_grpc(stub: Any, token: str) -> str:
    request = service_pb2.ModelInferRequest(model_name=MODEL)
    request.inputs.add(name="in_fp32", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([1, 2])
    try:
        stub.ModelInfer(request, metadata=(("authorization", f"Bearer {token}"),), timeout=60)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def main() -> int:
    host = sys.argv[1]
    with triton.InferenceServerClient(host) as client, grpc.insecure_channel(host) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        ways: dict[str, Callable[[str], str]] = {
            "tritonclient": lambda token: of_triton(client, token),
            "grpc": lambda token: of_grpc(stub, token),
        }
        for line in sys.stdin:
            print(json.dumps({name: call(line.strip()) for name, call in ways.items()}), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
