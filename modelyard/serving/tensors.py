"""Tensors as the Open Inference Protocol has them raw, and arrays: packed, little-endian, checked before they are used.

BYTES are arrays of Python's bytes. BF16, which numpy has not, is FP32 within the frame: widening is exact, narrowing
rounds to the nearest, ties to even. All else is numpy's own type and, where it can be, the received memory itself.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.serving.errors import ComponentUnfit, InvalidValue
from modelyard.serving.launch import Spec
from modelyard.serving.wire import Buffer

Array = NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_), "UINT8": np.dtype("u1"), "UINT16": np.dtype("<u2"), "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"), "INT8": np.dtype("i1"), "INT16": np.dtype("<i2"), "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"), "FP16": np.dtype("<f2"), "FP32": np.dtype("<f4"), "FP64": np.dtype("<f8"),
    "BF16": np.dtype("<f4"), "BYTES": np.dtype(object),
}  # fmt: skip
"""Within the frame."""
AXES_MOST = 32
_BY_KIND = {dtype.str: name for name, dtype in DTYPES.items() if name not in ("BF16", "BYTES")}
_LENGTH = struct.Struct("<I")


def from_wire(meta: Mapping[str, Any], buffer: Buffer, spec: Spec | None = None) -> Array:
    """The array of an input {name, datatype, shape} and its bytes; of `spec`, where that is known.

    Writable, without a copy where its memory is. Raises InvalidValue with the field.
    """
    name = meta.get("name")
    if not isinstance(name, str):
        raise InvalidValue("an input has no name", "inputs")
    datatype, shape = meta.get("datatype"), _shape(meta.get("shape"), f"inputs[{name}].shape")
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise InvalidValue(f"there is no datatype {datatype!r}", f"inputs[{name}].datatype")
    if spec is not None:
        check(name, datatype, shape, spec)
    count = math.prod(shape)
    if datatype == "BYTES":
        return _texts(name, memoryview(buffer), count).reshape(shape)
    dtype = np.dtype("<u2") if datatype == "BF16" else DTYPES[datatype]
    given = memoryview(buffer).nbytes
    if given != count * dtype.itemsize:
        raise InvalidValue(
            f"{list(shape)} of {datatype} are {count * dtype.itemsize} bytes; {given} were given",
            f"inputs[{name}]",
        )
    if datatype == "BOOL":
        return np.frombuffer(buffer, np.uint8).astype(np.bool_).reshape(shape)
    array: Array = np.frombuffer(buffer, dtype).reshape(shape)
    if datatype == "BF16":
        return widened(array)
    return array if array.flags.aligned and array.flags.writeable else array.copy()


def check(name: str, datatype: str, shape: tuple[int, ...], spec: Spec) -> None:
    """Raises InvalidValue: the input is of another type or shape than model.yaml says."""
    if spec.datatype and datatype != spec.datatype:
        raise InvalidValue(f"it is {spec.datatype}, and {datatype} was given", f"inputs[{name}].datatype")
    wanted = spec.shape
    if wanted is None:
        return
    if len(wanted) != len(shape) or any(
        size not in (-1, got) for size, got in zip(wanted, shape, strict=True)
    ):
        raise InvalidValue(f"it is {list(wanted)}, and {list(shape)} was given", f"inputs[{name}].shape")


def to_wire(name: str, value: Any, spec: Spec | None = None) -> tuple[dict[str, Any], Buffer]:
    """{name, datatype, shape} and the bytes of an output, cast to the datatype of `spec` where that is safe.

    Not copied where its memory is whole already. Raises ComponentUnfit.
    """
    array = _array(value)
    if spec is not None and spec.shape is not None and not array.ndim and spec.shape in ((1,), (-1,)):
        array = array.reshape(1)
    datatype = (spec.datatype if spec is not None else "") or datatype_of(array, name)
    return {"name": name, "datatype": datatype, "shape": list(array.shape)}, _packed(array, datatype, name)


def datatype_of(array: Array, name: str = "") -> str:
    """The protocol's name of its type. Raises ComponentUnfit: it has none."""
    kind = array.dtype
    if kind.kind in "OSU":
        return "BYTES"
    found = _BY_KIND.get(kind.newbyteorder("<").str)
    if found is None and kind.name == "bfloat16":
        found = "BF16"
    if found is None:
        raise ComponentUnfit(
            f"the protocol for inference has no type {kind.name}: cast it", f"outputs[{name}]"
        )
    return found


def widened(raw: Array) -> Array:
    """FP32 of the bits of BF16; exact."""
    wide: Array = (raw.astype(np.uint32) << 16).view(np.float32)
    return wide


def narrowed(array: Array) -> Array:
    """The bits of BF16 nearest to FP32, ties to even; what is no number stays none."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16
    found: Array = np.where(np.isnan(array), (bits >> 16) | 0x40, rounded).astype("<u2")
    return found


def from_elements(elements: Iterable[bytes], shape: tuple[int, ...]) -> Array:
    """An array of BYTES."""
    found = np.empty(math.prod(shape), object)
    for place, one in enumerate(elements):
        found[place] = one
    return found.reshape(shape)


def _array(value: Any) -> Array:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return from_elements([bytes(value)], (1,))
    array = np.asarray(value)
    # Texts of a fixed length would lose the zeros at their ends.
    return np.array(value, object) if array.dtype.kind == "S" and not isinstance(value, np.ndarray) else array


def _shape(given: Any, field: str) -> tuple[int, ...]:
    if not isinstance(given, list) or len(given) > AXES_MOST:
        raise InvalidValue(f"a shape is a list of at most {AXES_MOST} sizes", field)
    if not all(type(size) is int and 0 <= size < 1 << 63 for size in given):
        raise InvalidValue(f"{given!r:.200} is no shape: sizes are 0 or more", field)
    return tuple(given)


def _texts(name: str, data: memoryview, count: int) -> Array:
    field = f"inputs[{name}]"
    if data.nbytes < 4 * count:
        raise InvalidValue(f"{count} elements of BYTES need {4 * count} bytes for their lengths alone", field)
    found, place = np.empty(count, object), 0
    for index in range(count):
        if place + 4 > data.nbytes:
            raise InvalidValue(f"element {index} of BYTES is cut off", field)
        (size,) = _LENGTH.unpack_from(data, place)
        place += 4
        if size > data.nbytes - place:
            raise InvalidValue(
                f"element {index} of BYTES has {size} bytes, and {data.nbytes - place} are left", field
            )
        found[index] = bytes(data[place : place + size])
        place += size
    if place != data.nbytes:
        raise InvalidValue(f"{data.nbytes - place} bytes are left after {count} elements of BYTES", field)
    return found


def _packed(array: Array, datatype: str, name: str) -> Buffer:
    if datatype == "BYTES":
        return _packed_texts(array, name)
    if datatype == "BF16" and array.dtype.name != "bfloat16":
        array = narrowed(array)
    dtype = np.dtype("<u2") if datatype == "BF16" else DTYPES[datatype]
    if array.dtype != dtype:
        array = array.view(dtype) if datatype == "BF16" else _cast(array, dtype, name)
    if not array.size:
        return b""
    return np.ascontiguousarray(array).reshape(-1).data.cast("B")


def _cast(array: Array, dtype: np.dtype[Any], name: str) -> Array:
    """Between numbers: of another width, integers as floats, and integers that are so by their values."""
    if array.dtype.kind in "iufb" and (np.can_cast(array.dtype, dtype, "same_kind") or dtype.kind in "iu"):
        cast: Array = array.astype(dtype)
        if dtype.kind not in "iu" or np.array_equal(cast, array):
            return cast
    raise ComponentUnfit(
        f"its elements are {array.dtype.name}, which are not {dtype.name} as model.yaml says",
        f"outputs[{name}]",
    )


def _packed_texts(array: Array, name: str) -> Buffer:
    pieces = []
    for one in array.reshape(-1).tolist():
        if isinstance(one, str):
            one = one.encode()
        elif not isinstance(one, (bytes, bytearray, memoryview)):
            if not isinstance(one, (bool, int, float)):
                raise ComponentUnfit(
                    f"an element of BYTES is {type(one).__name__}, and should be text or bytes",
                    f"outputs[{name}]",
                )
            one = str(one).encode()
        pieces += [_LENGTH.pack(len(one)), one]
    return b"".join(pieces)
