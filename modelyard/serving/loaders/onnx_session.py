"""ONNX by ONNX Runtime: inputs and outputs by the names of the graph; ZipMap's maps become a matrix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from modelyard.serving.errors import ComponentUnfit, InvalidValue, library
from modelyard.serving.launch import Settings
from modelyard.serving.loaders.loading import Findings, Loading, Values
from modelyard.serving.tensors import Array, narrowed, widened

_TYPES = {
    "float": "FP32", "double": "FP64", "float16": "FP16", "bfloat16": "BF16", "bool": "BOOL", "string": "BYTES",
    "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "int8": "INT8", "int16": "INT16",
    "int32": "INT32", "int64": "INT64",
}  # fmt: skip
_DTYPES = {
    "float": np.float32, "double": np.float64, "float16": np.float16, "bool": np.bool_, "uint8": np.uint8,
    "uint16": np.uint16, "uint32": np.uint32, "uint64": np.uint64, "int8": np.int8, "int16": np.int16,
    "int32": np.int32, "int64": np.int64,
}  # fmt: skip
_BFLOAT16 = 16
"""ONNX's number of the element type."""
_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_GPU = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"


def load(loading: Loading) -> Session:
    """Raises ServingError, and what ONNX Runtime raises of a graph that it cannot run."""
    runtime = library("onnxruntime", "onnxruntime", "runtime.requirements", "loading ONNX")
    runtime.disable_telemetry_events()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = loading.settings.library_threads
    options.inter_op_num_threads = 1
    # What it would log it raises too.
    options.log_severity_level = 4
    # A core that waits for the next call is one that nobody else has.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    known = runtime.get_available_providers()
    wanted = [_GPU] if loading.settings.has_gpu and _GPU in known else []
    if loading.settings.has_gpu and not wanted:
        loading.warnings.append(
            "onnxruntime has no support for GPUs here: name onnxruntime-gpu in runtime.requirements"
        )
    state = runtime.capi.onnxruntime_pybind11_state
    unfit = (state.NoSuchFile, state.InvalidProtobuf, state.InvalidGraph, state.InvalidArgument, state.Fail,
             state.NotImplemented, state.RuntimeException)  # fmt: skip
    try:
        session = runtime.InferenceSession(str(loading.path), options, providers=[*wanted, _CPU])
    except unfit as error:
        raise ComponentUnfit(
            f"ONNX Runtime cannot load it: {_words(error)}. Export the model again, or convert it to a later opset",
            "component.file",
        ) from None
    return Session(runtime, session, loading.settings)


class Session:
    """A graph that runs."""

    takes_objects = False

    def __init__(self, runtime: Any, session: Any, settings: Settings) -> None:
        self._runtime = runtime
        self._session = session
        self._state = runtime.capi.onnxruntime_pybind11_state
        self._wrong = (
            self._state.InvalidArgument,
            self._state.Fail,
            self._state.RuntimeException,
            ValueError,
        )
        self._inputs = {one.name: _element(one.type) for one in session.get_inputs()}
        self._outputs = [one.name for one in session.get_outputs()]
        self._types = {one.name: one.type for one in session.get_outputs()}
        self._labels = {one.name: one.labels for one in settings.outputs}
        raw = [*self._inputs.values(), *(_element(kind) for kind in self._types.values())]
        self._has_bfloat16 = "bfloat16" in raw

    def compute(self, values: Values, wanted: Sequence[str] | None) -> Values:
        names = [name for name in self._outputs if wanted is None or name in wanted]
        feeds = {
            name: self._feed(name, kind, values) for name, kind in self._inputs.items() if name in values
        }
        try:
            found = self._raw(names, feeds) if self._has_bfloat16 else self._session.run(names, feeds)
        except self._wrong as error:
            # The graph itself is sound: it was loaded, and proved by a run.
            raise InvalidValue(_words(error), "inputs") from None
        except self._state.NotImplemented as error:
            raise ComponentUnfit(_words(error), "component.file") from None
        return {
            name: self._matrix(name, value) if isinstance(value, list) else value
            for name, value in zip(names, found, strict=True)
        }

    def findings(self) -> Findings:
        found: Findings = {}
        for side, values in (
            ("inputs", self._session.get_inputs()),
            ("outputs", self._session.get_outputs()),
        ):
            found[side] = ([one.name for one in values], "the graph, as ONNX Runtime loads it")
            for one in values:
                datatype = _TYPES.get(_element(one.type))
                if datatype is not None:
                    why = f"the graph says {one.type}"
                    found[f"{side}[{one.name}].datatype"] = (datatype, why)
                    shape = [size if isinstance(size, int) else -1 for size in one.shape]
                    found[f"{side}[{one.name}].shape"] = (shape, why)
        return found

    def _feed(self, name: str, kind: str, values: Values) -> Array:
        array = np.asarray(values[name])
        if kind == "bfloat16":
            return narrowed(array)
        if kind == "string":
            return _texts(array)
        dtype = _DTYPES.get(kind)
        if dtype is None or array.dtype == dtype:
            return array
        if not np.can_cast(array.dtype, dtype, "same_kind"):
            raise InvalidValue(
                f"the graph takes {_TYPES.get(kind, kind)}, and got {array.dtype}", f"inputs[{name}]"
            )
        return array.astype(dtype)

    def _raw(self, names: list[str], feeds: dict[str, Array]) -> list[Any]:
        """numpy has no BF16: its bits go in and come out."""
        of = self._runtime.OrtValue.ortvalue_from_numpy
        raw = self._runtime.OrtValue.ortvalue_from_numpy_with_onnx_type
        given = {
            name: raw(array, _BFLOAT16) if self._inputs[name] == "bfloat16" else of(array)
            for name, array in feeds.items()
        }
        found = self._session.run_with_ort_values(names, given)
        return [
            widened(np.asarray(one.numpy()).view(np.uint16)) if "bfloat16" in one.data_type() else one.numpy()
            for one in found
        ]

    def _matrix(self, name: str, rows: list[Any]) -> Array:
        """What ZipMap gives, a map by class for each row, as a matrix."""
        if not all(isinstance(row, dict) for row in rows):
            raise ComponentUnfit(
                "it is a sequence; the protocol for inference has tensors only: export the model without it",
                f"outputs[{name}]",
            )
        classes = list(rows[0]) if rows else []
        labels = self._labels.get(name) or ()
        order = sorted(classes, key=lambda one: labels.index(str(one)) if str(one) in labels else len(labels))
        return np.array([[row[one] for one in order] for row in rows], np.float32).reshape(len(rows), -1)


def _element(kind: str) -> str:
    """ "tensor(float)" → "float"."""
    return kind.removeprefix("tensor(").removesuffix(")") if kind.startswith("tensor(") else kind


def _texts(array: Array) -> Array:
    found = np.empty(array.size, object)
    for place, one in enumerate(array.reshape(-1).tolist()):
        found[place] = one.decode("utf-8", "surrogateescape") if isinstance(one, bytes) else str(one)
    return found.reshape(array.shape)


def _words(error: BaseException) -> str:
    """Without ONNX Runtime's own prefix."""
    return " ".join(_PREFIX.sub("", str(error)).split())[:1000]
