"""Operators on tables: CSV with a header line."""

import csv
import io
import math
from collections.abc import Callable
from typing import Any, Literal

from modelyard.operator.declaration import operator
from modelyard.operator.failure import OperatorFailed
from modelyard.operator.ports import Input

Comparison = Literal["=", "!=", "<", "<=", ">", ">="]

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: bool(a == b),
    "!=": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}


@operator(name="table.describe", version="1")
def describe_table(table: Input[str]) -> dict[str, Any]:
    """Summarises each column of a CSV table: count, missing, distinct, and least, mean and most of numbers."""
    names, rows = _read(table)
    columns = {name: _summary([row[index] for row in rows]) for index, name in enumerate(names)}
    return {"rows": len(rows), "columns": columns}


@operator(name="table.filter", version="1", outputs={"result": "file"})
def filter_table(
    table: Input[str], column: str, value: str | int | float, comparison: Comparison = "="
) -> bytes:
    """Keeps the rows of a CSV table whose column compares so with a value, as numbers where both are."""
    names, rows = _read(table)
    if column not in names:
        raise OperatorFailed(
            f"the table has no column {column!r}", f"name one of its columns: {', '.join(names)}"
        )
    index, compare = names.index(column), _COMPARE[comparison]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(row for row in rows if compare(*_comparable(row[index], str(value))))
    return out.getvalue().encode()


def _read(text: str) -> tuple[list[str], list[list[str]]]:
    lines = [row for row in csv.reader(io.StringIO(text)) if row]
    if not lines:
        raise OperatorFailed("the table is empty", "its first line must name the columns")
    names, *rows = lines
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise OperatorFailed(
                f"row {number} has {len(row)} cells, and the header has {len(names)}",
                "every line needs a cell for each column; quote cells with commas or line ends in them",
            )
    return names, rows


def _summary(cells: list[str]) -> dict[str, Any]:
    present = [cell for cell in cells if cell != ""]
    summary: dict[str, Any] = {
        "count": len(present),
        "missing": len(cells) - len(present),
        "distinct": len(set(present)),
    }
    numbers = [number for cell in present if (number := _number(cell)) is not None]
    if numbers and len(numbers) == len(present):
        summary.update(least=min(numbers), mean=math.fsum(numbers) / len(numbers), most=max(numbers))
    return summary


def _comparable(left: str, right: str) -> tuple[Any, Any]:
    numbers = _number(left), _number(right)
    return (left, right) if None in numbers else numbers


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
