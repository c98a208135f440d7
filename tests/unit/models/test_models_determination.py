"""model.yaml from facts: who goes before whom, what is asked, what is refused, and that what is written reads back."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.models import (
    Codec,
    Datatype,
    Determined,
    Format,
    Inspection,
    Provenance,
    determine,
    read_config,
    write_config,
)
from modelyard.models.rules import codec_of


def inspected(format_: Format = Format.ONNX) -> Inspection:
    found = Inspection(format=format_, file="model.onnx", facts={})
    found.tensor("inputs", "x", "FP32", (-1, 4), "graph")
    found.tensor("outputs", "y", "INT64", (-1,), "graph")
    return found


def determined(text: str = "", inspection: Inspection | None = None, size_bytes: int = 1_000) -> Determined:
    return determine(read_config(text), inspection or inspected(), name="iris", size_bytes=size_bytes)


def test_whole_configuration_of_a_graph_says_how_each_field_is_known() -> None:  # S2.2, S2.3
    found = determined()
    assert found.config is not None
    [x], [y] = found.config.inputs, found.config.outputs
    assert (x.name, x.datatype, x.shape) == ("x", Datatype.FP32, (-1, 4))
    assert (y.name, y.datatype, y.shape) == ("y", Datatype.INT64, (-1,))
    assert found.facts["inputs[x].shape"].provenance is Provenance.INSPECTED
    assert found.facts["serving.max_batch"].provenance is Provenance.DEFAULT
    assert found.config.serving.max_batch == 32
    assert found.config.runtime.requirements == ("onnxruntime>=1.20",)
    lacking = {
        name for name in found.facts if not found.facts[name].why and name not in ("inputs", "outputs")
    }
    assert not lacking


def test_what_is_declared_goes_before_what_was_found() -> None:  # S2.3
    found = determined(
        "name: mine\nruntime: {kind: container, cpu: 2, memory: 2Gi}\n"
        "inputs: [{name: x, shape: [8, 4]}]\nserving: {max_batch: 0, idle_unload: 1m}"
    )
    assert found.config is not None
    assert (found.config.name, found.config.runtime.kind, found.config.runtime.cpu) == (
        "mine",
        "container",
        2,
    )
    assert found.config.runtime.memory_bytes == 2 << 30
    assert found.config.inputs[0].shape == (8, 4)
    assert found.config.inputs[0].datatype is Datatype.FP32
    assert found.facts["inputs[x].shape"].provenance is Provenance.DECLARED
    assert (found.config.serving.max_batch, found.config.serving.idle_unload_s) == (0, 60)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("inputs: [{name: z, datatype: FP32, shape: [-1, 4]}]", "inputs[z]"),
        ("inputs: [{name: x, shape: [-1, 5]}]", "inputs[x].shape"),
        ("inputs: [{name: x, shape: [4]}]", "inputs[x].shape"),
        ("component: {format: skops}", "component.format"),
    ],
)
def test_what_contradicts_the_files_is_refused_by_name(text: str, word: str) -> None:  # S2.2
    found = determined(text)
    assert found.config is None
    assert any(refusal.startswith(word) for refusal in found.refusals), found.refusals


def test_what_nobody_knows_is_asked_precisely_and_answered_by_a_file() -> None:  # S2.2
    blind = Inspection(format=Format.SAFETENSORS, file="w.safetensors", facts={})
    blind.tensor("inputs", "x", None, None, "predict")
    blind.tensor("outputs", "y", "FP32", (-1,), "predict")
    found = determined("", blind)
    assert found.config is None
    assert [one.field for one in found.questions] == ["inputs[x].datatype", "inputs[x].shape"]
    assert not found.questions[0].is_probed and "FP32" in found.questions[0].choices
    answered = determined("inputs: [{name: x, datatype: UINT8, shape: [-1, 28, 28, 1]}]", blind)
    assert answered.config is not None
    assert answered.config.inputs[0].codec is Codec.IMAGE


def test_probe_answers_what_files_and_owner_do_not() -> None:  # S2.2
    blind = Inspection(format=Format.PICKLE, file="m.pkl", facts={})
    asked = determine({}, blind, name="m", size_bytes=1)
    assert all(one.is_probed for one in asked.questions)
    probed = Inspection(format=Format.PICKLE, facts={})
    probed.tensor("inputs", "features", "FP64", (-1, 4), "n_features_in_")
    probed.tensor("outputs", "label", "INT64", (-1,), "the same for one row and for two")
    facts = {
        path: msgspec.structs.replace(fact, provenance=Provenance.PROBED)
        for path, fact in probed.facts.items()
    }
    found = determine({}, blind, name="m", size_bytes=1, probed=facts)
    assert found.config is not None
    assert found.facts["inputs[features].shape"].provenance is Provenance.PROBED


@pytest.mark.parametrize(
    ("datatype", "shape", "codec"),
    [
        (Datatype.FP32, (-1, 3, 224, 224), Codec.IMAGE),
        (Datatype.UINT8, (-1, 28, 28, 1), Codec.IMAGE),
        (Datatype.UINT8, (-1, -1, -1, 3), Codec.IMAGE),
        (Datatype.FP32, (-1, 3, 4, 4), Codec.TENSOR),
        (Datatype.INT64, (-1, 3, 224, 224), Codec.TENSOR),
        (Datatype.FP32, (-1, 4), Codec.TENSOR),
        (Datatype.BYTES, (-1,), Codec.TEXT),
    ],
)
def test_codec_follows_from_type_and_shape(datatype: Datatype, shape: tuple[int, ...], codec: Codec) -> None:
    assert codec_of(datatype, shape, ())[0] is codec


def test_memory_grows_with_the_component() -> None:
    small, large = determined(size_bytes=1), determined(size_bytes=1 << 30)
    assert small.config is not None and large.config is not None
    assert (small.config.runtime.memory_bytes, large.config.runtime.memory_bytes) == (512 << 20, 3 << 30)


names = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12)
tensors = st.lists(
    st.tuples(names, st.sampled_from(Datatype), st.lists(st.integers(-1, 300), max_size=4)), min_size=1, max_size=4,
    unique_by=lambda one: one[0],
)  # fmt: skip


@given(inputs=tensors, outputs=tensors, columns=st.lists(names, max_size=3))
def test_what_is_written_reads_back_to_the_same_configuration(
    inputs: list[tuple[str, Datatype, list[int]]],
    outputs: list[tuple[str, Datatype, list[int]]],
    columns: list[str],
) -> None:  # S2.3
    found = Inspection(format=Format.ONNX, file="a/model.onnx", facts={})
    for side, each in (("inputs", inputs), ("outputs", outputs)):
        for name, datatype, shape in each:
            found.tensor(side, name, datatype.value, tuple(shape), "said so: # : {")
    found.know(f"inputs[{inputs[0][0]}].columns", tuple(columns), "said so")
    first = determine({}, found, name="m", size_bytes=1)
    assert first.config is not None
    text = write_config(first.config, first.facts)
    bare = Inspection(format=Format.ONNX, file="a/model.onnx", facts={})
    second = determine(read_config(text), bare, name="other", size_bytes=9)
    assert second.config == first.config
