"""Operators on tables that are files: Parquet or CSV in, Parquet or CSV out, by polars.

Which one a file is shows its content. For small CSV texts without any library see `tables`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from modelyard.catalog.libraries import library
from modelyard.context import Context
from modelyard.operator.declaration import operator
from modelyard.operator.failure import OperatorFailed
from modelyard.operator.ports import File, Input
from modelyard.operator.schema import Range

TableFormat = Literal["parquet", "csv"]
How = Literal["inner", "left", "full", "semi", "anti"]
LIBRARIES = ("polars",)


@operator(name="table.convert", version="1", libraries=LIBRARIES)
def convert_table(ctx: Context, table: Input[Path], to: TableFormat = "parquet") -> File:
    """Writes a table in another format."""
    return write_table(ctx, read_table(table), "table", to)


@operator(name="table.query", version="1", libraries=LIBRARIES)
def query_table(ctx: Context, table: Input[Path], sql: str, to: TableFormat = "parquet") -> File:
    """Runs a SQL query on a table, which it calls ``self``. For example: select city, avg(price) as price from self
    group by city order by city."""
    polars = library("polars")
    if not sql.strip():
        raise OperatorFailed("the query is empty", "for example: select * from self")
    frame = read_table(table)
    with polars.SQLContext({"self": frame}, eager=True) as context:
        try:
            found = context.execute(sql)
        except polars.exceptions.PolarsError as error:
            raise OperatorFailed(
                f"the query cannot be run: {_first_line(error)}",
                f"the table is called self and has the columns: {', '.join(frame.columns)}",
            ) from error
        return write_table(ctx, found, "table", to)


@operator(name="table.join", version="1", libraries=LIBRARIES)
def join_tables(
    ctx: Context,
    left: Input[Path],
    right: Input[Path],
    on: list[str],
    how: How = "inner",
    to: TableFormat = "parquet",
) -> File:
    """Joins two tables on columns that both have; rows keep the order of the left one."""
    if not on:
        raise OperatorFailed("on names no column", "name the columns that both tables have in common")
    first, second = read_table(left), read_table(right)
    for frame, name in ((first, "left"), (second, "right")):
        require_columns(frame, on, f"the {name} table")
    try:
        joined = first.join(second, on=on, how=how, maintain_order="left_right")
    except library("polars").exceptions.SchemaError as error:
        types = (f"{name} {first[name].dtype} and {second[name].dtype}" for name in on)
        raise OperatorFailed(
            f"the columns have different types in the left and the right table: {', '.join(types)}",
            "bring both to one type: table.query with cast",
        ) from error
    return write_table(ctx, joined, "table", to)


@operator(name="table.split", version="1", outputs={"train": "file", "test": "file"}, libraries=LIBRARIES)
def split_table(
    ctx: Context, table: Input[Path], test_ratio: float = 0.25, seed: int = 0, to: TableFormat = "parquet"
) -> dict[str, File]:
    """Splits the rows of a table by chance into two, the same for the same seed; each keeps the order of the rows."""
    if not 0 < test_ratio < 1:
        raise OperatorFailed(f"test_ratio must lie between 0 and 1, got {test_ratio}")
    frame = read_table(table)
    count = round(frame.height * test_ratio)
    if not 0 < count < frame.height:
        raise OperatorFailed(
            f"the table has {frame.height} rows, which cannot be split so that {test_ratio:.0%} of them are apart",
            "give it more rows, or choose another test_ratio",
        )
    chosen = frame.with_row_index("__row").sample(count, seed=seed)["__row"]
    rows = library("polars").Series("__row", range(frame.height), dtype=chosen.dtype)
    is_test = rows.is_in(chosen.to_list())
    parts = {"train": frame.filter(~is_test), "test": frame.filter(is_test)}
    return {name: write_table(ctx, part, name, to) for name, part in parts.items()}


@operator(name="table.preview", version="1", libraries=LIBRARIES)
def preview_table(table: Input[Path], rows: Annotated[int, Range(0, 1_000)] = 10) -> dict[str, Any]:
    """Tells the columns of a table with their types, how many rows it has, and the first of them."""
    frame = read_table(table)
    head = frame.head(rows)
    return {
        "rows": frame.height,
        "columns": {name: str(kind) for name, kind in frame.schema.items()},
        "first": [[plain(value) for value in row] for row in head.rows()],
    }


def read_table(path: Path) -> Any:
    """The table in a file. Raises OperatorFailed for a file that has none."""
    polars = library("polars")
    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    try:
        return polars.read_parquet(path) if is_parquet else polars.read_csv(path, infer_schema_length=10_000)
    except polars.exceptions.PolarsError as error:
        what = "is empty" if not path.stat().st_size else f"is no table: {_first_line(error)}"
        raise OperatorFailed(
            f"the file {what}", "give it Parquet, or CSV with a header line, in UTF-8"
        ) from error


def write_table(ctx: Context, frame: Any, name: str, to: TableFormat) -> File:
    """A file of that name with the table, below the task's directory."""
    path = ctx.directory / f"{name}.{to}"
    if to == "parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path)
    return File(path)


def require_columns(frame: Any, names: list[str], table: str = "the table") -> None:
    """Raises OperatorFailed with the columns that there are."""
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise OperatorFailed(
            f"{table} has no column {missing[0]!r}", f"name one of its columns: {', '.join(frame.columns)}"
        )


def require_rows(frame: Any, table: str = "the table") -> None:
    """Raises OperatorFailed for a table of a header alone."""
    if not frame.height:
        raise OperatorFailed(f"{table} has no rows", "look at what the node before it gives: table.preview")


def is_number(series: Any) -> bool:
    """Whether a column holds numbers, truth values included."""
    return bool(series.dtype.is_numeric()) or str(series.dtype) == "Boolean"


def _first_line(error: Exception) -> str:
    """Of what polars says; its plans help nobody here."""
    return str(error).strip().partition("\n")[0]


def plain(value: Any) -> Any:
    """A cell as JSON: what JSON does not have, dates for example, as text."""
    if isinstance(value, float) and value - value != 0:
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
