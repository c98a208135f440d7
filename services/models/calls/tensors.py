"""Elements of tensors: typed contents and packed bytes, either way. Pure.

Without numpy, which the service would carry for ever.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Any

from modelyard.models.values import Datatype

Buffer = bytes | bytearray | memoryview

SIZES = {
    "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8,
    "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8,
}  # fmt: skip
"""Bytes of one element; BYTES has no fixed size."""

CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
"""The field of InferTensorContents for each type; FP16 and BF16 have none."""

_CODES = {
    "BOOL": "B", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H", "UINT32": "I",
    "UINT64": "Q", "FP32": "f", "FP64": "d",
}  # fmt: skip
_LENGTH = Struct("<I")

assert set(SIZES) | {"BYTES"} == {datatype.value for datatype in Datatype}


def pack(datatype: str, values: Sequence[Any]) -> bytes:
    """Typed values as packed bytes. Raises OverflowError where a value does not fit its type."""
    if datatype == "BYTES":
        return b"".join(part for value in values for part in (_LENGTH.pack(len(value)), value))
    packed = array(_CODES[datatype], values)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack(datatype: str, data: Buffer) -> Iterable[Any]:
    """Packed bytes as typed values, of a type that has contents. Raises ValueError where they are not whole."""
    if datatype == "BYTES":
        return [bytes(data[start:end]) for start, end in elements(data)]
    values = array(_CODES[datatype])
    values.frombytes(data)
    if sys.byteorder == "big":
        values.byteswap()
    return (value != 0 for value in values) if datatype == "BOOL" else values


def elements(data: Buffer) -> list[tuple[int, int]]:
    """Where each element of BYTES begins and ends. Raises ValueError where a length does not fit."""
    found: list[tuple[int, int]] = []
    at, most = 0, len(data)
    while at < most:
        if at + 4 > most:
            raise ValueError("the last element's length is cut off")
        start = at + 4
        at = start + _LENGTH.unpack_from(data, at)[0]
        if at > most:
            raise ValueError(f"element {len(found)} is longer than what is there")
        found.append((start, at))
    return found


def count_of(shape: Iterable[int]) -> int:
    """Elements of a tensor of this shape."""
    count = 1
    for size in shape:
        count *= size
    return count
