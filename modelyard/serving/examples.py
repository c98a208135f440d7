"""Examples for a probe: those that come with a component, else such as are made from names, types and shapes.

A component's own lie below `examples/`, as JSON: {"inputs": [{"name", "datatype", "shape", "data"}]}, data as a list,
or in base64 as the bytes of the tensor.
"""

from __future__ import annotations

import base64
import itertools
import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.serving.errors import ComponentUnfit
from modelyard.serving.launch import Spec
from modelyard.serving.tensors import DTYPES, Array, from_elements, from_wire

FOLDER = "examples"
MLFLOW_FILE = "input_example.json"
MLFLOW_ROWS_MOST = 8
FILE_BYTES_MOST = 16 << 20
FREE_SIZES = (2, 8, 1, 16)
"""Tried where a size other than the rows' may be any."""
PIXELS = (64, 224)
"""The same of heights and widths."""

Example = dict[str, tuple[str, Array, str]]
"""By name of the input: datatype, values, content type."""


def own(folder: Path, specs: Sequence[Spec] = ()) -> Example | None:
    """The first of the component's own, by its name; else what MLflow keeps of one. Raises ComponentUnfit."""
    files = sorted(one for one in (folder / FOLDER).glob("*.json") if not one.is_symlink())
    if not files:
        return _of_mlflow(folder, specs[0]) if len(specs) == 1 else None
    if files[0].stat().st_size > FILE_BYTES_MOST:
        raise ComponentUnfit(f"it has more than {FILE_BYTES_MOST} bytes", f"{FOLDER}/{files[0].name}")
    try:
        plain = json.loads(files[0].read_bytes())
        return {str(one["name"]): _values(one) for one in plain["inputs"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ComponentUnfit(f"it is no example: {what}", f"{FOLDER}/{files[0].name}") from None


def _of_mlflow(folder: Path, spec: Spec) -> Example | None:
    """Rows that a model was logged with: a matrix, or columns and data. None: there is no such file, or it is something
    else than the one input takes."""
    path = folder / MLFLOW_FILE
    if not path.is_file() or path.is_symlink() or path.stat().st_size > FILE_BYTES_MOST:
        return None
    try:
        plain = json.loads(path.read_bytes())
        if spec.codec == "table" and spec.datatype == "BYTES":
            text = json.dumps(
                {"columns": plain["columns"], "data": plain["data"][:MLFLOW_ROWS_MOST]}
            ).encode()
            return {spec.name: (spec.datatype, from_elements([text], (1,)), "application/json")}
        if spec.datatype in ("", "BYTES"):
            return None
        rows = plain["data"] if isinstance(plain, dict) else plain
        values = np.asarray(rows[:MLFLOW_ROWS_MOST], DTYPES[spec.datatype])
        return {spec.name: (spec.datatype, values, "")} if values.ndim == len(spec.shape or ()) else None
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None


def made(specs: Sequence[Spec], rows: int) -> Iterator[Example]:
    """Such as may fit, the likeliest first; none where a type or a shape is not known. `rows`: of a first axis −1."""
    if any(not one.datatype or one.shape is None for one in specs):
        return
    is_free = any(-1 in (one.shape or ())[1:] for one in specs)
    sizes = PIXELS if any(one.codec == "image" for one in specs) else FREE_SIZES
    words = range(len(_WORDS["json"]) if any(one.codec == "json" for one in specs) else 1)
    for size, word in itertools.product(sizes if is_free else sizes[:1], words):
        yield {one.name: _made(one, rows, size, word) for one in specs}


def with_rows(example: Example, rows: int) -> Example:
    """The same with so many rows: its first, as often as is needed."""
    return {
        name: (datatype, np.concatenate([values[:1]] * rows) if values.ndim else values, content_type)
        for name, (datatype, values, content_type) in example.items()
    }


def _values(plain: Mapping[str, Any]) -> tuple[str, Array, str]:
    datatype, shape, data = str(plain["datatype"]), [int(size) for size in plain["shape"]], plain["data"]
    content_type = str((plain.get("parameters") or {}).get("content_type") or "")
    if isinstance(data, str) and datatype != "BYTES":
        meta = {"name": str(plain["name"]), "datatype": datatype, "shape": shape}
        return datatype, from_wire(meta, bytearray(base64.b64decode(data, validate=True))), content_type
    if datatype == "BYTES":
        flat = [data] if isinstance(data, str) else list(np.asarray(data, object).reshape(-1))
        return datatype, from_elements([str(one).encode() for one in flat], tuple(shape)), content_type
    return datatype, np.asarray(data, DTYPES[datatype]).reshape(shape), content_type


def _made(spec: Spec, rows: int, size: int, words: int) -> tuple[str, Array, str]:
    shape = tuple(
        known if known != -1 else (rows if place == 0 else size)
        for place, known in enumerate(spec.shape or ())
    )
    if spec.datatype == "BYTES":
        return spec.datatype, from_elements([_content(spec, words)] * int(np.prod(shape)), shape), ""
    count = int(np.prod(shape))
    if spec.datatype == "BOOL":
        numbers: Array = np.arange(count) % 2
    elif spec.datatype.startswith(("INT", "UINT")):
        # Small ones: they may be places in a table.
        numbers = np.arange(count) % (2 if spec.codec != "image" else 251)
    else:
        numbers = np.random.default_rng(7).random(count)
    return spec.datatype, numbers.astype(DTYPES[spec.datatype]).reshape(shape), ""


_WORDS: dict[str, tuple[bytes, ...]] = {
    "json": (b"{}", b"[]", b'"example"', b"[1, 2, 3]"),
    "text": (b"example",),
    "file": (b"example",),
    "tensor": (b"example",),
}


def _content(spec: Spec, words: int) -> bytes:
    if spec.codec == "image":
        return _picture()
    if spec.codec == "table":
        return json.dumps([dict.fromkeys(spec.columns or ("x",), 1)]).encode()
    known = _WORDS.get(spec.codec, _WORDS["text"])
    return known[words % len(known)]


def _picture(side: int = 16) -> bytes:
    """A grey PNG."""
    rows = b"".join(b"\0" + bytes([128] * (3 * side)) for _ in range(side))
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    pieces = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)
