"""Requests that are wrong in one way each, and questions about what there is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from modelyard.oip.v2 import inference_pb2 as pb
from tests.differential.corpus import example_of

Ask = Callable[[Any], Any]


def changed(model: str, change: Callable[[Any], Any], *, typed: bool = False) -> Ask:
    """A right request with one change."""
    request = pb.ModelInferRequest()
    request.CopyFrom(example_of(model).typed if typed else example_of(model).raw)
    change(request)
    return lambda stub: stub.ModelInfer(request)


def again(request: Any) -> None:
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(request.raw_input_contents[0])


def other(request: Any) -> None:
    request.inputs.append(request.inputs[0])
    request.inputs[-1].name = "no_such_input"
    request.raw_input_contents.append(request.raw_input_contents[0])


def nothing(request: Any) -> None:
    del request.inputs[:]
    del request.raw_input_contents[:]


def one_less(request: Any) -> None:
    del request.inputs[-1], request.raw_input_contents[-1]


def shaped(*shape: int) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        request.inputs[0].shape[:] = shape

    return change


def of_doubles(request: Any) -> None:
    request.inputs[0].datatype = "FP64"
    request.raw_input_contents[0] = bytes(2 * len(request.raw_input_contents[0]))


def typed_beside(request: Any) -> None:
    request.inputs[0].contents.fp32_contents.extend([1.0, 2.0])


def moved(request: Any) -> None:
    request.inputs[0].contents.int64_contents.extend([1, 2])
    del request.inputs[0].contents.fp32_contents[:]


def raw(change: Callable[[bytes], bytes]) -> Callable[[Any], None]:
    def changing(request: Any) -> None:
        request.raw_input_contents[0] = change(request.raw_input_contents[0])

    return changing


def wanted(*names: str) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        for name in names:
            request.outputs.add(name=name)

    return change


def put(field: str, value: str) -> Callable[[Any], None]:
    return lambda request: setattr(request, field, value)


def of_input(field: str, value: str) -> Callable[[Any], None]:
    return lambda request: setattr(request.inputs[0], field, value)


CASES: dict[str, Ask] = {
    "unknown model": changed("relu", put("model_name", "no-such-model")),
    "no model named": changed("relu", put("model_name", "")),
    "unknown version": changed("relu", put("model_version", "77")),
    "version that is no number": changed("relu", put("model_version", "none")),
    "unknown input": changed("relu", of_input("name", "no_such_input")),
    "an input too many": changed("relu", other),
    "an input missing": changed("two-inputs", one_less),
    "no inputs": changed("relu", nothing),
    "an input twice": changed("relu", again),
    "other datatype": changed("relu", of_doubles),
    "datatype that there is not": changed("relu", of_input("datatype", "FLOAT")),
    "no datatype": changed("relu", of_input("datatype", "")),
    "an axis too many": changed("relu", shaped(1, 1, 2)),
    "other size of an axis": changed(
        "relu", lambda one: (shaped(2, 2)(one), raw(lambda data: data * 2)(one))
    ),
    "negative size": changed("relu", shaped(1, -2)),
    "size beyond all memory": changed("sklearn", shaped(1 << 62, 4)),
    "raw, too short": changed("relu", raw(lambda data: data[:-4])),
    "raw, too long": changed("relu", raw(lambda data: data + bytes(4))),
    "raw, half an element": changed("relu", raw(lambda data: data[:-1])),
    "raw for an input too many": changed("relu", lambda one: one.raw_input_contents.append(bytes(8))),
    "raw for an input too few": changed("two-inputs", lambda one: one.raw_input_contents.pop()),
    "raw and typed": changed("relu", typed_beside),
    "typed, too few": changed("relu", lambda one: one.inputs[0].contents.fp32_contents.pop(), typed=True),
    "typed, too many": changed(
        "relu", lambda one: one.inputs[0].contents.fp32_contents.append(1.0), typed=True
    ),
    "typed, in another type's field": changed("relu", moved, typed=True),
    "neither raw nor typed": changed("relu", lambda one: one.inputs[0].ClearField("contents"), typed=True),
    "texts, a length beyond the end": changed("strings", raw(lambda data: data[:-1])),
    "texts, one too few": changed("strings", raw(lambda data: data[: 4 + data[0]])),
    "unknown output": changed("relu", wanted("no_such_output")),
    "an output twice": changed("relu", lambda one: wanted("y", "y")(one)),
    "metadata of an unknown model": lambda stub: stub.ModelMetadata(
        pb.ModelMetadataRequest(name="no-such-model")
    ),
    "metadata of an unknown version": lambda stub: stub.ModelMetadata(
        pb.ModelMetadataRequest(name="relu", version="77")
    ),
    "is an unknown model ready": lambda stub: stub.ModelReady(pb.ModelReadyRequest(name="no-such-model")),
    "is an unknown version ready": lambda stub: stub.ModelReady(
        pb.ModelReadyRequest(name="relu", version="77")
    ),
    "configuration of an unknown model": lambda stub: stub.ModelConfig(
        pb.ModelConfigRequest(name="no-such-model")
    ),
    "statistics of an unknown model": lambda stub: stub.ModelStatistics(
        pb.ModelStatisticsRequest(name="no-such-model")
    ),
    "an unknown model is loaded": lambda stub: stub.RepositoryModelLoad(
        pb.RepositoryModelLoadRequest(model_name="no-such-model")
    ),
    "an unknown model is unloaded": lambda stub: stub.RepositoryModelUnload(
        pb.RepositoryModelUnloadRequest(model_name="no-such-model")
    ),
}


def outcome(stub: Any, ask: Ask) -> str:
    """The code of the answer; of readiness what is said."""
    try:
        answer = ask(stub)
    except grpc.RpcError as error:
        return str(error.code().name)
    return ("ready" if answer.ready else "not ready") if isinstance(answer, pb.ModelReadyResponse) else "OK"
