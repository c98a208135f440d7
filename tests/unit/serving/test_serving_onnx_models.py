"""The models that come with onnx: looked at, probed, loaded; their own outputs are the oracle (S2.2, N1)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from modelyard.inspection import inspect_component
from modelyard.models import determine
from modelyard.serving.calls import Call
from modelyard.serving.errors import ComponentUnfit
from modelyard.serving.launch import Launch, launch_of
from modelyard.serving.probe import probed
from modelyard.serving.proving import prove
from modelyard.serving.running import Runner
from tests.support.model_frames import arrays_of_pairs, tensors_of

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
MODELS = sorted(DATA.glob("*/*/model.onnx"))


def tensor(path: Path) -> Any:
    read = onnx.TensorProto()
    read.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(read)


def launch(model: Path, folder: Path) -> Launch | None:
    """None: its files are refused already."""
    folder.mkdir()
    shutil.copy(model, folder / "model.onnx")
    found = determine({}, inspect_component(folder / "model.onnx"), name="model", size_bytes=1)
    if found.config is None:
        assert found.refusals
        return None
    return launch_of({"component": str(folder), "config": msgspec.to_builtins(found.config)})


def answers_as_shipped(runner: Runner, names: list[str], model: Path) -> None:
    for data in sorted(model.parent.glob("test_data_set_*")):
        inputs, buffers = tensors_of(
            {name: tensor(data / f"input_{place}.pb") for place, name in enumerate(names)}
        )
        answer = runner.run(Call("id", inputs, [bytearray(one) for one in buffers]))
        found = arrays_of_pairs(answer.outputs, answer.buffers)
        for place, got in enumerate(found.values()):
            wanted = tensor(data / f"output_{place}.pb")
            if got.dtype == object:
                assert [one.decode() for one in got.reshape(-1)] == list(wanted.reshape(-1))
            else:
                assert got.shape == wanted.shape
                np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5)


def test_each_is_answered_as_shipped_or_refused_with_a_reason(tmp_path: Path) -> None:
    right, proved = 0, 0
    for place, model in enumerate(MODELS):
        made = launch(model, tmp_path / str(place))
        if made is None:
            continue
        try:
            found = probed(made)
        except ComponentUnfit as error:
            # Operators of times before ONNX Runtime, of training, or of a locale that this machine has not.
            assert error.field == "component.file" and "ONNX Runtime cannot load it" in error.message, model
            continue
        for spec in made.settings.inputs:
            assert found["facts"][f"inputs[{spec.name}].datatype"][0] == spec.datatype
        answers_as_shipped(prove(made).runner, [one.name for one in made.settings.inputs], model)
        right += 1
        proved += found["golden"] is not None
    assert right >= 90 and proved >= right - 6, (right, proved, len(MODELS))


@pytest.mark.parametrize("name", ["test_sequence_model8", "test_single_relu_model"])
def test_a_golden_example_of_one_is_answered_the_same_again(tmp_path: Path, name: str) -> None:
    [model] = [one for one in MODELS if one.parent.name == name]
    made = launch(model, tmp_path / "component")
    assert made is not None
    golden = probed(made)["golden"]
    document = {
        "component": str(made.component),
        "config": dict(made.settings.plain),
        "golden": {**golden["example"], "digest": golden["digest"]},
    }
    assert prove(launch_of(document)).golden_digest == golden["digest"]
