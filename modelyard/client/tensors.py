"""Values of Python as tensors, and back. numpy is used where a caller gives or wants its arrays, and never needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modelyard.errors import YardError
from modelyard.packing import flat, nested, pack, unpack

if TYPE_CHECKING:
    from modelyard.oip.v2 import inference_pb2 as pb

_KINDS = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip


class InputUnfit(YardError):
    """A value cannot be an input of the model."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Packed elements with their type and shape."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def value(self) -> Any:
        """Lists within lists; of BYTES bytes, of which one alone is no list."""
        values = unpack(self.datatype, self.data)
        if self.datatype == "BYTES" and len(values) == 1:
            return values[0]
        return nested(values, self.shape)

    @property
    def text(self) -> str:
        """Of one element of BYTES. Raises ValueError for anything else."""
        value = self.value
        if not isinstance(value, bytes):
            raise ValueError(f"{self.name} is {self.datatype} {list(self.shape)}, no text")
        return value.decode()

    def array(self) -> Any:
        """As numpy has it; BF16 as FP32, BYTES as objects."""
        import numpy

        if self.datatype in _KINDS:
            return numpy.frombuffer(self.data, _KINDS[self.datatype]).reshape(self.shape)
        values = unpack(self.datatype, self.data)
        kind = "f4" if self.datatype == "BF16" else "O"
        return numpy.array(values, dtype=kind).reshape(self.shape)


def tensor(spec: pb.ModelMetadataResponse.TensorMetadata, value: Any) -> Tensor:
    """What a caller gives for an input: numbers, texts, bytes, lists of them, or an array. Axes that it lacks before
    its own have the size 1. Raises InputUnfit."""
    try:
        shape, data = _packed(spec.datatype, value)
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise InputUnfit(
            f"input {spec.name!r} is {spec.datatype} {list(spec.shape)}: {error}",
            code="INVALID_ARGUMENT", reason="INPUT_UNFIT", field=spec.name,
        ) from None  # fmt: skip
    shape = [*[1] * (len(spec.shape) - len(shape)), *shape]
    return Tensor(spec.name, spec.datatype, tuple(shape), data)


def _packed(datatype: str, value: Any) -> tuple[list[int], bytes]:
    if hasattr(value, "dtype") and hasattr(value, "tobytes"):
        if datatype in _KINDS:
            return list(value.shape), value.astype(_KINDS[datatype]).tobytes()
        value = value.tolist()
    values, shape = ([value], []) if isinstance(value, (str, bytes)) else flat(value)
    if datatype == "BYTES":
        values = [one.encode() if isinstance(one, str) else bytes(one) for one in values]
    return shape, pack(datatype, values)


def tensors_of(response: pb.ModelInferResponse) -> dict[str, Tensor]:
    """The outputs of a raw response, by name."""
    found: dict[str, Tensor] = {}
    for output, data in zip(response.outputs, response.raw_output_contents, strict=True):
        shape = tuple(output.shape)
        found[output.name] = Tensor(
            output.name, output.datatype, shape, data, parameters_of(output.parameters)
        )
    return found


def parameters_of(given: Mapping[str, pb.InferParameter]) -> dict[str, Any]:
    """As values of Python."""
    return {
        name: getattr(one, one.WhichOneof("parameter_choice") or "string_param")
        for name, one in given.items()
    }


def put_parameters(target: Any, given: Mapping[str, Any]) -> None:
    """Into a message. Raises TypeError for what is no truth value, number or text."""
    for name, value in given.items():
        if isinstance(value, bool):
            target[name].bool_param = value
        elif isinstance(value, int):
            target[name].int64_param = value
        elif isinstance(value, float):
            target[name].double_param = value
        elif isinstance(value, str):
            target[name].string_param = value
        else:
            raise TypeError(f"parameter {name!r} is neither a truth value, nor a number, nor a text")


def put_inputs(request: pb.ModelInferRequest, inputs: Sequence[Tensor]) -> None:
    """Raw, in their order."""
    for one in inputs:
        added = request.inputs.add(name=one.name, datatype=one.datatype, shape=one.shape)
        put_parameters(added.parameters, one.parameters)
        request.raw_input_contents.append(one.data)
