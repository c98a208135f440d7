"""Rows of business data: CSV and JSON into columns and cells, and cells into numbers, with the row and the column of
what does not fit. Pure, standard library only: the command line and frames read alike."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.serving.errors import InvalidValue

ROWS_MOST = 1_000_000
CELLS_MOST = 20_000_000
_WHOLE = {
    "UINT8": (0, 255), "UINT16": (0, 65_535), "UINT32": (0, (1 << 32) - 1), "UINT64": (0, (1 << 64) - 1),
    "INT8": (-128, 127), "INT16": (-32_768, 32_767), "INT32": (-(1 << 31), (1 << 31) - 1),
    "INT64": (-(1 << 63), (1 << 63) - 1),
}  # fmt: skip
_FLAGS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class Rows:
    """A table. Without names of columns: they go by their places."""

    columns: tuple[str, ...]
    cells: Sequence[Sequence[Any]]
    first_line: int = 1
    """The line, or item, of the first row in what was read; for messages."""


def from_csv(text: str, field: str, wanted: Sequence[str] = ()) -> Rows:
    """Of comma-, semicolon- or tab-separated values. The first line names the columns, unless it holds numbers only.

    Raises InvalidValue for rows of unlike length, or none.
    """
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    found: list[list[str]] = []
    numbers: list[int] = []
    try:
        for line in lines:
            if line:
                found.append(line)
                numbers.append(lines.line_num)
            if len(found) > ROWS_MOST:
                raise InvalidValue(f"it has more than {ROWS_MOST} rows", field)
    except csv.Error as error:
        raise InvalidValue(f"line {lines.line_num} is no CSV: {error}", field) from error
    if not found:
        raise InvalidValue("it is empty: there are no rows", field)
    first = set(map(str.strip, found[0]))
    has_header = not all(map(_is_number, found[0])) or (bool(wanted) and set(wanted) <= first)
    columns = tuple(map(str.strip, found[0])) if has_header else ()
    width = len(found[0])
    for line, number in zip(found, numbers, strict=True):
        if len(line) != width:
            raise InvalidValue(f"line {number} has {len(line)} cells, and the first has {width}", field)
    _bounded(len(found), width, field)
    return Rows(columns, found[1:] if has_header else found, 2 if has_header else 1)


def _delimiter(text: str) -> str:
    first = text.split("\n", 1)[0][:10_000]
    return max(",;\t", key=first.count)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def from_json(value: Any, field: str) -> Rows:
    """Of a list of mappings, a list of lists, one mapping, {column: [values]} or {columns, data}.

    Raises InvalidValue for anything else.
    """
    if isinstance(value, Mapping):
        value = _of_mapping(value, field)
        if isinstance(value, Rows):
            return value
    if not isinstance(value, list):
        raise InvalidValue("it is no table: a list of rows, or {columns: […], data: [[…], …]}", field)
    if len(value) > ROWS_MOST:
        raise InvalidValue(f"it has more than {ROWS_MOST} rows", field)
    if value and all(isinstance(row, Mapping) for row in value):
        return _of_records(value, field)
    if value and not any(isinstance(row, (list, Mapping)) for row in value):
        value = [value]
    return _of_lists((), value, field)


def _of_mapping(value: Mapping[str, Any], field: str) -> Rows | list[Any]:
    if set(value) in ({"columns", "data"}, {"columns", "data", "index"}) and isinstance(value["data"], list):
        return _of_lists(tuple(map(str, value["columns"])), value["data"], field)
    if value and all(isinstance(column, list) for column in value.values()):
        lengths = {len(column) for column in value.values()}
        if len(lengths) > 1:
            raise InvalidValue(f"its columns have {sorted(lengths)} values; they need equally many", field)
        _bounded(lengths.pop(), len(value), field)
        return Rows(tuple(map(str, value)), list(map(list, zip(*value.values(), strict=True))))
    return [value]


def _of_records(value: Sequence[Mapping[str, Any]], field: str) -> Rows:
    columns = tuple(dict.fromkeys(str(name) for row in value for name in row))
    _bounded(len(value), len(columns), field)
    return Rows(columns, [[row.get(name) for name in columns] for row in value])


def _of_lists(columns: tuple[str, ...], value: Sequence[Any], field: str) -> Rows:
    width = len(columns) or (len(value[0]) if value and isinstance(value[0], list) else 0)
    for place, row in enumerate(value, 1):
        if not isinstance(row, list):
            raise InvalidValue(f"row {place} is no list", field)
        if len(row) != width:
            raise InvalidValue(f"row {place} has {len(row)} cells, and there should be {width}", field)
    _bounded(len(value), width, field)
    return Rows(columns, value)


def _bounded(rows: int, width: int, field: str) -> None:
    if rows * width > CELLS_MOST:
        raise InvalidValue(
            f"it has {rows} rows of {width} cells; at most {CELLS_MOST} cells are taken", field
        )


def chosen(rows: Rows, columns: Sequence[str], field: str) -> list[list[Any]]:
    """The cells of these columns in this order. Raises InvalidValue, which names the columns that are missing."""
    if not columns:
        return [list(row) for row in rows.cells]
    if not rows.columns:
        width = len(rows.cells[0]) if rows.cells else len(columns)
        if width != len(columns):
            raise InvalidValue(
                f"it has {width} columns without names, and {len(columns)} are needed: {_listed(columns)}",
                field,
            )
        return [list(row) for row in rows.cells]
    missing = [name for name in columns if name not in rows.columns]
    if missing:
        raise InvalidValue(
            f"the column{'s' * (len(missing) > 1)} {_listed(missing)} {'are' if len(missing) > 1 else 'is'} missing;"
            f" there are {_listed(rows.columns)}",
            field,
        )
    places = [rows.columns.index(name) for name in columns]
    return [[row[place] for place in places] for row in rows.cells]


def _listed(names: Iterable[str]) -> str:
    found = [str(name)[:60] for name in names]
    return ", ".join(found[:12]) + (" …" if len(found) > 12 else "")


def to_numbers(
    cells: Sequence[Sequence[Any]], datatype: str, columns: Sequence[str], field: str, first_line: int = 1
) -> list[list[Any]]:
    """Cells as numbers of a datatype. An empty cell, or null, is NaN where the datatype has it.

    Raises InvalidValue with the row and the column of the first that is none.
    """
    return [
        [
            to_number(cell, datatype, field, lambda: _place(line, at, columns))  # noqa: B023
            for at, cell in enumerate(row)
        ]
        for line, row in enumerate(cells, first_line)
    ]


def _place(line: int, at: int, columns: Sequence[str]) -> str:
    return f"row {line}, column {columns[at] if at < len(columns) else at + 1}: "


def to_number(cell: Any, datatype: str, field: str, place: Any = lambda: "") -> Any:
    """One cell as a number of a datatype. Raises InvalidValue, with what `place` says before it."""
    if datatype == "BOOL":
        if isinstance(cell, bool):
            return cell
        word = str(cell).strip().lower()
        if word in _FLAGS:
            return _FLAGS[word]
        raise InvalidValue(f"{place()}{str(cell)[:40]!r} is neither true nor false", field)
    if datatype in _WHOLE:
        return _whole(cell, datatype, field, place)
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return math.nan
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        raise InvalidValue(f"{place()}{str(cell)[:40]!r} is no number", field) from None


def _whole(cell: Any, datatype: str, field: str, place: Any) -> int:
    try:
        found = int(cell) if not isinstance(cell, float) else _exact(cell)
    except (TypeError, ValueError, OverflowError):
        text = (
            "it is empty"
            if cell is None or not str(cell).strip()
            else f"{str(cell)[:40]!r} is no whole number"
        )
        raise InvalidValue(f"{place()}{text}, and the model takes {datatype}", field) from None
    least, most = _WHOLE[datatype]
    if not least <= found <= most:
        raise InvalidValue(f"{place()}{found} does not fit into {datatype}: {least} … {most}", field)
    return found


def _exact(value: float) -> int:
    if not value.is_integer():
        raise ValueError(value)
    return int(value)


def parse_json(text: str | bytes, field: str) -> Any:
    """JSON, whatever is in it. Raises InvalidValue with line and column."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidValue(
            f"line {error.lineno}, column {error.colno} is no JSON: {error.msg}", field
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"it is no JSON: {error}", field) from error
