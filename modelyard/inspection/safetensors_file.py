"""safetensors: names, types and shapes of weights. What computes with them is code beside them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from modelyard.inspection import python_code
from modelyard.inspection.detection import ComponentUnknown
from modelyard.models.facts import Inspection

HEADER_BYTES_MOST = 100 << 20


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
    ends = [
        one["data_offsets"][1] for one in weights.values() if isinstance(one, dict) and "data_offsets" in one
    ]
    if ends and 8 + length + max(ends) != size:
        raise ComponentUnknown(f"{path.name} is cut off: its header speaks of {8 + length + max(ends)} bytes")
    return weights
