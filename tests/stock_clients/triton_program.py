"""What Triton's own clients do with a server, blocking, on asyncio and streaming, by tritonclient alone."""

from __future__ import annotations

import asyncio
import json
import queue
from typing import Any

import ml_dtypes
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from every_type import ARRAYS as COMMON
from every_type import MODEL, arguments, code_named
from tritonclient.utils import InferenceServerException

ARRAYS = COMMON | {"BF16": np.array([[1.0, -3.0]], ml_dtypes.bfloat16)}


def given(module: Any, datatype: str) -> list[Any]:
    tensor = module.InferInput(f"in_{datatype.lower()}", list(ARRAYS[datatype].shape), datatype)
    tensor.set_data_from_numpy(ARRAYS[datatype])
    return [tensor]


def same(result: Any, datatype: str) -> None:
    found = result.as_numpy(f"out_{datatype.lower()}")
    assert found is not None and found.shape == ARRAYS[datatype].shape, (datatype, found)
    assert (found == ARRAYS[datatype]).all(), (datatype, found)


def code_of(call: Any) -> str:
    try:
        call()
    except InferenceServerException as error:
        return code_named(error.status())
    return "OK"


def blocking(host: str, headers: dict[str, str]) -> list[str]:
    done = []
    with triton.InferenceServerClient(host) as client:
        assert client.is_server_live(headers=headers) and client.is_server_ready(headers=headers)
        assert client.is_model_ready(MODEL, headers=headers)
        assert not client.is_model_ready("no-such-model", headers=headers)
        assert client.get_server_metadata(headers=headers).name == "modelyard"
        metadata = client.get_model_metadata(MODEL, headers=headers)
        assert {one.datatype for one in metadata.inputs} == set(ARRAYS)
        config = client.get_model_config(MODEL, headers=headers, as_json=True)["config"]
        assert config["name"] == MODEL and len(config["input"]) == len(ARRAYS)
        done += ["live", "ready", "metadata", "config"]
        for datatype in ARRAYS:
            same(client.infer(MODEL, given(triton, datatype), headers=headers, request_id="r-1"), datatype)
            done.append(f"infer {datatype}")
        future: queue.Queue[Any] = queue.Queue()
        client.async_infer(
            MODEL, given(triton, "FP32"), lambda result, error: future.put((result, error)), headers=headers
        )
        result, error = future.get(timeout=30)
        assert error is None, error
        same(result, "FP32")
        done.append("callback")
        wanted = [triton.InferRequestedOutput("out_fp32")]
        result = client.infer(
            MODEL, [*given(triton, "FP32"), *given(triton, "INT8")], outputs=wanted, headers=headers, priority=3,
            timeout=10_000_000, client_timeout=10, parameters={"seed": 7},
        )  # fmt: skip
        assert [one.name for one in result.get_response().outputs] == ["out_fp32"]
        done.append("outputs")
        stats = client.get_inference_statistics(MODEL, headers=headers)
        assert stats.model_stats[0].inference_stats.success.count >= len(ARRAYS)
        client.load_model(MODEL, headers=headers)
        index = client.get_model_repository_index(headers=headers)
        assert (MODEL, "READY") in {(one.name, one.state) for one in index.models}
        done += ["statistics", "load", "index"]
        return done + refusals(client, headers) + stream(host, headers)


def refusals(client: Any, headers: dict[str, str]) -> list[str]:
    wrong = triton.InferInput("in_fp32", [1, 2], "INT32")
    wrong.set_data_from_numpy(np.array([[1, 2]], np.int32))
    long = triton.InferInput("in_fp64", [1 << 18, 2], "FP64")
    long.set_data_from_numpy(np.zeros((1 << 18, 2)))
    codes = {
        "NOT_FOUND": lambda: client.infer("no-such-model", given(triton, "FP32"), headers=headers),
        "INVALID_ARGUMENT": lambda: client.infer(MODEL, [wrong], headers=headers),
        "UNAUTHENTICATED": lambda: client.infer(MODEL, given(triton, "FP32")),
        "DEADLINE_EXCEEDED": lambda: client.infer(MODEL, [long], headers=headers, client_timeout=0.001),
    }
    for code, call in codes.items():
        found = code_of(call)
        assert found == code, (code, found)
    return [f"refused {code}" for code in codes]


def stream(host: str, headers: dict[str, str]) -> list[str]:
    answers: queue.Queue[Any] = queue.Queue()
    with triton.InferenceServerClient(host) as client:
        client.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
        for at in range(5):
            client.async_stream_infer(MODEL, given(triton, "INT64"), request_id=str(at))
        client.async_stream_infer("no-such-model", given(triton, "INT64"), request_id="bad")
        client.async_stream_infer(MODEL, given(triton, "BYTES"), request_id="after")
        got = [answers.get(timeout=30) for _ in range(7)]
        client.stop_stream()
    for at, (result, error) in enumerate(got[:5]):
        assert error is None, error
        response = result.get_response()
        assert response.id == str(at)
        assert response.parameters["triton_final_response"].bool_param
        same(result, "INT64")
    assert got[5][1] is not None and "no-such-model" in str(got[5][1])
    same(got[6][0], "BYTES")
    return ["stream"]


async def on_asyncio(host: str, headers: dict[str, str]) -> list[str]:
    async with triton_aio.InferenceServerClient(host) as client:
        assert await client.is_server_live(headers=headers)
        results = await asyncio.gather(
            *(client.infer(MODEL, given(triton_aio, datatype), headers=headers) for datatype in ARRAYS)
        )
        for datatype, result in zip(ARRAYS, results, strict=True):
            same(result, datatype)

        async def requests() -> Any:
            for at in range(3):
                yield {"model_name": MODEL, "inputs": given(triton_aio, "FP64"), "request_id": str(at)}

        count = 0
        async for result, error in client.stream_infer(requests(), headers=headers):
            assert error is None, error
            same(result, "FP64")
            count += 1
        assert count == 3
    return ["asyncio", "asyncio stream"]


def main() -> int:
    host, key = arguments()
    headers = {"authorization": key}
    done = blocking(host, headers)
    done += asyncio.run(on_asyncio(host, headers))
    print(json.dumps(done))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
