"""Models that nobody here wrote, those inside the onnx and onnxruntime packages, with the tensors shipped beside them;
and one of scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

from modelyard.oip.v2 import inference_pb2 as pb
from tests.conformance.asking import CONTENTS, pack

ONNX = Path(onnx.__file__).parent / "backend" / "test" / "data"
ONNXRUNTIME = Path(onnxruntime.__file__).parent / "datasets"
GRAPHS = {
    "mul": ONNXRUNTIME / "mul_1.onnx",
    "sigmoid": ONNXRUNTIME / "sigmoid.onnx",
    "logreg": ONNXRUNTIME / "logreg_iris.onnx",
    "relu": ONNX / "simple/test_single_relu_model/model.onnx",
    "strings": ONNX / "simple/test_strnorm_model_monday_casesensintive_nochangecase/model.onnx",
    "expand": ONNX / "simple/test_expand_shape_model1/model.onnx",
    "doubles": ONNX / "simple/test_sequence_model7/model.onnx",
    "free-axis": ONNX / "simple/test_sequence_model8/model.onnx",
    "embedding": ONNX / "pytorch-converted/test_Embedding/model.onnx",
    "convolution": ONNX / "pytorch-converted/test_Conv2d/model.onnx",
    "two-inputs": ONNX / "pytorch-operator/test_operator_max/model.onnx",
    "two-outputs": ONNX / "pytorch-operator/test_operator_chunk/model.onnx",
}
SKLEARN = "sklearn"
DATATYPES = {
    "float32": "FP32", "float64": "FP64", "int64": "INT64", "object": "BYTES",
}  # fmt: skip
NUMPY = {datatype: np.dtype(name) for name, datatype in DATATYPES.items()}


@dataclass(frozen=True)
class Example:
    """What goes into a model, and what has to come out where that was shipped with it."""

    name: str
    inputs: dict[str, Any]
    shipped: dict[str, Any]

    @cached_property
    def raw(self) -> pb.ModelInferRequest:
        request = pb.ModelInferRequest(model_name=self.name, id="r-1")
        for name, array in self.inputs.items():
            datatype = DATATYPES[str(array.dtype)]
            request.inputs.add(name=name, datatype=datatype, shape=array.shape)
            request.raw_input_contents.append(pack(datatype, array.flatten().tolist()))
        return request

    @cached_property
    def typed(self) -> pb.ModelInferRequest:
        request = pb.ModelInferRequest(model_name=self.name, id="r-1")
        for name, array in self.inputs.items():
            datatype = DATATYPES[str(array.dtype)]
            tensor = request.inputs.add(name=name, datatype=datatype, shape=array.shape)
            getattr(tensor.contents, CONTENTS[datatype]).extend(array.flatten().tolist())
        return request


def example_of(name: str) -> Example:
    if name == SKLEARN:
        return Example(name, {"features": np.array([[5.1, 3.5, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3]])}, {})
    path = GRAPHS[name]
    session = onnxruntime.InferenceSession(str(path))
    inputs = [one.name for one in session.get_inputs()]
    outputs = [one.name for one in session.get_outputs()]
    folder = path.parent / "test_data_set_0"
    if not folder.exists():
        [one] = session.get_inputs()
        size = int(np.prod(one.shape))
        return Example(name, {one.name: (np.arange(size, dtype=np.float32) / 4).reshape(one.shape)}, {})
    return Example(name, _shipped(folder, "input", inputs), _shipped(folder, "output", outputs))


def _shipped(folder: Path, side: str, names: list[str]) -> dict[str, Any]:
    found = {}
    for at, name in enumerate(names):
        tensor = TensorProto()
        tensor.ParseFromString((folder / f"{side}_{at}.pb").read_bytes())
        array = numpy_helper.to_array(tensor)
        found[name] = _bytes(array) if array.dtype.kind in "OUS" else array
    return found


def _bytes(array: Any) -> Any:
    flat = [one if isinstance(one, bytes) else str(one).encode() for one in array.flatten()]
    return np.array(flat, np.object_).reshape(array.shape)


def arrays_of(response: pb.ModelInferResponse) -> dict[str, Any]:
    """The outputs, raw or typed, in the shape that is said of them."""
    found = {}
    for at, output in enumerate(response.outputs):
        shape = tuple(output.shape)
        if response.raw_output_contents:
            found[output.name] = _from_raw(output.datatype, response.raw_output_contents[at], shape)
        else:
            values = list(getattr(output.contents, CONTENTS[output.datatype]))
            found[output.name] = np.array(values, NUMPY[output.datatype]).reshape(shape)
    return found


def _from_raw(datatype: str, data: bytes, shape: tuple[int, ...]) -> Any:
    if datatype != "BYTES":
        return np.frombuffer(data, NUMPY[datatype]).reshape(shape)
    values, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        values.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return np.array(values, np.object_).reshape(shape)
