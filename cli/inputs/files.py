"""One input of a model from what was given for it: by the file's ending, and by what the model takes there."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from cli.inputs.values import Given, Sent, Taken, refused
from modelyard.packing import SIZES, flat, pack, read_npy, unpack
from modelyard.serving.errors import InvalidValue
from modelyard.serving.rows import Rows, chosen, from_csv, from_json, parse_json, to_number, to_numbers

PICTURES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".bmp": "image/bmp",
    ".gif": "image/gif",
}  # fmt: skip
TABLES = (".csv", ".tsv")
ARROW = (".arrow", ".arrows", ".ipc", ".feather")
_ARROW_STREAM, _ARROW_FILE = "application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file"
_ENDINGS = ".csv .tsv .json .npy .arrow .txt .png .jpg"


def converted(taken: Taken, given: Given) -> Sent:
    """Raises CommandError: what does not fit, with the row and the column where there are such."""
    try:
        return _converted(taken, given)
    except InvalidValue as error:
        raise refused(taken, given, error.message) from error
    except (ValueError, TypeError, OverflowError) as error:
        raise refused(taken, given, str(error)) from error


def _converted(taken: Taken, given: Given) -> Sent:
    ending = given.ending
    if ending in PICTURES:
        return _picture(taken, given, PICTURES[ending])
    if ending == ".npy":
        return _array(taken, given)
    if ending in ARROW:
        return _arrow(taken, given)
    if ending == ".parquet":
        raise refused(taken, given, "Parquet is not sent; save it as .arrow or .csv")
    if taken.content_type == "application/octet-stream" and given.source and ending not in (".json",):
        return _bytes(taken, [given.content], taken.content_type)
    if ending in TABLES:
        return _rows(taken, given)
    text = _text(taken, given)
    if ending == ".json" or given.source == "JSON":
        return _json(taken, given, parse_json(text, taken.name))
    if taken.datatype == "BYTES":
        return _words(taken, given, text)
    if given.source and ending not in ("", ".txt"):
        raise refused(taken, given, f"files ending in {ending!r} are not known; {_ENDINGS} are")
    return _numbers(taken, given, text)


def _text(taken: Taken, given: Given) -> str:
    try:
        return given.content.decode("utf-8-sig" if given.source else "utf-8")
    except UnicodeDecodeError as error:
        raise refused(taken, given, f"it is no text in UTF-8: {error}") from error


def _numbers(taken: Taken, given: Given, text: str) -> Sent:
    """Of the command line: JSON, or numbers between commas."""
    stripped = text.strip()
    if stripped[:1] in ("[", "{") or "," not in stripped:
        return _json(taken, given, parse_json(stripped or "[]", taken.name))
    # One line that is typed has no line with names above it.
    is_line = not given.source and "\n" not in stripped
    return _table(taken, Rows((), [stripped.split(",")])) if is_line else _rows(taken, given)


def _words(taken: Taken, given: Given, text: str) -> Sent:
    """For BYTES: a text is one element, a JSON list of texts is several."""
    kind = taken.content_type
    stripped = text.strip()
    if kind == "application/json":
        try:
            json.loads(text)
        except ValueError:
            # What is no JSON is a text, and a text is JSON too.
            text = json.dumps(text)
        return _bytes(taken, [text.encode()], kind)
    if kind == _ARROW_STREAM:
        return (
            _json(taken, given, parse_json(stripped, taken.name))
            if stripped[:1] in ("[", "{")
            else _rows(taken, given)
        )
    if stripped.startswith("["):
        try:
            return _json(taken, given, json.loads(stripped))
        except ValueError:
            pass
    return _bytes(taken, [text.encode()], kind)


def _bytes(taken: Taken, items: Sequence[bytes], kind: str = "", shape: Sequence[int] | None = None) -> Sent:
    parameters = {"content_type": kind} if kind and not kind.endswith("*") else {}
    if shape is None:
        # Of content that the frame reads there is one element, whatever it makes of it.
        is_plain = kind in ("", "text/plain") and taken.datatype == "BYTES"
        shape = fitted([len(items)], taken) if is_plain else [len(items)]
    return Sent(taken.name, "BYTES", tuple(shape), pack("BYTES", items), parameters)


def _picture(taken: Taken, given: Given, kind: str) -> Sent:
    if taken.content_type in ("text/plain", "application/json", _ARROW_STREAM):
        raise refused(taken, given, f"it is a picture, and {taken.content_type} is taken")
    if taken.content_type == "application/octet-stream":
        return _bytes(taken, [given.content], taken.content_type)
    return _bytes(taken, [given.content], kind)


def _array(taken: Taken, given: Given) -> Sent:
    datatype, shape, data = read_npy(given.content)
    if datatype == taken.datatype:
        return Sent(taken.name, datatype, tuple(fitted(shape, taken)), data)
    if "BYTES" in (datatype, taken.datatype):
        raise refused(taken, given, f"it holds {datatype}, and {taken.datatype} is taken")
    return _packed(taken, unpack(datatype, data), shape)


def _packed(taken: Taken, values: Sequence[Any], shape: Sequence[int]) -> Sent:
    if taken.datatype not in SIZES:
        raise ValueError(f"elements of the type {taken.datatype!r} are not known")
    found = [
        to_number(value, taken.datatype, taken.name, lambda at=at: f"element {at}: ")
        for at, value in enumerate(values)
    ]
    return Sent(taken.name, taken.datatype, tuple(fitted(shape, taken)), pack(taken.datatype, found))


def _rows(taken: Taken, given: Given) -> Sent:
    text = _text(taken, given)
    wanted = taken.columns
    rows = from_csv(text, taken.name, wanted)
    if taken.datatype == "BYTES" and taken.content_type == _ARROW_STREAM:
        chosen(rows, wanted, taken.name)
        return _bytes(taken, [given.content], "text/csv")
    return _table(taken, rows)


def _table(taken: Taken, rows: Rows) -> Sent:
    """Rows as numbers or texts, in the order of the columns that the model takes."""
    cells = chosen(rows, taken.columns, taken.name)
    names = taken.columns or rows.columns
    if not cells:
        raise ValueError("there are no rows")
    width = len(cells[0])
    shape = [len(cells)] if len(taken.shape) == 1 and width == 1 else [len(cells), width]
    if taken.datatype == "BYTES":
        items = [("" if cell is None else str(cell)).encode() for row in cells for cell in row]
        return _bytes(taken, items, "", fitted(shape, taken))
    numbers = to_numbers(cells, taken.datatype, names, taken.name, rows.first_line)
    return Sent(
        taken.name, taken.datatype, tuple(fitted(shape, taken)),
        pack(taken.datatype, [cell for row in numbers for cell in row]),
    )  # fmt: skip


def _json(taken: Taken, given: Given, value: Any) -> Sent:
    if taken.datatype == "BYTES":
        return _json_bytes(taken, value)
    if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
        return _table(taken, from_json(value, taken.name))
    values, shape = flat(value)
    return _packed(taken, values, shape)


def _json_bytes(taken: Taken, value: Any) -> Sent:
    if taken.content_type == _ARROW_STREAM:
        chosen(from_json(value, taken.name), taken.columns, taken.name)
        return _bytes(taken, [json.dumps(value).encode()], "application/json")
    if taken.content_type == "application/json":
        return _bytes(taken, [json.dumps(value, ensure_ascii=False).encode()], taken.content_type)
    values, shape = flat(value)
    items = [
        (one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)).encode() for one in values
    ]
    return _bytes(taken, items, taken.content_type, fitted(shape, taken))


def _arrow(taken: Taken, given: Given) -> Sent:
    """Numbers where pyarrow is here to look into it; else the model's frame reads it."""
    kind = _ARROW_FILE if given.content.startswith(b"ARROW1") else _ARROW_STREAM
    rows = _looked_into(taken, given) if taken.datatype != "BYTES" else None
    return _bytes(taken, [given.content], kind) if rows is None else _table(taken, rows)


def _looked_into(taken: Taken, given: Given) -> Rows | None:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError:
        return None
    source = pyarrow.BufferReader(given.content)
    try:
        opened = pyarrow.ipc.open_file if given.content.startswith(b"ARROW1") else pyarrow.ipc.open_stream
        table = opened(source).read_all()
        lists = [column.to_pylist() for column in table.columns]
    except (pyarrow.ArrowException, OSError) as error:
        raise refused(taken, given, f"it is no table in Arrow: {error}") from error
    return Rows(tuple(table.column_names), list(map(list, zip(*lists, strict=True))))


def fitted(shape: Sequence[int], taken: Taken) -> list[int]:
    """The shape in which it is sent: as it is, as the only row, or in other axes. Raises ValueError."""
    wanted, count = taken.shape, math.prod(shape)
    one_row = list(shape[1:]) if shape and shape[0] == 1 else None
    for found in (list(shape), [1, *shape], one_row, [1] * len(wanted) if count == 1 else None):
        if found is not None and _is_one_of(found, wanted):
            return found
    fixed = math.prod(size for size in wanted if size >= 0)
    free = [at for at, size in enumerate(wanted) if size < 0]
    if len(free) == 1 and fixed and count and not count % fixed and len(shape) <= len(wanted):
        return [size if size >= 0 else count // fixed for size in wanted]
    if not free and fixed == count:
        return list(wanted)
    raise ValueError(f"it has the shape {list(shape)}, and {list(wanted)} is taken")


def _is_one_of(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(shape) == len(wanted) and all(w in (-1, s) for s, w in zip(shape, wanted, strict=True))
