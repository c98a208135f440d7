"""The protocol's front with frames that answer as they are told: what is asked, what comes back, what is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from modelyard.channel import connect
from modelyard.oip.v2 import inference_pb2 as pb
from modelyard.oip.v2 import inference_pb2_grpc as rpc
from modelyard.packing import SIZES, pack
from services.models.calls import messages, tensors
from tests.support.inference import floats, raw, refusal
from tests.support.scripted_frames import (
    ALICE_TASK,
    ALICE_VIEWER,
    BOB,
    DATATYPES,
    ROOT,
    CallsWorld,
    echo_config,
)

pytestmark = pytest.mark.asyncio

VALUES: dict[str, list[Any]] = {
    "BOOL": [True, False], "UINT8": [0, 255], "UINT16": [1, 65535], "UINT32": [2, 4294967295],
    "UINT64": [3, 18446744073709551615], "INT8": [-128, 127], "INT16": [-32768, 32767],
    "INT32": [-2147483648, 2147483647], "INT64": [-9223372036854775808, 9223372036854775807], "FP16": [0.5, -2.0],
    "FP32": [0.25, -1e30], "FP64": [1e300, -0.1], "BF16": [1.0, -3.0], "BYTES": [b"\x00\xff", b""],
}  # fmt: skip


async def test_raw_request_is_answered_raw(world: CallsWorld, stub: Any) -> None:  # S2.5
    await world.frame(world.versions.add(echo_config()))
    answer = await stub.ModelInfer(raw(1.0, 2.0), timeout=5)
    assert (answer.model_name, answer.model_version, answer.id) == ("echo", "1", "7")
    assert (answer.outputs[0].name, list(answer.outputs[0].shape)) == ("out_fp32", [1, 2])
    assert not answer.outputs[0].HasField("contents")
    assert floats(answer) == (1.0, 2.0)


@pytest.mark.parametrize("datatype", DATATYPES)
async def test_every_datatype_travels_raw(world: CallsWorld, stub: Any, datatype: str) -> None:  # S2.5
    await world.frame(world.versions.add(echo_config(datatypes=[datatype])))
    request = pb.ModelInferRequest(model_name="echo")
    request.inputs.add(name=f"in_{datatype.lower()}", datatype=datatype, shape=[2, 1])
    request.raw_input_contents.append(pack(datatype, VALUES[datatype]))
    answer = await stub.ModelInfer(request, timeout=5)
    assert answer.outputs[0].datatype == datatype
    assert answer.raw_output_contents[0] == request.raw_input_contents[0]


@pytest.mark.parametrize("datatype", sorted(tensors.CONTENTS))
async def test_typed_request_is_answered_typed(world: CallsWorld, stub: Any, datatype: str) -> None:  # S2.5
    await world.frame(world.versions.add(echo_config(datatypes=[datatype])))
    request = pb.ModelInferRequest(model_name="echo")
    tensor = request.inputs.add(name=f"in_{datatype.lower()}", datatype=datatype, shape=[2, 1])
    getattr(tensor.contents, tensors.CONTENTS[datatype]).extend(VALUES[datatype])
    answer = await stub.ModelInfer(request, timeout=5)
    assert answer.outputs[0].contents == tensor.contents
    assert not answer.raw_output_contents


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
async def test_typed_halves_are_refused(world: CallsWorld, stub: Any, datatype: str) -> None:
    await world.frame(world.versions.add(echo_config(datatypes=[datatype])))
    request = pb.ModelInferRequest(model_name="echo")
    tensor = request.inputs.add(name=f"in_{datatype.lower()}", datatype=datatype, shape=[1, 1])
    tensor.contents.fp32_contents.append(1.0)
    error = await refusal(stub.ModelInfer(request, timeout=5))
    assert (error.code, error.reason, error.field) == (
        "INVALID_ARGUMENT",
        "CONTENTS_WRONG",
        "inputs[0].contents",
    )


async def test_large_tensor_is_not_decoded_with_its_message(world: CallsWorld, stub: Any) -> None:
    await world.frame(world.versions.add(echo_config()))
    request = raw(*[1.0, 2.0] * 50_000)
    request.parameters["seed"].int64_param = -3
    answer = await stub.ModelInfer(request, timeout=5)
    assert answer.raw_output_contents[0] == request.raw_input_contents[0]
    cut = messages.decode(request.SerializeToString())
    assert not cut.message.raw_input_contents
    assert cut.message.parameters["seed"].int64_param == -3
    assert bytes(cut.raw[0]) == request.raw_input_contents[0]


async def test_parameters_reach_the_frame_without_those_of_the_protocol(world: CallsWorld, stub: Any) -> None:
    frame = await world.frame(world.versions.add(echo_config()))
    request = raw(1.0)
    request.parameters["temperature"].double_param = 0.5
    request.parameters["loud"].bool_param = True
    request.parameters["priority"].uint64_param = 3
    request.outputs.add(name="out_fp32")
    await stub.ModelInfer(request, timeout=5)
    assert frame.calls[0]["parameters"] == {"temperature": 0.5, "loud": True}
    assert frame.calls[0]["outputs"] == ["out_fp32"]


def _without(request: pb.ModelInferRequest, **changes: Any) -> None:
    for name, value in changes.items():
        if name == "shape":
            request.inputs[0].shape[:] = value
        elif name == "raw":
            request.raw_input_contents[:] = value
        else:
            setattr(request.inputs[0], name, value)


def _twice(request: pb.ModelInferRequest) -> None:
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(request.raw_input_contents[0])


def _unasked(request: pb.ModelInferRequest) -> None:
    del request.inputs[:]
    del request.raw_input_contents[:]


def _shared(request: pb.ModelInferRequest) -> None:
    request.inputs[0].parameters["shared_memory_region"].string_param = "x"


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        (lambda r: _without(r, name="nobody"), "INPUT_WRONG", "inputs[0].name"),
        (lambda r: _without(r, datatype="INT32"), "INPUT_WRONG", "inputs[0].datatype"),
        (lambda r: _without(r, datatype=""), "INPUT_WRONG", "inputs[0].datatype"),
        (lambda r: _without(r, shape=[2]), "INPUT_WRONG", "inputs[0].shape"),
        (lambda r: _without(r, shape=[-1, 2]), "INPUT_WRONG", "inputs[0].shape"),
        (lambda r: _without(r, shape=[1, 3]), "CONTENTS_WRONG", "raw_input_contents[0]"),
        (lambda r: _without(r, raw=[b"", b""]), "CONTENTS_WRONG", "raw_input_contents"),
        (lambda r: r.inputs[0].contents.fp32_contents.append(1.0), "CONTENTS_WRONG", "inputs[0].contents"),
        (_twice, "INPUT_WRONG", "inputs"),
        (_unasked, "INPUT_MISSING", "inputs"),
        (_shared, "PARAMETER_WRONG", "inputs[0].parameters"),
        (lambda r: r.outputs.add(name="nothing"), "OUTPUT_UNKNOWN", "outputs[0].name"),
        (lambda r: setattr(r.parameters["timeout"], "int64_param", -1), "PARAMETER_WRONG", "parameters[timeout]"),
    ],
)  # fmt: skip
async def test_wrong_request_names_its_field(
    world: CallsWorld, stub: Any, change: Callable[[pb.ModelInferRequest], None], reason: str, field: str
) -> None:  # S2.5
    frame = await world.frame(world.versions.add(echo_config()))
    request = raw(1.0, 2.0)
    change(request)
    error = await refusal(stub.ModelInfer(request, timeout=5))
    assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", reason, field)
    assert not frame.calls


@pytest.mark.parametrize("data", [b"\x05\x00\x00\x00ab", b"\x01", pack("BYTES", [b"a", b"b"])])
async def test_bytes_that_are_not_packed_are_refused(world: CallsWorld, stub: Any, data: bytes) -> None:
    await world.frame(world.versions.add(echo_config(datatypes=["BYTES"])))
    request = pb.ModelInferRequest(model_name="echo")
    request.inputs.add(name="in_bytes", datatype="BYTES", shape=[1, 1])
    request.raw_input_contents.append(data)
    assert (await refusal(stub.ModelInfer(request, timeout=5))).reason == "CONTENTS_WRONG"


@pytest.mark.parametrize(
    ("datatype", "field", "value"), [("INT8", "int_contents", 128), ("UINT16", "uint_contents", 65536)]
)
async def test_typed_value_beyond_its_type_is_refused(
    world: CallsWorld, stub: Any, datatype: str, field: str, value: int
) -> None:
    await world.frame(world.versions.add(echo_config(datatypes=[datatype])))
    request = pb.ModelInferRequest(model_name="echo")
    tensor = request.inputs.add(name=f"in_{datatype.lower()}", datatype=datatype, shape=[1, 1])
    getattr(tensor.contents, field).append(value)
    assert (await refusal(stub.ModelInfer(request, timeout=5))).field == f"inputs[0].contents.{field}"


@pytest.mark.parametrize("data", [b"\xff" * 20_000, b"\x3a\xff\xff\xff\x0f" + b"x" * 20_000, b"\x3a"])
async def test_what_is_no_message_is_refused(world: CallsWorld, data: bytes) -> None:
    async with connect(await world.serve(), token=ROOT) as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        error = await refusal(method(data, timeout=5))
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("INVALID_ARGUMENT", "CALL_REFUSED"), ("FAILED_PRECONDITION", "CALL_IMPOSSIBLE"),
        ("RESOURCE_EXHAUSTED", "CALL_TOO_LARGE"), ("INTERNAL", "MODEL_FAILED"), ("CANCELLED", "CALL_STOPPED"),
    ],
)  # fmt: skip
async def test_failure_of_the_model_is_typed(world: CallsWorld, stub: Any, code: str, reason: str) -> None:
    frame = await world.frame(world.versions.add(echo_config()))

    async def fail(head: dict[str, Any], buffers: list[memoryview]) -> None:
        frame.fail(head, code, "inputs[0]", "the row is too wide")

    frame.conduct = fail
    error = await refusal(stub.ModelInfer(raw(1.0), timeout=5))
    assert (error.reason, error.field, error.message) == (reason, "inputs[0]", "the row is too wide")


async def test_who_may_what(world: CallsWorld) -> None:  # S0.9
    await world.frame(world.versions.add(echo_config()))
    address = await world.serve()

    async def outcome(token: str) -> str:
        async with connect(address, token=token) as channel:
            call = rpc.GRPCInferenceServiceStub(channel).ModelInfer(raw(1.0), timeout=5)
            if token in (ROOT, ALICE_TASK):
                return str((await call).model_name)
            error = await refusal(call)
            return f"{error.code} {error.reason}"

    assert await outcome(ROOT) == "echo"
    assert await outcome(ALICE_TASK) == "echo"
    assert await outcome("") == "UNAUTHENTICATED TOKEN_MISSING"
    assert await outcome(ALICE_VIEWER) == "PERMISSION_DENIED ROLE_NOT_ALLOWED"
    assert await outcome(BOB) == "NOT_FOUND MODEL_NOT_FOUND"
    world.versions.roles["bob", "echo"] = "viewer"
    assert await outcome(BOB) == "PERMISSION_DENIED CALL_NOT_ALLOWED"


async def test_state_of_a_hidden_model_is_not_told(world: CallsWorld) -> None:
    world.versions.add(echo_config())
    world.versions.not_ready.add("echo")
    async with connect(await world.serve(), token=BOB) as channel:
        stub = rpc.GRPCInferenceServiceStub(channel)
        assert (await refusal(stub.ModelInfer(raw(1.0), timeout=5))).code == "NOT_FOUND"
        assert not (await stub.ModelReady(pb.ModelReadyRequest(name="echo"), timeout=5)).ready
    async with connect(world.address, token=ROOT) as channel:
        error = await refusal(rpc.GRPCInferenceServiceStub(channel).ModelInfer(raw(1.0), timeout=5))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "VERSION_NOT_READY")


async def test_metadata_config_and_readiness(world: CallsWorld, stub: Any) -> None:  # S2.2
    world.versions.add(
        echo_config(datatypes=["FP32", "BYTES"], max_batch=8, batch_delay_ms=2.0, max_instances=3)
    )
    assert (await stub.ServerLive(pb.ServerLiveRequest(), timeout=5)).live
    assert (await stub.ServerReady(pb.ServerReadyRequest(), timeout=5)).ready
    assert (await stub.ModelReady(pb.ModelReadyRequest(name="echo"), timeout=5)).ready
    assert not (await stub.ModelReady(pb.ModelReadyRequest(name="other"), timeout=5)).ready
    assert not (await stub.ModelReady(pb.ModelReadyRequest(name="echo", version="9"), timeout=5)).ready
    server = await stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=5)
    assert server.name == "modelyard"
    assert "model_repository" in server.extensions
    metadata = await stub.ModelMetadata(pb.ModelMetadataRequest(name="echo"), timeout=5)
    assert [(one.name, one.datatype, list(one.shape)) for one in metadata.inputs] == [
        ("in_fp32", "FP32", [-1, -1]),
        ("in_bytes", "BYTES", [-1, -1]),
    ]
    assert (list(metadata.versions), metadata.platform) == (["1"], "python_class")
    config = (await stub.ModelConfig(pb.ModelConfigRequest(name="echo"), timeout=5)).config
    assert (config.max_batch_size, list(config.input[0].dims)) == (8, [-1])
    assert [one.data_type for one in config.input] == [pb.TYPE_FP32, pb.TYPE_STRING]
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000
    assert config.instance_group[0].count == 3


async def test_statistics_count_what_came_of_calls(world: CallsWorld, stub: Any) -> None:  # S2.6
    frame = await world.frame(world.versions.add(echo_config()))
    for _ in range(3):
        await stub.ModelInfer(raw(1.0, rows=2), timeout=5)

    async def fail(head: dict[str, Any], buffers: list[memoryview]) -> None:
        frame.fail(head, "INTERNAL")

    frame.conduct = fail
    await refusal(stub.ModelInfer(raw(1.0), timeout=5))
    [stats] = (await stub.ModelStatistics(pb.ModelStatisticsRequest(name="echo"), timeout=5)).model_stats
    assert (stats.name, stats.version, stats.inference_count, stats.execution_count) == ("echo", "1", 6, 3)
    assert (stats.inference_stats.success.count, stats.inference_stats.fail.count) == (3, 1)
    assert stats.inference_stats.compute_infer.ns == 300
    assert [(one.batch_size, one.compute_infer.count) for one in stats.batch_stats] == [(2, 3)]
    assert stats.last_inference > 0
    counts = world.calls.uses.take()
    assert [(one.account, one.calls, one.failures) for one in counts] == [("alice", 4, 1)]


async def test_repository_speaks_to_clients_of_both_kinds(world: CallsWorld, stub: Any) -> None:  # S2.6
    served = world.versions.add(echo_config())
    world.versions.add(echo_config("cold"))
    await world.frame(served)
    index = await stub.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=5)
    assert [(one.name, one.version, one.state) for one in index.models] == [
        ("cold", "1", "UNAVAILABLE"),
        ("echo", "1", "READY"),
    ]
    ready = await stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True), timeout=5)
    assert [one.name for one in ready.models] == ["echo"]
    for request in (
        pb.RepositoryModelLoadRequest(model_name="echo"),
        pb.RepositoryModelLoadRequest(repository_name="echo"),
    ):
        answer = await stub.RepositoryModelLoad(request, timeout=5)
        assert (answer.model_name, answer.is_loaded) == ("echo", True)
    answer = await stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="echo"), timeout=5)
    assert answer.is_unloaded
    assert ("unload", "echo", "") in world.source.told


async def test_size_of_every_type_is_the_packings() -> None:
    assert tensors.SIZES == SIZES
    assert struct.calcsize("<I") == 4
