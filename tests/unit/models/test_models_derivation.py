"""What callers give and get, by the component and its steps: foretold, and compared with what the steps really do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.documents.problems import Refused
from modelyard.models import (
    Codec,
    Datatype,
    Determined,
    Format,
    Inspection,
    determine,
    read_config,
    write_config,
)
from modelyard.models.derivation import after, before
from modelyard.models.step_rules import Contradiction, Known
from modelyard.models.values import Step
from modelyard.serving.steps import prepare
from modelyard.serving.steps.numbers import DTYPES
from modelyard.serving.vocabulary import STEPS

CASES: list[tuple[str, dict[str, Any], str, tuple[int, ...]]] = [
    ("resize", {"size": [5, 6]}, "UINT8", (2, 8, 9, 3)),
    ("resize", {"size": [5, 6], "layout": "chw", "fit": "contain"}, "FP32", (3, 8, 9)),
    ("resize", {"size": [5, 6], "fit": "shorter"}, "FP32", (8, 19, 1)),
    ("centre_crop", {"size": [4, 4]}, "FP32", (8, 9, 3)),
    ("normalize", {"mean": [1, 2, 3], "std": 2}, "UINT8", (8, 8, 3)),
    ("normalize", {"mean": [1, 2, 3], "axis": -3}, "FP64", (3, 8, 8)),
    ("standardize", {}, "INT64", (4, 5)),
    ("scale", {"factor": 0.5}, "UINT8", (4,)),
    ("clip", {"least": 0}, "INT32", (4,)),
    ("fill_missing", {}, "FP32", (4, 2)),
    ("exp", {}, "INT64", (2,)),
    ("log", {}, "FP64", (2,)),
    ("cast", {"datatype": "INT8"}, "FP32", (2, 2)),
    ("cast", {"datatype": "BYTES"}, "FP32", (2, 2)),
    ("transpose", {"axes": [2, 0, 1]}, "FP32", (2, 3, 4)),
    ("layout", {"from": "hwc", "into": "chw"}, "UINT8", (2, 4, 5, 3)),
    ("layout", {"from": "chw", "into": "hwc"}, "UINT8", (3, 4, 5)),
    ("to_gray", {}, "UINT8", (4, 5, 3)),
    ("to_gray", {"layout": "chw"}, "FP32", (3, 4, 5)),
    ("to_rgb", {}, "UINT8", (4, 5, 3)),
    ("reshape", {"shape": [-1, 4]}, "FP32", (2, 8)),
    ("expand", {"axis": 0}, "FP32", (2, 8)),
    ("expand", {"axis": -1}, "FP32", (2, 8)),
    ("squeeze", {"axis": 0}, "FP32", (1, 8)),
    ("one_hot", {"size": 4}, "INT64", (3,)),
    ("one_hot", {"size": 2_000}, "INT32", (3, 2)),
    ("select", {"columns": [1, 0]}, "FP32", (3, 4)),
    ("softmax", {}, "FP32", (3, 4)),
    ("softmax", {"to": "p"}, "INT64", (3, 4)),
    ("sigmoid", {}, "FP16", (3,)),
    ("argmax", {}, "FP32", (3, 4)),
    ("argmax", {"axis": 0}, "FP64", (3, 4)),
    ("threshold", {}, "FP32", (3,)),
    ("label", {"labels": ["a", "b"]}, "INT64", (3,)),
    ("round", {"decimals": 1}, "FP32", (3,)),
    ("rename", {"to": "z"}, "FP32", (3,)),
    ("top_k", {"k": 2}, "FP32", (3, 4)),
    ("top_k", {"k": 9, "labels": ["a", "b", "c", "d"]}, "FP32", (4,)),
]
TEXTS = [("lower", {}), ("strip", {}), ("truncate", {"most": 2}), ("one_hot", {"categories": ["a", "b"]})]
ONE_WAY = ("top_k", "rename", "label", "reshape", "select")


def a_step(op: str, options: dict[str, Any]) -> Step:
    return Step(op=op, options=tuple(options.items()))


def done(op: str, options: dict[str, Any], value: Any, name: str = "x") -> dict[str, Any]:
    return prepare([{"op": op, "options": options}], Path())({name: value})


def assert_is(value: Any, foretold: Known) -> None:
    array = np.asarray(value)
    assert foretold.datatype is None or array.dtype == DTYPES[foretold.datatype], foretold
    if foretold.shape is not None:
        assert len(foretold.shape) == array.ndim, (foretold, array.shape)
        assert all(a in (-1, b) for a, b in zip(foretold.shape, array.shape, strict=True)), (
            foretold,
            array.shape,
        )


@pytest.mark.parametrize(("op", "options", "datatype", "shape"), CASES)
def test_what_is_foretold_of_a_step_is_what_it_does(
    op: str, options: dict[str, Any], datatype: str, shape: tuple[int, ...]
) -> None:  # S2.2
    value = np.zeros(shape, DTYPES[datatype])
    foretold = after((a_step(op, options),), (Known(name="x", datatype=datatype, shape=shape),))
    made = done(op, options, value)
    assert foretold is not None
    assert [one.name for one in foretold] == list(made)
    for one in foretold:
        assert_is(made[one.name], one)
    if op in ONE_WAY or "to" in options or "fit" in options:
        return
    # The way back: what is needed before it leads to what was wanted.
    needed = before((a_step(op, options),), foretold)
    assert needed is not None
    if needed[0].shape is not None:
        assert all(a in (-1, b) for a, b in zip(needed[0].shape, shape, strict=True)), needed


@pytest.mark.parametrize(("op", "options"), TEXTS)
def test_what_is_foretold_of_texts_is_what_is_done(op: str, options: dict[str, Any]) -> None:
    foretold = after((a_step(op, options),), (Known(name="x", datatype="BYTES", shape=(2,)),))
    assert foretold is not None
    assert_is(done(op, options, np.array([b"a", "b"], object))["x"], foretold[0])


def test_every_step_is_foretold() -> None:
    tried = {op for op, *_ in CASES} | {op for op, _ in TEXTS}
    assert {one.name for one in STEPS} - tried == {"drop", "nms"}


def test_boxes_and_dropped_values_are_foretold() -> None:
    values = {
        "boxes": np.array([[0, 0, 9, 9], [1, 1, 9, 9]], np.float32), "scores": np.array([0.9, 0.8], np.float32),
        "y": np.zeros(2, np.float32),
    }  # fmt: skip
    steps = [{"op": "nms"}, {"op": "drop", "options": {"on": "y"}}]
    made = prepare(steps, Path(), phase="post")(values)
    known = tuple(Known(name=name, datatype="FP32", shape=array.shape) for name, array in values.items())
    foretold = after((a_step("nms", {}), a_step("drop", {"on": ["y"]})), known)
    assert foretold is not None
    assert [one.name for one in foretold] == list(made) == ["boxes", "scores", "classes"]
    for one in foretold:
        assert_is(made[one.name], one)


def an_image_model(config: str) -> Determined:
    inspection = Inspection(format=Format.ONNX, file="m.onnx")
    inspection.tensor("inputs", "x", "FP32", (-1, 3, 224, 224), "graph input of m.onnx")
    inspection.tensor("outputs", "y", "FP32", (-1, 3), "graph output of m.onnx")
    return determine(read_config(config), inspection, name="m", size_bytes=10)


IMAGE = """
pre:
  - {op: resize, size: [224, 224]}
  - {op: normalize, mean: [123.7, 116.3, 103.5], std: [58.4, 57.1, 57.4]}
  - {op: layout, from: hwc, into: chw}
post:
  - {op: softmax}
  - {op: top_k, k: 2, labels: [cat, dog, cow]}
"""


def test_callers_of_a_model_of_pictures_give_pixels_and_get_labels() -> None:  # S2.2
    found = an_image_model(IMAGE)
    assert found.refusals == () and found.config is not None
    [given], config = found.config.inputs, found.config
    assert (given.datatype, given.shape, given.codec) == (Datatype.UINT8, (-1, -1, -1, 3), Codec.IMAGE)
    assert config.component_inputs[0].shape == (-1, 3, 224, 224)
    assert [(one.name, one.datatype.value, one.shape) for one in config.outputs] == [
        ("y", "FP32", (-1, 2)), ("y_index", "INT64", (-1, 2)), ("y_label", "BYTES", (-1, 2)),
    ]  # fmt: skip
    assert "pillow>=11" in config.runtime.requirements
    fact = found.facts["inputs[x].shape"]
    assert fact.why == "graph input of m.onnx, before pre: resize, normalize, layout"
    # What is written reads back as the same.
    again = an_image_model(write_config(config, found.facts))
    assert again.config == config, again.refusals


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("pre: [{op: resize, size: [200, 200], layout: chw}]", "[-1, 3, 200, 200]"),
        ("pre: [{op: cast, datatype: INT64}]", "it makes INT64, and FP32 is wanted of x"),
        ("pre: [{op: scale, on: z}]", "there is no value 'z'; there are x"),
        ("post: [{op: label}]", "no labels of y are known"),
        ("post: [{op: select, columns: [a]}]", "y has no column 'a'"),
        ("post: [{op: softmax}]\noutputs: [{name: z}]", "no such name"),
        ("post: [{op: softmax}]\noutputs: [{name: y, shape: [-1, 4]}]", "[-1, 4]"),
        ("component: {inputs: [{name: x}]}", "there are no steps that would change them"),
        ("component: {inputs: [{name: z}]}\npre: [{op: scale}]", "component.inputs"),
        ("component: {outputs: [{name: y, shape: [7]}]}\npost: [{op: softmax}]", "[7]"),
    ],
)
def test_steps_that_cannot_fit_are_refused(config: str, words: str) -> None:
    refusals = an_image_model(config).refusals
    assert any(words in one for one in refusals), refusals


def test_what_a_step_leaves_open_is_asked_for() -> None:
    found = an_image_model("pre: [{op: reshape, shape: [-1, 3, 224, 224]}]")
    assert [one.field for one in found.questions] == ["inputs[x].shape"]
    found = an_image_model("pre: [{code: 'prepare:clean'}]")
    assert [one.field for one in found.questions] == ["inputs"]
    assert "prepare:clean" in found.questions[0].why
    said = "inputs: [{name: text, datatype: BYTES, shape: [1]}]"
    whole = an_image_model("pre: [{code: 'prepare:clean'}]\n" + said)
    assert whole.config is not None and whole.config.inputs[0].codec is Codec.TEXT


def test_contradictions_name_their_step() -> None:
    with pytest.raises(Contradiction) as wrong:
        after((a_step("softmax", {}), a_step("rename", {"on": "z", "to": "y"})), (Known(name="x"),))
    assert wrong.value.path == "post[1].on"
    with pytest.raises(Refused):
        read_config("pre: [{op: rename}]")
