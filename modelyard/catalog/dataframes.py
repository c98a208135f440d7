"""Operators on tables that are files: Parquet or CSV in, Parquet or CSV out, by polars.

Which one a file is shows its content. For small CSV texts without any library see `tables`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from modelyard.catalog.libraries import library
from modelyard.context import Context
from modelyard.operator.declaration import operator
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
    with polars.SQLContext({"self": read_table(table)}, eager=True) as context:
        return write_table(ctx, context.execute(sql), "table", to)


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
    first, second = read_table(left), read_table(right)
    for frame in (first, second):
        require_columns(frame, on)
    return write_table(ctx, first.join(second, on=on, how=how, maintain_order="left_right"), "table", to)


@operator(name="table.split", version="1", outputs={"train": "file", "test": "file"}, libraries=LIBRARIES)
def split_table(
    ctx: Context, table: Input[Path], test_ratio: float = 0.25, seed: int = 0, to: TableFormat = "parquet"
) -> dict[str, File]:
    """Splits the rows of a table by chance into two, the same for the same seed; each keeps the order of the rows."""
    if not 0 < test_ratio < 1:
        raise ValueError(f"test_ratio must lie between 0 and 1, got {test_ratio}")
    frame = read_table(table)
    count = round(frame.height * test_ratio)
    if not 0 < count < frame.height:
        raise ValueError(f"{frame.height} rows cannot be split so that {test_ratio:.0%} of them are apart")
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
    """The table in a file. Raises ValueError for a file that has none."""
    polars = library("polars")
    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    try:
        return polars.read_parquet(path) if is_parquet else polars.read_csv(path, infer_schema_length=10_000)
    except polars.exceptions.PolarsError as error:
        raise ValueError(f"the file is no table: {error}") from error


def write_table(ctx: Context, frame: Any, name: str, to: TableFormat) -> File:
    """A file of that name with the table, below the task's directory."""
    path = ctx.directory / f"{name}.{to}"
    if to == "parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path)
    return File(path)


def require_columns(frame: Any, names: list[str]) -> None:
    """Raises ValueError with the columns that there are."""
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise ValueError(f"there is no column {missing[0]!r}; there are: {', '.join(frame.columns)}")


def plain(value: Any) -> Any:
    """A cell as JSON: what JSON does not have, dates for example, as text."""
    if isinstance(value, float) and value - value != 0:
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
