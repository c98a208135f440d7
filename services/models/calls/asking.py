"""What a request asks of a version, checked against what the version takes. Pure but for protobuf.

Owns the refusals that name a field of the request; what only the model can know is refused by its frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from modelyard.models.values import Codec, Config, Tensor
from modelyard.oip.v2 import inference_pb2 as pb
from services.models.calls import tensors
from services.models.calls.errors import (
    ContentsWrong,
    InputMissing,
    InputWrong,
    OutputUnknown,
    ParameterWrong,
)
from services.models.calls.messages import Buffer, Request

PRIORITY = 100
"""Of calls that say none; 1 goes first."""
DRAWING = "viz:"
"""Outputs of this prefix are drawings, which the version need not have declared."""
_KEPT = frozenset({
    "priority", "timeout", "sequence_id", "sequence_start", "sequence_end", "headers", "binary_data_output",
    "triton_enable_empty_final_response", "triton_final_response", "contact",
})  # fmt: skip
"""Parameters of the protocol itself, and of telling; all others are the model's."""
_SHARED_MEMORY = "shared_memory_region"
# Beyond it the frame counts elements of BYTES: here the other calls would wait for it.
_COUNTED_BYTES_MOST = 64 * 1024


class Asked:
    """A call as a version takes it. `inputs` and `outputs` are as frames read them."""

    __slots__ = (
        "buffers",
        "inputs",
        "is_raw",
        "likeness",
        "outputs",
        "parameters",
        "priority",
        "rows",
        "timeout_s",
    )

    inputs: list[dict[str, Any]]
    buffers: Sequence[Buffer]
    outputs: list[str]
    parameters: dict[str, Any]
    rows: int
    """Of its batch axis; 0: it has none, and is computed alone."""
    likeness: tuple[Any, ...]
    """Calls with the same may be computed as one."""
    is_raw: bool
    priority: int
    timeout_s: float
    """0: the request says none."""


class Interface:
    """The inputs and outputs of one version."""

    def __init__(self, config: Config) -> None:
        self._inputs = {spec.name: spec for spec in config.inputs}
        self._needed = [spec.name for spec in config.inputs if not spec.is_optional]
        self._outputs = frozenset(spec.name for spec in config.outputs)

    def read(self, request: Request) -> Asked:
        """Raises the leaves of InvalidArgument of calls/errors.py."""
        message = request.message
        asked = Asked()
        asked.is_raw = bool(request.raw)
        asked.parameters = _parameters(message.parameters, "parameters")
        asked.priority, asked.timeout_s = _urgency(asked.parameters)
        if asked.parameters:
            asked.parameters = {name: value for name, value in asked.parameters.items() if name not in _KEPT}
        asked.outputs = self._wanted(message.outputs)
        asked.inputs, asked.buffers = self._given(message.inputs, request.raw)
        asked.rows = _rows(asked.inputs)
        asked.likeness = _likeness(asked)
        return asked

    def _wanted(self, outputs: Sequence[pb.ModelInferRequest.InferRequestedOutputTensor]) -> list[str]:
        names = [output.name for output in outputs]
        for place, name in enumerate(names):
            if name not in self._outputs and not name.startswith(DRAWING):
                raise OutputUnknown(
                    f"the model has no output {name!r}; it has {', '.join(sorted(self._outputs))}",
                    field=f"outputs[{place}].name",
                )
            for parameter in outputs[place].parameters:
                if parameter == "classification" or parameter.startswith("shared_memory"):
                    raise ParameterWrong(
                        f"outputs cannot be had by {parameter!r} here",
                        field=f"outputs[{place}].parameters",
                        next_step="leave the parameter away: the output comes as a tensor",
                    )
        return names

    def _given(
        self, inputs: Sequence[pb.ModelInferRequest.InferInputTensor], raw: Sequence[Buffer]
    ) -> tuple[list[dict[str, Any]], Sequence[Buffer]]:
        if raw and len(raw) != len(inputs):
            raise ContentsWrong(
                f"{len(inputs)} inputs, and raw contents of {len(raw)}: there must be one for each",
                field="raw_input_contents",
            )
        heads: list[dict[str, Any]] = []
        buffers: list[Buffer] = []
        for place, tensor in enumerate(inputs):
            head = self._head(tensor, place)
            buffers.append(_raw(tensor, head, raw[place], place) if raw else _typed(tensor, head, place))
            heads.append(head)
        self._check_whole(heads)
        return heads, buffers

    def _head(self, tensor: pb.ModelInferRequest.InferInputTensor, place: int) -> dict[str, Any]:
        """Name, type and shape, as the version takes them."""
        name, datatype, shape = tensor.name, tensor.datatype, list(tensor.shape)
        spec = self._inputs.get(name)
        if spec is None:
            raise InputWrong(
                f"the model has no input {name!r}; it has {', '.join(self._inputs) or 'none'}",
                field=f"inputs[{place}].name",
            )
        is_coded = datatype == "BYTES" and _is_coded(tensor, spec)
        if datatype != spec.datatype.value and not is_coded:
            raise InputWrong(
                f"input {name!r} is {spec.datatype.value}, not {datatype or 'without a type'}",
                field=f"inputs[{place}].datatype",
            )
        if not fits(spec.shape, shape) and not (is_coded and all(size >= 0 for size in shape)):
            raise InputWrong(
                f"input {name!r} has the shape {list(spec.shape)} (-1: any), not {shape}",
                field=f"inputs[{place}].shape",
            )
        head: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
        if tensor.parameters:
            head["parameters"] = parameters = _parameters(tensor.parameters, f"inputs[{place}].parameters")
            if _SHARED_MEMORY in parameters:
                raise ParameterWrong(
                    "tensors cannot be taken from shared memory here",
                    field=f"inputs[{place}].parameters",
                    next_step="send the tensor's contents with the request",
                )
        return head

    def _check_whole(self, heads: list[dict[str, Any]]) -> None:
        names = {head["name"] for head in heads}
        if len(names) != len(heads):
            twice = next(head["name"] for place, head in enumerate(heads) if _again(heads, place))
            raise InputWrong(f"input {twice!r} is given twice", field="inputs")
        for name in self._needed:
            if name not in names:
                spec = self._inputs[name]
                raise InputMissing(
                    f"the model needs input {name!r}: {spec.datatype.value} of shape {list(spec.shape)}",
                    field="inputs",
                )


def _is_coded(tensor: pb.ModelInferRequest.InferInputTensor, spec: Tensor) -> bool:
    """Whether it may be a picture, a table or the like, from which the frame makes the tensor."""
    return spec.codec is not Codec.TENSOR or "content_type" in tensor.parameters


def _again(heads: list[dict[str, Any]], place: int) -> bool:
    return any(head["name"] == heads[place]["name"] for head in heads[:place])


def fits(taken: Sequence[int], given: Sequence[int]) -> bool:
    """Whether a tensor of the shape `given` is one of those that `taken` allows."""
    if len(taken) != len(given):
        return False
    for size, other in zip(taken, given, strict=True):  # noqa: SIM110 a generator costs each call more than the loop
        if other < 0 or (size >= 0 and size != other):
            return False
    return True


def _raw(
    tensor: pb.ModelInferRequest.InferInputTensor, head: dict[str, Any], data: Buffer, place: int
) -> Buffer:
    """The bytes as they came, if they are as many as the shape says."""
    if tensor.HasField("contents"):
        raise ContentsWrong(
            f"input {head['name']!r} has typed contents beside raw ones; send either",
            field=f"inputs[{place}].contents",
        )
    count = tensors.count_of(head["shape"])
    size = tensors.SIZES.get(head["datatype"])
    if size is None:
        if len(data) <= _COUNTED_BYTES_MOST:
            _check_elements(head, data, count, place)
    elif len(data) != count * size:
        raise ContentsWrong(
            f"input {head['name']!r} of shape {head['shape']} has {count * size} bytes of {head['datatype']},"
            f" and {len(data)} came",
            field=f"raw_input_contents[{place}]",
        )
    return data


def _check_elements(head: dict[str, Any], data: Buffer, count: int, place: int) -> None:
    try:
        found = len(tensors.elements(data))
    except ValueError as error:
        raise ContentsWrong(
            f"input {head['name']!r} is no packed BYTES: {error}; each element is its length in four bytes,"
            " little-endian, and itself",
            field=f"raw_input_contents[{place}]",
        ) from None
    if found != count:
        raise ContentsWrong(
            f"input {head['name']!r} of shape {head['shape']} has {count} elements, and {found} came",
            field=f"raw_input_contents[{place}]",
        )


def _typed(tensor: pb.ModelInferRequest.InferInputTensor, head: dict[str, Any], place: int) -> bytes:
    """Typed contents, packed."""
    datatype = head["datatype"]
    field = f"inputs[{place}].contents"
    expected = tensors.CONTENTS.get(datatype)
    if expected is None:
        raise ContentsWrong(f"{datatype} has no typed contents; send raw_input_contents", field=field)
    for set_field, _ in tensor.contents.ListFields():
        if set_field.name != expected:
            raise ContentsWrong(
                f"values of {datatype} belong into {expected}, not into {set_field.name}",
                field=f"{field}.{set_field.name}",
            )
    values = getattr(tensor.contents, expected)
    count = tensors.count_of(head["shape"])
    if len(values) != count:
        raise ContentsWrong(
            f"input {head['name']!r} of shape {head['shape']} has {count} elements, and {len(values)} came",
            field=f"{field}.{expected}",
        )
    try:
        return tensors.pack(datatype, values)
    except OverflowError:
        raise ContentsWrong(
            f"input {head['name']!r} has a value that is no {datatype}", field=f"{field}.{expected}"
        ) from None


def _rows(inputs: list[dict[str, Any]]) -> int:
    """The size of the axis that all inputs begin with; 0: they do not agree, or the frame makes tensors of them."""
    rows = 0
    for head in inputs:
        if "parameters" in head and "content_type" in head["parameters"]:
            return 0
        shape = head["shape"]
        if not shape or (rows and shape[0] != rows):
            return 0
        rows = shape[0]
    return rows


def _likeness(asked: Asked) -> tuple[Any, ...]:
    heads = tuple(
        (head["name"], tuple(head["shape"][1:]), _frozen(head["parameters"]) if "parameters" in head else ())
        for head in asked.inputs
    )
    return (heads, tuple(asked.outputs), _frozen(asked.parameters) if asked.parameters else ())


def _frozen(parameters: Mapping[str, Any]) -> tuple[Any, ...]:
    # A type beside its value: 1 and True are equal, and not the same to a model.
    return tuple(sorted((name, type(value).__name__, value) for name, value in parameters.items()))


def _parameters(given: Mapping[str, pb.InferParameter], field: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in given.items():
        kind = value.WhichOneof("parameter_choice")
        if kind is not None:
            found[name] = one = getattr(value, kind)
            if isinstance(one, float) and not isfinite(one):
                raise ParameterWrong(f"{name} is no number: {one}", field=f"{field}[{name}]")
    return found


def _urgency(parameters: dict[str, Any]) -> tuple[int, float]:
    """Priority, and seconds of the protocol's own timeout."""
    if not parameters:
        return PRIORITY, 0.0
    values = []
    for name in ("priority", "timeout"):
        value = parameters.get(name, 0)
        if isinstance(value, (bool, str)) or value < 0 or value != value:
            raise ParameterWrong(
                f"{name} is a number that is not negative, not {value!r}", field=f"parameters[{name}]"
            )
        values.append(value)
    return int(values[0]) or PRIORITY, values[1] / 1e6
