"""Elements of tensors as the Open Inference Protocol packs them, and npy files. Standard library only."""

from __future__ import annotations

import ast
import math
import struct
import sys
from array import array
from collections.abc import Sequence
from typing import Any

CODES = {
    "BOOL": "B", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h", "INT32": "i",
    "INT64": "q", "FP32": "f", "FP64": "d",
}  # fmt: skip
"""Of the module array; FP16, BF16 and BYTES have none."""
SIZES = {**{name: array(code).itemsize for name, code in CODES.items()}, "FP16": 2, "BF16": 2}
REAL = ("FP16", "BF16", "FP32", "FP64")
_NPY = {
    "b1": "BOOL", "u1": "UINT8", "u2": "UINT16", "u4": "UINT32", "u8": "UINT64", "i1": "INT8", "i2": "INT16",
    "i4": "INT32", "i8": "INT64", "f2": "FP16", "f4": "FP32", "f8": "FP64",
}  # fmt: skip
_NPY_MARK = b"\x93NUMPY"
ELEMENTS_MOST = 1 << 28


def pack(datatype: str, values: Sequence[Any]) -> bytes:
    """Little-endian, one after the other. Raises OverflowError or TypeError for what does not fit the type."""
    if datatype == "BYTES":
        return b"".join(part for value in values for part in (struct.pack("<I", len(value)), value))
    if datatype == "FP16":
        return struct.pack(f"<{len(values)}e", *values)
    if datatype == "BF16":
        return b"".join(struct.pack("<H", _narrowed(value)) for value in values)
    packed = array(CODES[datatype], values)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _narrowed(value: float) -> int:
    """The bits of the nearest BF16, ties to even."""
    if math.isnan(value):
        return 0x7FC0
    bits: int = struct.unpack("<I", struct.pack("<f", value))[0]
    return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16


def unpack(datatype: str, data: bytes) -> list[Any]:
    """The values; bytes of BYTES. Raises ValueError where they are not whole, or the type is unknown."""
    if datatype == "BYTES":
        return _elements(data)
    size = SIZES.get(datatype)
    if size is None or len(data) % size:
        raise ValueError(f"{len(data)} bytes are no {datatype or 'tensor'}")
    if datatype == "FP16":
        return list(struct.unpack(f"<{len(data) // 2}e", data))
    if datatype == "BF16":
        halves = struct.unpack(f"<{len(data) // 2}H", data)
        return list(
            struct.unpack(f"<{len(halves)}f", b"".join(struct.pack("<I", half << 16) for half in halves))
        )
    values = array(CODES[datatype])
    values.frombytes(data)
    if sys.byteorder == "big":
        values.byteswap()
    return [value != 0 for value in values] if datatype == "BOOL" else values.tolist()


def _elements(data: bytes) -> list[bytes]:
    found, place = [], 0
    while place < len(data):
        if place + 4 > len(data):
            raise ValueError("an element of BYTES is cut off")
        (size,) = struct.unpack_from("<I", data, place)
        place += 4
        if place + size > len(data):
            raise ValueError("an element of BYTES is cut off")
        found.append(bytes(data[place : place + size]))
        place += size
    return found


def nested(values: Sequence[Any], shape: Sequence[int]) -> Any:
    """As lists within lists. Raises ValueError where the shape holds another number of values."""
    if math.prod(shape) != len(values):
        raise ValueError(f"{len(values)} values are no {list(shape)}")
    found: Any = list(values)
    for size in reversed(shape[1:]):
        found = [found[at : at + size] for at in range(0, len(found), size)] if size else found
    if 0 in shape:
        return _empty(shape)
    return found if shape else found[0]


def _empty(shape: Sequence[int]) -> Any:
    return [_empty(shape[1:]) for _ in range(shape[0])] if len(shape) > 1 else []


def flat(value: Any) -> tuple[list[Any], list[int]]:
    """Values and shape of lists within lists. Raises ValueError where they are of unlike length."""
    shape: list[int] = []
    level = [value]
    while level and isinstance(level[0], (list, tuple)):
        sizes = {len(one) if isinstance(one, (list, tuple)) else -1 for one in level}
        if len(sizes) != 1:
            raise ValueError(f"the lists of level {len(shape) + 1} are of unlike length")
        shape.append(sizes.pop())
        if len(shape) > 32:
            raise ValueError("it has more than 32 levels of lists")
        level = [item for one in level for item in one]
    if any(isinstance(one, (list, tuple)) for one in level):
        raise ValueError("lists and values are mixed")
    return level, shape


def read_npy(content: bytes) -> tuple[str, list[int], bytes]:
    """Datatype, shape and packed elements of an npy file. Raises ValueError, which says what to do."""
    if not content.startswith(_NPY_MARK) or len(content) < 12:
        raise ValueError("it is no npy file")
    wide = content[6] > 1
    (length,) = struct.unpack_from("<I" if wide else "<H", content, 8)
    begin = (12 if wide else 10) + length
    if length > 1 << 16 or begin > len(content):
        raise ValueError("the head of the npy file is cut off")
    try:
        head = ast.literal_eval(content[begin - length : begin].decode("latin1").strip())
        kind, shape = str(head["descr"]), [int(size) for size in head["shape"]]
        is_turned = bool(head["fortran_order"])
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise ValueError("the head of the npy file cannot be read") from error
    if any(size < 0 for size in shape) or math.prod(shape) > ELEMENTS_MOST:
        raise ValueError(f"an array of the shape {shape} is too large")
    if is_turned and len(shape) > 1:
        raise ValueError("its columns come before its rows: save numpy.ascontiguousarray(x)")
    data = content[begin:]
    if kind[1:2] in ("U", "S"):
        return "BYTES", shape, pack("BYTES", _texts(kind, data, math.prod(shape)))
    datatype = _NPY.get(kind[1:])
    if datatype is None:
        raise ValueError(f"elements of the kind {kind!r} cannot be sent: save numbers or texts")
    if len(data) != math.prod(shape) * SIZES[datatype]:
        raise ValueError(f"it is cut off: {len(data)} bytes of {math.prod(shape) * SIZES[datatype]}")
    return datatype, shape, _little(data, SIZES[datatype]) if kind[0] == ">" else data


def _little(data: bytes, size: int) -> bytes:
    turned = bytearray(len(data))
    for at in range(size):
        turned[at::size] = data[size - 1 - at :: size]
    return bytes(turned)


def _texts(kind: str, data: bytes, count: int) -> list[bytes]:
    width = int(kind[2:] or 0) * (4 if kind[1] == "U" else 1)
    if len(data) != width * count:
        raise ValueError("it is cut off")
    pieces = [data[at * width : (at + 1) * width] for at in range(count)]
    if kind[1] == "S":
        return [piece.rstrip(b"\0") for piece in pieces]
    encoding = "utf-32-be" if kind[0] == ">" else "utf-32-le"
    return [piece.decode(encoding).rstrip("\0").encode() for piece in pieces]


def write_npy(datatype: str, shape: Sequence[int], data: bytes) -> bytes:
    """An npy file of packed numbers. Raises KeyError for BYTES and BF16, which it has not."""
    kind = (
        next(kind for kind, name in _NPY.items() if name == datatype) if datatype in _NPY.values() else None
    )
    if kind is None:
        raise KeyError(datatype)
    order = "|" if SIZES[datatype] == 1 else "<"
    sizes = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
    head = f"{{'descr': '{order}{kind}', 'fortran_order': False, 'shape': ({sizes}), }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    return _NPY_MARK + b"\x01\x00" + struct.pack("<H", len(head)) + head.encode() + data
