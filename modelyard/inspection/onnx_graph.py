"""ONNX: names, types and shapes of a graph's inputs and outputs, as the graph says them. Weights are not needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelyard.inspection.detection import ComponentUnknown, LibraryMissing
from modelyard.models.facts import Inspection
from modelyard.models.values import Datatype

FILES_MOST = 1_000
"""Of weights, that are looked for."""
_TYPES = {
    1: Datatype.FP32, 2: Datatype.UINT8, 3: Datatype.INT8, 4: Datatype.UINT16, 5: Datatype.INT16, 6: Datatype.INT32,
    7: Datatype.INT64, 8: Datatype.BYTES, 9: Datatype.BOOL, 10: Datatype.FP16, 11: Datatype.FP64, 12: Datatype.UINT32,
    13: Datatype.UINT64, 16: Datatype.BF16,
}  # fmt: skip
"""By ONNX's number of an element type; the others exist in no protocol for inference."""


def look(folder: Path, found: Inspection) -> None:
    """Fills in what the graph says."""
    try:
        import onnx
    except ImportError:
        raise LibraryMissing("looking at ONNX needs onnx: pip install 'modelyard[models]'") from None
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(folder / found.file), load_external_data=False)
    except DecodeError:
        raise ComponentUnknown(f"{found.file} is no ONNX model, or is cut off") from None
    graph = model.graph
    if not graph.node and not graph.output:
        raise ComponentUnknown(f"{found.file} is no ONNX model: it has no graph")
    weights = {one.name for one in graph.initializer} | {one.values.name for one in graph.sparse_initializer}
    for value in graph.input:
        if value.name not in weights:
            _note(onnx, found, "inputs", value, f"input of the graph in {found.file}")
    maps = {node.output[0]: node for node in graph.node if node.op_type == "ZipMap" and node.output}
    for value in graph.output:
        if value.name in maps:
            _note_map(found, value.name, maps[value.name])
        else:
            _note(onnx, found, "outputs", value, f"output of the graph in {found.file}")
    for side in ("inputs", "outputs"):
        if side not in found.facts:
            found.know(side, (), f"the graph in {found.file} has none")
    for refusal in _lost_weights(folder / found.file, graph):
        found.refusals.append(refusal)
    _warn(model, found)


def _lost_weights(path: Path, graph: Any) -> Iterator[str]:
    """Weights are kept in files beside the graph where it says so: beside it, and whole."""
    told: set[str] = set()
    for one in graph.initializer:
        said = {entry.key: entry.value for entry in one.external_data}
        name = said.get("location", "")
        if not said or name in told:
            continue
        told.add(name)
        try:
            weights = (path.parent / name).resolve()
            is_beside = (
                weights.is_relative_to(path.parent.resolve()) and not (path.parent / name).is_symlink()
            )
        except (OSError, ValueError, RuntimeError):
            is_beside = False
        if not name or not is_beside:
            yield f"weights of {path.name} lie in {name[:80]!r}, which is not below the component: export it again"
        elif not weights.is_file():
            yield f"weights of {path.name} lie in {name[:80]!r}, which is not there: push the directory with both"
        if len(told) >= FILES_MOST:
            return


def _note(onnx: Any, found: Inspection, side: str, value: Any, why: str) -> None:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        what = "says no type" if kind is None else f"is a {kind.removesuffix('_type')}"
        found.refusals.append(
            f"{side}[{value.name}] {what}; the protocol for inference has tensors only: export the model without it"
        )
        return
    tensor = value.type.tensor_type
    datatype = _TYPES.get(tensor.elem_type)
    if datatype is None:
        name = onnx.TensorProto.DataType.Name(tensor.elem_type)
        found.refusals.append(
            f"{side}[{value.name}] has elements of type {name}; the protocol for inference has no such type:"
            " cast it in the graph"
        )
        return
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(_size(one) for one in tensor.shape.dim)
    found.tensor(side, value.name, datatype.value, shape, why)


def _size(dimension: Any) -> int:
    return int(dimension.dim_value) if dimension.HasField("dim_value") and dimension.dim_value > 0 else -1


def _note_map(found: Inspection, name: str, node: Any) -> None:
    """scikit-learn's converters end in a list of maps from class to score: served as one matrix with named columns."""
    labels: list[str] = []
    for attribute in node.attribute:
        labels += [str(one) for one in attribute.ints] or [one.decode() for one in attribute.strings]
    why = "ZipMap, a map by class for each row, is given as a matrix"
    found.tensor("outputs", name, Datatype.FP32.value, (-1, len(labels) or -1), why)
    if labels:
        found.know(f"outputs[{name}].labels", tuple(labels), "classes of ZipMap")


def _warn(model: Any, found: Inspection) -> None:
    known = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "ai.onnx.training", "ai.onnx.preview.training"}
    own = {function.domain for function in model.functions}
    foreign = sorted({one.domain for one in model.opset_import} - known - own)
    if foreign:
        found.warnings.append(
            f"operators of {', '.join(foreign)} are not ONNX Runtime's own: loading may fail"
        )
