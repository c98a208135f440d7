"""A picture goes in as PNG; labels, numbers and a drawing come out: decode, steps, compute, steps, encode, draw."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from modelyard.models import Format, Inspection, determine, read_config
from modelyard.serving.calls import Answer, Call
from modelyard.serving.errors import InvalidValue
from modelyard.serving.launch import launch_of
from modelyard.serving.proving import Proved, prove
from modelyard.serving.tensors import from_wire, to_wire
from tests.support.charts import renderer

__all__ = ["renderer"]
pytestmark = pytest.mark.usefixtures("renderer")

CODE = """
import numpy as np

class Colours:
    def predict(self, x: np.ndarray) -> np.ndarray:
        assert x.shape[1:] == (3, 16, 16), x.shape
        return x.mean(axis=(2, 3)).astype(np.float32)
"""
CONFIG = """
pre:
  - {op: resize, size: [16, 16]}
  - {op: normalize, mean: 127.5, std: 127.5}
  - {op: layout, from: hwc, into: chw}
post:
  - {op: softmax}
  - {op: top_k, k: 1, labels: [red, green, blue]}
visualise:
  - {op: bar, of: y}
  - {op: heatmap, of: nothing}
"""


@pytest.fixture
def proved(tmp_path: Path) -> Proved:
    (tmp_path / "colours.py").write_text(CODE)
    inspection = Inspection(format=Format.PYTHON, file="colours.py")
    inspection.tensor("inputs", "x", "FP32", (-1, 3, 16, 16), "said")
    inspection.tensor("outputs", "y", "FP32", (-1, 3), "said")
    config = determine(read_config(CONFIG), inspection, name="colours", size_bytes=1).config
    plain = msgspec.to_builtins(config)
    return prove(launch_of({"component": str(tmp_path), "config": plain}))


def a_png(colour: tuple[int, int, int], size: tuple[int, int] = (40, 20)) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, "PNG")
    return content.getvalue()


def a_call(value: Any, content_type: str = "", **parameters: Any) -> Call:
    meta, buffer = to_wire("x", value)
    meta["parameters"] = {"content_type": content_type} if content_type else {}
    return Call(1, (meta,), (memoryview(buffer),), parameters=parameters)


def outputs_of(answer: Answer) -> dict[str, Any]:
    return {
        meta["name"]: from_wire(meta, memoryview(buffer))
        for meta, buffer in zip(answer.outputs, answer.buffers, strict=True)
    }


def test_picture_is_answered_with_a_label_and_a_drawing(proved: Proved) -> None:  # S2.5, S2.7
    call = a_call(a_png((250, 10, 20)), "image/png", visualise="bar")
    answer = proved.runner.run(call)
    found = outputs_of(answer)
    assert found["y_label"].tolist() == [[b"red"]]
    assert found["y_index"].tolist() == [[0]]
    assert 0.5 < found["y"][0, 0] < 1
    with Image.open(io.BytesIO(found["viz:bar"][0])) as drawn:
        drawn.load()
        [meta] = [one for one in answer.outputs if one["name"] == "viz:bar"]
        assert (meta["parameters"]["width"], meta["parameters"]["height"]) == drawn.size


def test_pixels_are_taken_as_a_tensor_too_and_calls_of_unlike_pictures_are_one_batch(proved: Proved) -> None:
    calls = [
        a_call(np.full((1, 30, 30, 3), (0, 200, 0), np.uint8)), a_call(a_png((0, 0, 255), (9, 99))),
        a_call(b"no picture at all"),
    ]  # fmt: skip
    first, second, third = proved.runner.run_batch(calls)
    assert isinstance(first, Answer) and isinstance(second, Answer)
    assert outputs_of(first)["y_label"].tolist() == [[b"green"]]
    assert outputs_of(second)["y_label"].tolist() == [[b"blue"]]
    assert isinstance(third, InvalidValue) and third.field == "inputs[x]"


def test_drawing_that_fails_leaves_the_numbers(proved: Proved) -> None:  # S2.7
    answer = proved.runner.run(a_call(a_png((1, 2, 3)), visualise="heatmap"))
    assert "nothing" in answer.parameters["viz_error"]
    assert set(outputs_of(answer)) == {"y", "y_index", "y_label"}
