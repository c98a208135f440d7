"""Operators that draw tables, by matplotlib: PNG or SVG."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from modelyard.catalog.dataframes import is_number, read_table, require_columns, require_rows
from modelyard.catalog.libraries import library
from modelyard.context import Context
from modelyard.operator.declaration import operator
from modelyard.operator.failure import OperatorFailed
from modelyard.operator.ports import File, Input
from modelyard.operator.schema import Range

Kind = Literal["line", "scatter", "bar", "histogram"]
PictureFormat = Literal["png", "svg"]
Side = Annotated[int, Range(16, 8_000)]


@operator(name="plot.table", version="1", libraries=("matplotlib", "polars"))
def plot_table(
    ctx: Context,
    table: Input[Path],
    y: list[str],
    x: str = "",
    kind: Kind = "line",
    title: str = "",
    to: PictureFormat = "png",
    width: Side = 800,
    height: Side = 500,
) -> File:
    """Draws columns of a table against another, or against the row's number, or how their values are distributed. The
    same table gives the same bytes."""
    if not y:
        raise OperatorFailed("y names no column", "name the columns to draw")
    frame = read_table(table)
    require_columns(frame, [*y, *([x] if x else [])])
    require_rows(frame)
    for name in y:
        if not is_number(frame[name]):
            raise OperatorFailed(
                f"column {name!r} is {frame[name].dtype}, and only numbers are drawn",
                "name columns of numbers in y; what they are drawn against is x",
            )
    matplotlib = library("matplotlib")
    # Without pyplot nothing is left in the process when the call ends.
    figure = library("matplotlib.figure", "matplotlib").Figure(
        figsize=(width / 100, height / 100), layout="constrained"
    )
    axes = figure.add_subplot()
    _draw(axes, kind, frame, x, y)
    axes.set_title(title)
    axes.set_xlabel(x or ("value" if kind == "histogram" else "row"))
    axes.legend()
    path = ctx.directory / f"plot.{to}"
    with matplotlib.rc_context({"svg.hashsalt": "modelyard", "svg.fonttype": "none"}):
        figure.savefig(
            path, format=to, dpi=100, metadata={"Date": None} if to == "svg" else {"Software": None}
        )
    return File(path)


def _draw(axes: Any, kind: Kind, frame: Any, x: str, y: list[str]) -> None:
    across = frame[x].to_list() if x else list(range(frame.height))
    for number, name in enumerate(y):
        values = frame[name].to_list()
        if kind == "line":
            axes.plot(across, values, label=name)
        elif kind == "scatter":
            axes.scatter(across, values, label=name, s=12)
        elif kind == "histogram":
            axes.hist([value for value in values if value is not None], bins=30, alpha=0.6, label=name)
        else:
            wide = 0.8 / len(y)
            places = [place - 0.4 + wide * (number + 0.5) for place in range(frame.height)]
            axes.bar(
                places, [math.nan if value is None else value for value in values], width=wide, label=name
            )
    if kind == "bar":
        axes.set_xticks(range(frame.height), [str(value) for value in across])
