"""Graphs that nobody here wrote: those inside the onnx package, with the tensors that go with them as the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelyard.inspection import inspect_component
from modelyard.models import Determined, determine

CORPUS = Path(onnx.__file__).parent / "backend" / "test" / "data"
_NUMPY = {
    "FP16": "float16", "FP32": "float32", "FP64": "float64", "BOOL": "bool", "BYTES": "object",
    **{f"{sign}INT{size}": f"{sign.lower()}int{size}" for sign in ("", "U") for size in (8, 16, 32, 64)},
}  # fmt: skip


def described(path: Path) -> Determined:
    return determine({}, inspect_component(path), name="m", size_bytes=1)


def fits(found: Any, tensor: Any) -> bool:
    array = numpy_helper.to_array(tensor)
    sizes = zip(found.shape, array.shape, strict=False)
    return (
        str(array.dtype) == _NUMPY[found.datatype.value]
        and len(array.shape) == len(found.shape)
        and all(wide in (-1, size) for wide, size in sizes)
    )


def test_protocol_of_graphs_from_elsewhere_is_right_or_refused_with_the_reason() -> None:  # S2.2
    wrong, right, refused = [], 0, 0
    for path in sorted(CORPUS.rglob("*.onnx")):
        found = described(path)
        if found.config is None:
            assert found.refusals, f"{path.parent.name}: {found.questions}"
            refused += 1
            continue
        right += 1
        for folder in path.parent.glob("test_data_set_*"):
            for side, tensors in (("input", found.config.inputs), ("output", found.config.outputs)):
                for file, tensor in zip(sorted(folder.glob(f"{side}_*.pb")), tensors, strict=True):
                    said = TensorProto()
                    said.ParseFromString(file.read_bytes())
                    if not fits(tensor, said):
                        wrong.append(f"{path.parent.name}/{file.name}: {tensor}")
    assert not wrong
    assert right >= 0.95 * (right + refused) and right > 100


def graph(output: Any, *nodes: Any, inputs: Any = None) -> onnx.ModelProto:
    given = inputs or [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])]
    return helper.make_model(helper.make_graph(list(nodes), "g", given, [output]))


def test_map_by_class_is_given_as_a_matrix_with_labels(tmp_path: Path) -> None:
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    node = helper.make_node("ZipMap", ["p"], ["z"], domain="ai.onnx.ml", classlabels_strings=["no", "yes"])
    onnx.save(graph(helper.make_value_info("z", kind), node), str(tmp_path / "m.onnx"))
    found = described(tmp_path / "m.onnx")
    assert found.config is not None
    [output] = found.config.outputs
    assert (output.datatype.value, output.shape, output.labels) == ("FP32", (-1, 2), ("no", "yes"))
    assert found.config.inputs[0].shape == (-1, 4)


@pytest.mark.parametrize(
    ("output", "word"),
    [
        (helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, [2]), "sequence"),
        (helper.make_tensor_value_info("c", TensorProto.COMPLEX64, [2]), "COMPLEX64"),
        (helper.make_tensor_value_info("f", TensorProto.FLOAT8E4M3FN, [2]), "FLOAT8E4M3FN"),
    ],
)
def test_what_no_protocol_has_is_refused_by_name(tmp_path: Path, output: Any, word: str) -> None:  # S2.2
    onnx.save(graph(output, helper.make_node("Identity", ["x"], [output.name])), str(tmp_path / "m.onnx"))
    found = described(tmp_path / "m.onnx")
    assert found.config is None
    assert word in found.refusals[0] and output.name in found.refusals[0]


@pytest.mark.parametrize(
    ("location", "word"),
    [
        ("../secret.bin", "not below"),
        ("/etc/passwd", "not below"),
        ("/dev/zero", "not below"),
        ("link.bin", "not below"),
        ("x\0y", "not below"),
        ("a" * 5_000, "weights of"),
        ("w.bin", "push the directory with both"),
    ],
)
def test_weights_that_lie_elsewhere_are_refused(tmp_path: Path, location: str, word: str) -> None:  # N4
    (tmp_path / "secret.bin").write_bytes(b"s3cr" * 4)
    folder = tmp_path / "component"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    write_with_weights(folder, location)
    assert any(word in one for one in inspect_component(folder).refusals)


def test_weights_that_lie_beside_the_graph_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"abcd" * 4)
    write_with_weights(tmp_path, "w.bin")
    assert not inspect_component(tmp_path).refusals


def write_with_weights(folder: Path, location: str) -> None:
    """A graph that adds weights from another file."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    entry = weights.external_data.add()
    entry.key, entry.value = "location", location
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])
    model = graph(output, helper.make_node("Add", ["x", "w"], ["y"]))
    model.graph.initializer.append(weights)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
