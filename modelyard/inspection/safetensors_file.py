"""safetensors: names, types and shapes of weights. What computes with them is code beside them."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Annotated

import msgspec

from modelyard.inspection import python_code
from modelyard.inspection.detection import ComponentUnknown
from modelyard.models.facts import Inspection

HEADER_BYTES_MOST = 100 << 20
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""Of an element. Types that are not known here are left to the library."""
_Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]


class _Weight(msgspec.Struct, frozen=True):
    dtype: Annotated[str, msgspec.Meta(max_length=32)]
    shape: Annotated[list[_Size], msgspec.Meta(max_length=64)]
    data_offsets: tuple[_Size, _Size]


def look(folder: Path, found: Inspection) -> None:
    """Checks the header; the protocol is that of the class beside it."""
    count = len(_header(folder / found.file))
    files = [one for one in folder.glob("*.py") if not one.is_symlink()]
    codes = sorted(one.name for one in files if b"def predict" in one.read_bytes()[: 1 << 20])
    if not codes:
        found.refusals.append(
            f"{found.file} holds {count} weights and nothing that computes: put a .py beside it whose class has"
            " load and predict, or export the model as ONNX or TorchScript"
        )
        return
    python_code.look_at(folder / codes[0], found)


def _header(path: Path) -> dict[str, object]:
    size = path.stat().st_size
    with path.open("rb") as opened:
        head = opened.read(8)
        (length,) = struct.unpack("<Q", head) if len(head) == 8 else (0,)
        if not 2 <= length <= min(size - 8, HEADER_BYTES_MOST):
            raise ComponentUnknown(f"{path.name} is no safetensors file, or is cut off")
        text = opened.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ComponentUnknown(f"{path.name} is no safetensors file: {error}") from None
    if not isinstance(header, dict):
        raise ComponentUnknown(f"{path.name} is no safetensors file: its header is no object")
    weights = {name: value for name, value in header.items() if name != "__metadata__"}
    end = 8 + length + _extent(path.name, weights)
    if end != size:
        raise ComponentUnknown(
            f"{path.name} is cut off, or has bytes of nothing: its header speaks of {end} bytes"
        )
    return weights


def _extent(name: str, weights: dict[str, object]) -> int:
    """How many bytes they take together, one beside the other. Raises ComponentUnknown."""
    places = sorted((_place(name, weight, value), weight) for weight, value in weights.items())
    end = 0
    for (begin, behind), weight in places:
        if begin != end:
            raise ComponentUnknown(
                f"{name}: the weight {weight[:80]!r} lies over another, or leaves a hole before it"
            )
        end = behind
    return end


def _place(name: str, weight: str, value: object) -> tuple[int, int]:
    try:
        found = msgspec.convert(value, _Weight)
    except msgspec.ValidationError as error:
        raise ComponentUnknown(f"{name}: the weight {weight[:80]!r} is described wrongly: {error}") from None
    begin, end = found.data_offsets
    bits = _BITS.get(found.dtype)
    if begin > end or (bits is not None and math.prod(found.shape) * bits != (end - begin) * 8):
        raise ComponentUnknown(
            f"{name}: the weight {weight[:80]!r} has not as many bytes as its type and shape say"
        )
    return begin, end
