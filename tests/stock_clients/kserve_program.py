"""What KServe's own client does with a server, by kserve alone.

It has no method for metadata, loading and unloading; those go by the stubs that it brings, whose messages are not those
of Triton.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import grpc
from every_type import ARRAYS, MODEL, arguments, code_named
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

Headers = tuple[tuple[str, str], ...]


def raw(datatype: str, *, name: str = "") -> InferInput:
    tensor = InferInput(name or f"in_{datatype.lower()}", list(ARRAYS[datatype].shape), datatype)
    tensor.set_data_from_numpy(ARRAYS[datatype], binary_data=True)
    return tensor


def typed(datatype: str) -> InferInput:
    data = ARRAYS[datatype].flatten().tolist()
    return InferInput(f"in_{datatype.lower()}", list(ARRAYS[datatype].shape), datatype, data=data)


def asked(*inputs: InferInput, model: str = MODEL) -> InferRequest:
    return InferRequest(model_name=model, infer_inputs=list(inputs), request_id="r-1", parameters={"seed": 7})


def same(response: Any, datatype: str) -> None:
    [found] = [one for one in response.outputs if one.name == f"out_{datatype.lower()}"]
    assert found.datatype == datatype and list(found.shape) == list(ARRAYS[datatype].shape), found
    assert (found.as_numpy() == ARRAYS[datatype]).all(), (datatype, found.as_numpy())


async def code_of(call: Any) -> str:
    try:
        await call
    except grpc.RpcError as error:
        return code_named(error.code())
    return "OK"


async def calls(client: InferenceGRPCClient, headers: Headers) -> list[str]:
    done = []
    assert await client.is_server_live(headers=headers) and await client.is_server_ready(headers=headers)
    assert await client.is_model_ready(MODEL, headers=headers)
    assert not await client.is_model_ready("no-such-model", headers=headers)
    done += ["live", "ready"]
    for datatype in ARRAYS:
        response = await client.infer(asked(raw(datatype)), headers=headers)
        assert response.id == "r-1" and response.model_name == MODEL
        same(response, datatype)
        done.append(f"raw {datatype}")
        if datatype != "FP16":
            same(await client.infer(asked(typed(datatype)), headers=headers), datatype)
            done.append(f"typed {datatype}")
    codes = {
        "NOT_FOUND": client.infer(asked(raw("FP32"), model="no-such-model"), headers=headers),
        "INVALID_ARGUMENT": client.infer(asked(raw("FP32", name="in_nothing")), headers=headers),
        "UNAUTHENTICATED": client.infer(asked(raw("FP32"))),
    }
    for code, call in codes.items():
        found = await code_of(call)
        assert found == code, (code, found)
        done.append(f"refused {code}")
    return done


async def by_stub(client: InferenceGRPCClient, headers: Headers) -> list[str]:
    stub = client._client_stub
    assert (await stub.ServerMetadata(pb.ServerMetadataRequest(), metadata=headers)).name == "modelyard"
    metadata = await stub.ModelMetadata(pb.ModelMetadataRequest(name=MODEL), metadata=headers)
    assert metadata.name == MODEL and set(ARRAYS) < {one.datatype for one in metadata.inputs}
    loaded = await stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=MODEL), metadata=headers)
    assert loaded.model_name == MODEL and loaded.isLoaded
    return ["metadata", "load"]


async def main() -> int:
    # It logs every refusal with its stack.
    logging.disable(logging.CRITICAL)
    host, key = arguments()
    headers = (("authorization", key),)
    async with InferenceGRPCClient(host) as client:
        done = await calls(client, headers) + await by_stub(client, headers)
    print(json.dumps(done))
    return 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
