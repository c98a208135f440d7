"""Tables: Arrow, CSV and JSON into arrays by declared columns, and back. Arrow needs pyarrow, the others nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from modelyard.serving.codecs.media import ARROW_FILE, ARROW_STREAM, JSON
from modelyard.serving.codecs.shaping import checked, converted, jsonable
from modelyard.serving.errors import InvalidValue, library
from modelyard.serving.rows import (
    CELLS_MOST,
    ROWS_MOST,
    Rows,
    chosen,
    from_csv,
    from_json,
    parse_json,
    to_numbers,
)
from modelyard.serving.steps.numbers import DTYPES

Array = Any
Spec = Mapping[str, Any]
_ARROW_MARK = b"\xff\xff\xff\xff"
_ARROW_FILE_MARK = b"ARROW1"


def decode(spec: Spec, items: list[bytes], content_type: str) -> Any:
    """One table: an array of the declared columns, or {column: array} where the input is declared BYTES."""
    field = f"inputs[{spec['name']}]"
    if len(items) != 1:
        raise InvalidValue(f"a table is one element, and there are {len(items)}", field)
    content, kind = items[0], content_type.split(";", 1)[0].strip().lower()
    if kind in (ARROW_STREAM, ARROW_FILE) or content.startswith((_ARROW_MARK, _ARROW_FILE_MARK)):
        return _of_columns(spec, _arrow(content, field), field)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidValue(f"it is neither Arrow nor a text in UTF-8: {error}", field) from error
    if kind == JSON or (not kind and text.lstrip()[:1] in ("[", "{")):
        return of_json(spec, parse_json(text, field))
    return _of_rows(spec, from_csv(text, field, spec.get("columns") or ()), field)


def of_json(spec: Spec, value: Any) -> Any:
    """What JSON says, as a table."""
    field = f"inputs[{spec['name']}]"
    return _of_rows(spec, from_json(value, field), field)


def _of_rows(spec: Spec, rows: Rows, field: str) -> Any:
    columns = tuple(spec.get("columns") or ())
    cells = chosen(rows, columns, field)
    if spec["datatype"] != "BYTES":
        numbers = to_numbers(cells, spec["datatype"], columns or rows.columns, field, rows.first_line)
        width = len(columns or rows.columns)
        array = np.asarray(numbers, dtype=DTYPES[spec["datatype"]]).reshape(len(cells), width or -1)
        return checked(spec, array, field)
    names = columns or rows.columns or tuple(map(str, range(len(cells[0]) if cells else 0)))
    return {name: _typed([row[at] for row in cells]) for at, name in enumerate(names)}


def _typed(cells: list[Any]) -> Array:
    """A column of texts or JSON: numbers if all are, with NaN where one is missing; else texts, with None."""
    known = [cell for cell in cells if cell is not None and cell != ""]
    if known and all(isinstance(cell, bool) for cell in known) and len(known) == len(cells):
        return np.asarray(cells, dtype=np.bool_)
    if known:
        for kind, dtype in ((int, np.int64), (float, np.float64)):
            if kind is int and len(known) < len(cells):
                continue
            try:
                if kind is int and any(isinstance(cell, float) for cell in known):
                    continue
                found = [kind(cell) if cell is not None and cell != "" else np.nan for cell in cells]
                return np.asarray(found, dtype=dtype)
            except (ValueError, TypeError, OverflowError):
                continue
    texts = np.empty(len(cells), dtype=np.object_)
    texts[:] = [
        None if cell is None else cell if isinstance(cell, (dict, list)) else str(cell) for cell in cells
    ]
    return texts


def _arrow(content: bytes, field: str) -> dict[str, Array]:
    arrow = library("pyarrow", "pyarrow", field, "a table in Arrow")
    ipc = library("pyarrow.ipc", "pyarrow", field, "a table in Arrow")
    source = arrow.BufferReader(content)
    try:
        reader = ipc.open_file(source) if content.startswith(_ARROW_FILE_MARK) else ipc.open_stream(source)
        if len(reader.schema.names) != len(set(reader.schema.names)):
            raise InvalidValue("two of its columns have one name", field)
        batches, rows = [], 0
        for batch in _batches(reader):
            rows += batch.num_rows
            if rows > ROWS_MOST or rows * max(1, batch.num_columns) > CELLS_MOST:
                raise InvalidValue(f"it has more than {ROWS_MOST} rows, or {CELLS_MOST} cells", field)
            batch.validate(full=True)
            batches.append(batch)
        table = arrow.Table.from_batches(batches, reader.schema)
        return {name: _column(table.column(name), name, field) for name in table.column_names}
    except (arrow.ArrowException, OSError, EOFError) as error:
        raise InvalidValue(f"it is no table in Arrow: {error}", field) from error


def _batches(reader: Any) -> Any:
    if hasattr(reader, "num_record_batches"):
        return (reader.get_batch(at) for at in range(reader.num_record_batches))
    return reader


def _column(column: Any, name: str, field: str) -> Array:
    array = column.to_numpy()
    if array.dtype.kind in "biufO":
        return array
    raise InvalidValue(
        f"the column {name} is {column.type}, and numbers, booleans and texts are taken", field
    )


def _of_columns(spec: Spec, columns: dict[str, Array], field: str) -> Any:
    """Of arrays by name: those that are declared, in their order."""
    wanted = tuple(spec.get("columns") or ()) or tuple(columns)
    chosen(Rows(tuple(columns), []), wanted, field)
    if spec["datatype"] == "BYTES":
        return {name: columns[name] for name in wanted}
    found = []
    for name in wanted:
        column = columns[name]
        if column.dtype.kind == "O":
            cells = [[cell] for cell in column]
            column = np.asarray(to_numbers(cells, spec["datatype"], (name,), field)).reshape(-1)
        found.append(converted(column, spec["datatype"], f"{field}.{name}"))
    if not found:
        raise InvalidValue("it has no columns", field)
    return checked(spec, np.stack(found, axis=1), field)


def stacked(spec: Spec, value: Any) -> Any:
    """A mapping, or a frame of pandas or polars, as an array of its columns in their declared order; else the value."""
    columns = columns_of(value)
    if columns is None:
        return value
    order = tuple(spec.get("columns") or ()) or tuple(columns)
    chosen(Rows(tuple(columns), []), order, f"outputs[{spec['name']}]")
    return np.stack([np.asarray(columns[name]) for name in order], axis=-1)


def columns_of(value: Any) -> dict[str, Array] | None:
    """By name, of a mapping of columns or a data frame; None: it is neither."""
    if isinstance(value, Mapping):
        return {str(name): np.atleast_1d(np.asarray(column)) for name, column in value.items()}
    names = getattr(value, "columns", None)
    if names is None or isinstance(value, np.ndarray) or not hasattr(value, "__getitem__"):
        return None
    return {str(name): np.asarray(value[name]) for name in names}


def encode(spec: Spec, value: Any) -> tuple[Array, dict[str, Any]]:
    """As Arrow where pyarrow is there, else as JSON rows {columns, data}."""
    columns = columns_of(value)
    if columns is None:
        rows = from_json(json.loads(json.dumps(value, default=jsonable)), f"outputs[{spec['name']}]")
        names = rows.columns or tuple(spec.get("columns") or ()) or tuple(map(str, range(len(rows.cells[0]))))
        columns = {name: _typed([row[at] for row in rows.cells]) for at, name in enumerate(names)}
    found = np.empty(1, dtype=np.object_)
    arrow = _arrow_library()
    if arrow is None:
        lists = [column.tolist() for column in columns.values()]
        data = {"columns": list(columns), "data": list(map(list, zip(*lists, strict=True)))}
        found[0] = json.dumps(data, ensure_ascii=False, default=jsonable).encode()
        return found, {"content_type": JSON}
    sink = arrow.BufferOutputStream()
    table = arrow.table({name: arrow.array(column.tolist()) for name, column in columns.items()})
    with arrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    found[0] = sink.getvalue().to_pybytes()
    return found, {"content_type": ARROW_STREAM}


def _arrow_library() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError:
        return None
    return pyarrow
