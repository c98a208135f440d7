"""Steps on axes, columns and names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from modelyard.serving.steps.names import Names

Array = Any
Options = Mapping[str, Any]
Values = dict[str, Any]


def transpose(value: Any, options: Options, _: Names) -> Array:
    return np.transpose(np.asarray(value), options["axes"])


def layout(value: Any, options: Options, _: Names) -> Array:
    array = np.asarray(value)
    if array.ndim < 3:
        raise ValueError(f"it has {array.ndim} axes, and a picture has three")
    if options["from"] == options["into"]:
        return array
    moved = (-1, -3) if options["from"] == "hwc" else (-3, -1)
    return np.ascontiguousarray(np.moveaxis(array, *moved))


def reshape(value: Any, options: Options, _: Names) -> Array:
    return np.reshape(np.asarray(value), options["shape"])


def expand(value: Any, options: Options, _: Names) -> Array:
    return np.expand_dims(np.asarray(value), options["axis"])


def squeeze(value: Any, options: Options, _: Names) -> Array:
    return np.squeeze(np.asarray(value), options["axis"])


def select(value: Any, options: Options, names: Names) -> Array:
    array, known = np.asarray(value), names.columns.get(names.current, ())
    wanted = options["columns"]
    places = [_place(one, known) for one in ([wanted] if isinstance(wanted, (str, int)) else wanted)]
    if array.ndim == 0:
        raise ValueError("it has no columns")
    if known:
        names.columns[names.target] = tuple(known[place] for place in places)
    return np.take(array, places, axis=-1)


def _place(column: str | int, known: tuple[str, ...]) -> int:
    if isinstance(column, int):
        return column
    if column not in known:
        raise ValueError(
            f"it has no column {column!r}; it has {', '.join(known[:20]) or 'no names of columns'}"
        )
    return known.index(column)


def only(values: Values, name: str) -> str:
    """The value of that name; of none: the only one there is."""
    if not name and len(values) == 1:
        return next(iter(values))
    if name not in values:
        raise ValueError(
            f"there is no value {name!r}; there are {', '.join(values)}"
            if name
            else f"say on which value: {', '.join(values) or 'there is none'}"
        )
    return name


def rename(values: Values, options: Options, names: Names) -> Values:
    before, after = only(values, options["on"]), options["to"]
    if after in values and after != before:
        raise ValueError(f"there is a value {after!r} already")
    for known in (names.columns, names.labels):
        if before in known:
            known[after] = known.pop(before)
    return {after if name == before else name: value for name, value in values.items()}


def drop(values: Values, options: Options, _: Names) -> Values:
    wanted = options["on"]
    gone = {only(values, name) for name in ([wanted] if isinstance(wanted, str) else wanted)}
    return {name: value for name, value in values.items() if name not in gone}


OPERATIONS: dict[str, Callable[[Any, Options, Names], Any]] = {
    "transpose": transpose, "layout": layout, "reshape": reshape, "expand": expand, "squeeze": squeeze,
    "select": select,
}  # fmt: skip
"""By name."""
WHOLE: dict[str, Callable[[Values, Options, Names], Values]] = {"rename": rename, "drop": drop}
"""By name."""
