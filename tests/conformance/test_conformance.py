"""The protocol itself: liveness, metadata, inference raw and typed, refusals with their codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from modelyard.oip.v2 import inference_pb2 as pb
from tests.conformance.asking import (
    CONTENTS,
    DATATYPES,
    SIZES,
    count_of,
    pack,
    raw_of,
    request_for,
    shape_of,
    values_of,
)

Code = grpc.StatusCode


def code_of(call: Callable[[], Any]) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.details(), "a refusal says why"
    return caught.value.code()


def test_server_is_live_and_ready(server: Any) -> None:
    assert server.ServerLive(pb.ServerLiveRequest()).live
    assert server.ServerReady(pb.ServerReadyRequest()).ready


def test_server_says_what_it_is(server: Any) -> None:
    answer = server.ServerMetadata(pb.ServerMetadataRequest())
    assert answer.name
    assert answer.version


def test_model_is_ready(server: Any, metadata: Any) -> None:
    assert server.ModelReady(pb.ModelReadyRequest(name=metadata.name)).ready


def test_unknown_model_is_not_ready(server: Any) -> None:
    try:
        assert not server.ModelReady(pb.ModelReadyRequest(name="no-such-model")).ready
    except grpc.RpcError as error:
        assert error.code() == Code.NOT_FOUND


def test_metadata_name_known_types(metadata: Any) -> None:
    assert metadata.platform
    assert metadata.outputs
    for one in (*metadata.inputs, *metadata.outputs):
        assert one.name
        assert one.datatype in DATATYPES
        assert all(size >= -1 for size in one.shape)


def test_metadata_of_unknown_model_are_not_found(server: Any) -> None:
    assert (
        code_of(lambda: server.ModelMetadata(pb.ModelMetadataRequest(name="no-such-model"))) == Code.NOT_FOUND
    )


@pytest.mark.parametrize("rows", [1, 3])
def test_raw_inference_is_answered_as_the_metadata_say(server: Any, metadata: Any, rows: int) -> None:
    request = request_for(metadata, rows=rows)
    answer = server.ModelInfer(request)
    assert answer.model_name == metadata.name
    assert answer.id == request.id
    assert len(answer.raw_output_contents) == len(answer.outputs)
    specs = {one.name: one for one in metadata.outputs}
    assert {one.name for one in answer.outputs} == set(specs)
    for output, data in zip(answer.outputs, answer.raw_output_contents, strict=True):
        spec = specs[output.name]
        assert output.datatype == spec.datatype
        assert len(output.shape) == len(spec.shape)
        assert all(size in (-1, other) for size, other in zip(spec.shape, output.shape, strict=True))
        if output.datatype in SIZES:
            assert len(data) == count_of(output.shape) * SIZES[output.datatype]


def test_typed_inference_says_the_same_as_raw(server: Any, metadata: Any) -> None:
    names = tuple(one.name for one in metadata.inputs if one.datatype in CONTENTS)
    if len(names) < len(metadata.inputs) and not _is_echo(metadata):
        pytest.skip("the model takes types that exist raw only")
    typed = server.ModelInfer(request_for(metadata, typed=True, names=names))
    assert raw_of(typed) == raw_of(server.ModelInfer(request_for(metadata, names=names)))


@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize("typed", [False, True], ids=["raw", "typed"])
def test_values_come_back_as_they_went_in(server: Any, metadata: Any, datatype: str, typed: bool) -> None:
    spec = next((one for one in metadata.inputs if one.datatype == datatype), None)
    if spec is None or not _is_echo(metadata):
        pytest.skip(f"the model gives no {datatype} back")
    if typed and datatype not in CONTENTS:
        pytest.skip(f"{datatype} exists raw only")
    answer = server.ModelInfer(request_for(metadata, rows=2, typed=typed, names=(spec.name,)))
    values = values_of(datatype, count_of(shape_of(spec, 2)))
    assert bool(answer.raw_output_contents) != typed, "an answer is raw where its request was raw"
    assert raw_of(answer) == {spec.name.replace("in_", "out_", 1): pack(datatype, values)}


def test_only_outputs_that_are_asked_for_come(server: Any, metadata: Any) -> None:
    request = request_for(metadata)
    request.outputs.add(name=metadata.outputs[-1].name)
    answer = server.ModelInfer(request)
    assert [one.name for one in answer.outputs] == [metadata.outputs[-1].name]


def test_version_is_told_and_can_be_named(server: Any, metadata: Any) -> None:
    request = request_for(metadata)
    first = server.ModelInfer(request)
    assert first.model_version
    request.model_version = first.model_version
    assert server.ModelInfer(request).model_version == first.model_version


def test_unknown_model_and_version_are_not_found(server: Any, metadata: Any) -> None:
    request = request_for(metadata)
    request.model_version = "987654321"
    assert code_of(lambda: server.ModelInfer(request)) == Code.NOT_FOUND
    request.model_name = "no-such-model"
    assert code_of(lambda: server.ModelInfer(request)) == Code.NOT_FOUND


def _unknown_input(request: Any) -> None:
    request.inputs[0].name = "no-such-input"


def _wrong_type(request: Any) -> None:
    request.inputs[0].datatype = "INT8" if request.inputs[0].datatype != "INT8" else "FP64"


def _wrong_rank(request: Any) -> None:
    request.inputs[0].shape.append(1)


def _short(request: Any) -> None:
    request.raw_input_contents[0] = request.raw_input_contents[0][:-1]


def _long(request: Any) -> None:
    request.raw_input_contents[0] += b"\0"


def _one_raw_too_many(request: Any) -> None:
    request.raw_input_contents.append(b"")


def _mixed(request: Any) -> None:
    request.inputs[0].contents.fp32_contents.append(1.0)


def _unknown_output(request: Any) -> None:
    request.outputs.add(name="no-such-output")


def _twice(request: Any) -> None:
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(request.raw_input_contents[0])


@pytest.mark.parametrize(
    "spoil",
    [
        _unknown_input,
        _wrong_type,
        _wrong_rank,
        _short,
        _long,
        _one_raw_too_many,
        _mixed,
        _unknown_output,
        _twice,
    ],
)
def test_invalid_request_is_refused_as_such(server: Any, metadata: Any, spoil: Callable[[Any], None]) -> None:
    if not metadata.inputs:
        pytest.skip("the model has no inputs")
    request = request_for(metadata)
    spoil(request)
    assert code_of(lambda: server.ModelInfer(request)) == Code.INVALID_ARGUMENT


def test_missing_inputs_are_refused(server: Any, metadata: Any) -> None:
    optional = [
        one.parameters["optional"].bool_param for one in metadata.inputs if "optional" in one.parameters
    ]
    if not metadata.inputs or len(optional) == len(metadata.inputs):
        pytest.skip("the model needs no inputs")
    request = pb.ModelInferRequest(model_name=metadata.name)
    assert code_of(lambda: server.ModelInfer(request)) == Code.INVALID_ARGUMENT


def test_server_is_well_after_nonsense(server: Any, metadata: Any, channel: grpc.Channel) -> None:
    method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    assert code_of(lambda: method(b"\xff" * 100, timeout=10, metadata=server.metadata)) != Code.OK
    assert server.ModelInfer(request_for(metadata)).outputs


def test_deadline_that_is_over_is_told(server: Any, metadata: Any) -> None:
    request = request_for(metadata, rows=20_000)
    if request.ByteSize() < 1 << 20:
        pytest.skip("every input has a fixed shape: an answer may come within a millisecond")
    with pytest.raises(grpc.RpcError) as caught:
        server.ModelInfer(request, timeout=0.001)
    assert caught.value.code() == Code.DEADLINE_EXCEEDED
    assert server.ModelInfer(request_for(metadata)).outputs


def test_whoever_shows_no_token_is_nobody(server: Any, metadata: Any) -> None:
    if not server.metadata:
        pytest.skip("the server wants no token")
    for metadata_of_caller in ((), (("authorization", "Bearer wrong"),)):
        call = lambda own=metadata_of_caller: server.ModelInfer(request_for(metadata), metadata=own)  # noqa: E731
        assert code_of(call) == Code.UNAUTHENTICATED


def _is_echo(metadata: Any) -> bool:
    outputs = {one.name for one in metadata.outputs}
    return all(
        one.name.startswith("in_") and one.name.replace("in_", "out_", 1) in outputs
        for one in metadata.inputs
    )
