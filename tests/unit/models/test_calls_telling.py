"""Calls that name a contact (S2.7, S0.8): refused before they cost anything, told once they are answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelyard.models.values import Config as ModelConfig
from modelyard.models.values import Datatype, Format, Runtime, Serving, Tensor
from modelyard.oip.v2 import inference_pb2 as pb
from modelyard.packing import pack
from modelyard.serving.wire import Message
from modelyard.v1 import task_pb2
from services.chassis.errors import Unavailable
from services.models.calls.notice import Told, files_of, result_request
from services.models.seams import Served, VersionKey
from tests.support.inference import floats, raw, refusal
from tests.support.scripted_frames import CallsWorld, echo_config

pytestmark = pytest.mark.asyncio
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 40


def to(contact: str, *values: float) -> pb.ModelInferRequest:
    request = raw(*(values or (1.0, 2.0)))
    request.parameters["contact"].string_param = contact
    return request


async def drawing(frame: Any, head: dict[str, Any], buffers: list[memoryview]) -> None:
    """Answers with what it got, and a drawing if it was asked for one."""
    outputs = [{"name": "out_fp32", "datatype": "FP32", "shape": head["inputs"][0]["shape"]}]
    answered: list[Any] = [buffers[0]]
    if head.get("parameters", {}).get("visualise") == "all":
        meta = {"content_type": "image/png", "width": 2, "height": 2}
        outputs.append({"name": "viz:chart", "datatype": "BYTES", "shape": [1], "parameters": meta})
        answered.append(pack("BYTES", [PNG]))
    times = {"wait": 1, "input": 10, "compute": 100, "output": 10}
    frame.send({"kind": "result", "id": head["id"], "outputs": outputs, "times_ns": times,
                "parameters": {"viz_error": "other: no such column"}}, answered)  # fmt: skip


async def test_result_and_drawings_are_told_and_the_caller_gets_what_it_asked_for(
    world: CallsWorld, stub: Any
) -> None:  # S2.7, S0.8
    frame = await world.frame(world.versions.add(echo_config()))
    frame.conduct = lambda head, buffers: drawing(frame, head, buffers)
    world.people.known.add(("alice", "mail"))
    answer = await stub.ModelInfer(to("mail"), timeout=5)
    assert [output.name for output in answer.outputs] == ["out_fp32"]
    assert floats(answer) == (1.0, 2.0)
    [(account, told, files)] = world.people.told
    assert (account, told.subject) == ("alice", answer.parameters["notice"].string_param)
    assert (told.notification.contact, told.event) == ("mail", task_pb2.NOTIFICATION_EVENT_SUCCEEDED)
    facts = json.loads(told.facts_json)
    assert facts["outputs"][0]["rows"] == [[1.0, 2.0]]
    assert facts["viz_error"] == "other: no such column"
    assert "out_fp32: 1, 2" in told.text
    assert [(file.name, file.content) for file in files] == [("chart.png", PNG)]
    assert "contact" not in frame.calls[0].get("parameters", {}), "it is not the model's"
    assert answer.parameters["viz_error"].string_param == "other: no such column"


async def test_drawing_that_the_caller_asked_for_comes_to_it_as_well(
    world: CallsWorld, stub: Any
) -> None:  # S2.7
    frame = await world.frame(world.versions.add(echo_config()))
    frame.conduct = lambda head, buffers: drawing(frame, head, buffers)
    world.people.known.add(("alice", "mail"))
    request = to("mail")
    request.parameters["visualise"].string_param = "all"
    answer = await stub.ModelInfer(request, timeout=5)
    assert [output.name for output in answer.outputs] == ["out_fp32", "viz:chart"]


async def test_unknown_contact_is_refused_before_anything_is_computed(
    world: CallsWorld, stub: Any
) -> None:  # S2.7
    frame = await world.frame(world.versions.add(echo_config()))
    error = await refusal(stub.ModelInfer(to("nobody"), timeout=5))
    assert error.code == "NOT_FOUND"
    assert not frame.calls
    request = raw(1.0, 2.0)
    request.parameters["contact"].int64_param = 7
    error = await refusal(stub.ModelInfer(request, timeout=5))
    assert (error.reason, error.field) == ("PARAMETER_WRONG", "parameters[contact]")


async def test_call_that_failed_is_told_and_one_that_was_refused_is_not(
    world: CallsWorld, stub: Any
) -> None:  # S2.7
    frame = await world.frame(world.versions.add(echo_config()))
    world.people.known.add(("alice", "mail"))

    async def fail(head: dict[str, Any], buffers: list[memoryview]) -> None:
        is_first = len(frame.calls) == 1
        frame.fail(head, "INTERNAL" if is_first else "INVALID_ARGUMENT", message="it is broken")

    frame.conduct = fail
    error = await refusal(stub.ModelInfer(to("mail"), timeout=5))
    [(_, told, _)] = world.people.told
    assert (told.kind, told.event) == ("call.failed", task_pb2.NOTIFICATION_EVENT_FAILED)
    assert error.metadata["notice"] == told.subject
    assert "it is broken" in told.text
    error = await refusal(stub.ModelInfer(to("mail"), timeout=5))
    assert error.code == "INVALID_ARGUMENT"
    assert len(world.people.told) == 1


async def test_values_are_answered_though_nobody_can_be_told(world: CallsWorld, stub: Any) -> None:  # S2.7
    await world.frame(world.versions.add(echo_config()))
    world.people.known.add(("alice", "mail"))
    world.people.trouble = Unavailable("the disk is full")
    answer = await stub.ModelInfer(to("mail"), timeout=5)
    assert floats(answer) == (1.0, 2.0)
    assert "notice" not in answer.parameters
    assert "the disk is full" in answer.parameters["contact_error"].string_param


async def test_answer_in_parts_is_told_as_one(world: CallsWorld, stub: Any) -> None:  # S2.7
    frame = await world.frame(world.versions.add(echo_config()))
    world.people.known.add(("alice", "mail"))

    async def parts(head: dict[str, Any], buffers: list[memoryview]) -> None:
        for _ in range(3):
            frame.answer(head, buffers, "part")
        frame.send({"kind": "result", "id": head["id"], "outputs": [], "is_last": True,
                    "times_ns": {"wait": 1, "input": 1, "compute": 1, "output": 1}})  # fmt: skip

    frame.conduct = parts
    request = to("mail", 4.0)
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    got = [answer async for answer in stub.ModelStreamInfer(iter([request]), timeout=5)]
    assert [one.error_message for one in got] == [""] * 4
    [(_, told, _)] = world.people.told
    assert [one["rows"] for one in json.loads(told.facts_json)["outputs"]] == [[[4.0]]] * 3


def said(spec: Tensor, values: list[Any], shape: list[int]) -> Any:
    config = ModelConfig(
        name="m", format=Format.PYTHON, file="m.py", inputs=(), outputs=(spec,), runtime=Runtime(),
        serving=Serving(),
    )  # fmt: skip
    head = {"name": spec.name, "datatype": spec.datatype.value, "shape": shape}
    message = Message({"kind": "result", "outputs": [head]}, [memoryview(pack(spec.datatype.value, values))])
    served = Served(key=VersionKey("m", 1, 1), account="a", config=config, files=())
    request = result_request(Told("call-1", 0, "c", "a", "m", 1), served, [message], 1500)
    return json.loads(request.facts_json)["outputs"][0]["rows"], request.text


@pytest.mark.parametrize(
    ("datatype", "values"), [("FP16", [0.5, -2.0]), ("BF16", [1.0, -3.0]), ("BOOL", [True, False])]
)
async def test_values_of_every_kind_are_told(datatype: str, values: list[Any]) -> None:
    rows, _ = said(Tensor(name="y", datatype=Datatype(datatype), shape=(-1,)), values, [2])
    assert rows == values


async def test_columns_and_labels_are_told_by_name() -> None:
    spec = Tensor(name="y", datatype=Datatype.FP32, shape=(-1, 2), columns=("cat", "dog"))
    rows, text = said(spec, [0.25, 0.75], [1, 2])
    assert rows == [{"cat": 0.25, "dog": 0.75}]
    assert "y: cat=0.25, dog=0.75" in text
    labelled = Tensor(name="y", datatype=Datatype.INT64, shape=(-1,), labels=("cat", "dog"))
    assert said(labelled, [1, 0, 9], [3])[0] == ["dog", "cat", 9]


async def test_much_and_nothing_that_json_has_are_told_bounded() -> None:
    spec = Tensor(name="y", datatype=Datatype.FP64, shape=(-1, 1000))
    rows, text = said(spec, [float("nan")] * 100_000, [100, 1000])
    assert (len(rows), len(rows[0]), rows[0][0]) == (5, 20, None)
    assert "… and 95 more" in text
    assert not files_of([Message({"kind": "result", "outputs": []}, [])])
