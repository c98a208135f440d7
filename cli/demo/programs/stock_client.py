"""Calls a model with grpcio and nothing else: the server itself says, by reflection, which messages it takes.

`python stock_client.py HOST:PORT MODEL TOKEN_FILE [CA_FILE] < pictures.npy > guesses.npy`; how long it took: stderr.
"""

from __future__ import annotations

import io
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "inference.GRPCInferenceService"


class Bearer(grpc.UnaryUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):
    """The token, in plain metadata."""

    def __init__(self, token: str) -> None:
        self._metadata = (("authorization", f"Bearer {token}"),)

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(self._with(details), request)

    def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return continuation(self._with(details), requests)

    def _with(self, details: Any) -> Any:
        return details._replace(metadata=(*(details.metadata or ()), *self._metadata))


def opened(host: str, token_file: str, ca_file: str) -> grpc.Channel:
    if ca_file:
        channel = grpc.secure_channel(host, grpc.ssl_channel_credentials(Path(ca_file).read_bytes()))
    else:
        channel = grpc.insecure_channel(host)
    return grpc.intercept_channel(channel, Bearer(Path(token_file).read_text().strip()))


def main(host: str, model: str, token_file: str, ca_file: str = "") -> None:
    pictures = np.load(io.BytesIO(sys.stdin.buffer.read()))
    with opened(host, token_file, ca_file) as channel:
        known = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        method = known.FindServiceByName(SERVICE).FindMethodByName("ModelInfer")
        request_type, answer_type = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        metadata_type = GetMessageClass(known.FindMessageTypeByName("inference.ModelMetadataRequest"))
        infer = channel.unary_unary(
            f"/{SERVICE}/ModelInfer", request_type.SerializeToString, answer_type.FromString
        )
        describe = channel.unary_unary(
            f"/{SERVICE}/ModelMetadata", metadata_type.SerializeToString,
            GetMessageClass(known.FindMessageTypeByName("inference.ModelMetadataResponse")).FromString,
        )  # fmt: skip
        about: Any = describe(metadata_type(name=model), timeout=30)
        [told] = about.inputs
        print(f"{model} takes {told.name} {told.datatype} {list(told.shape)}", file=sys.stderr)
        guesses, times = [], []
        for picture in pictures:
            begun = time.perf_counter()
            request: Any = request_type(model_name=model)
            request.inputs.add(name=told.name, datatype=told.datatype, shape=[1, len(picture)])
            request.raw_input_contents.append(
                picture.astype("<f8" if told.datatype == "FP64" else "<f4").tobytes()
            )
            answer: Any = infer(request, timeout=30)
            kind = "<f8" if answer.outputs[0].datatype == "FP64" else "<f4"
            guesses.append(int(np.frombuffer(answer.raw_output_contents[0], kind).argmax()))
            times.append(time.perf_counter() - begun)
    print(f"{len(times)} calls, the median {statistics.median(times) * 1000:.1f} ms", file=sys.stderr)
    # Arrays are read from and written to files that can be sought in, and a pipe is none.
    made = io.BytesIO()
    np.save(made, np.array(guesses))
    sys.stdout.buffer.write(made.getvalue())


if __name__ == "__main__":
    main(*sys.argv[1:])
