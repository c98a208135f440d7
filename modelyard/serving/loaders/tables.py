"""The one table of numbers that estimators and trees take, from the inputs of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelyard.serving.errors import InvalidValue
from modelyard.serving.tensors import Array


def table_of(values: Mapping[str, Any], columns: Sequence[str] = ()) -> Array:
    """[rows, features]: the only input, or several side by side, in the order of `columns` where those are their names.

    Raises InvalidValue.
    """
    names = [name for name in columns if name in values] if set(columns) == set(values) else list(values)
    if len(names) == 1:
        table: Array = np.asarray(values[names[0]])
        return table
    if not names:
        raise InvalidValue("it takes a table, and got nothing", "inputs")
    pieces = [np.asarray(values[name]) for name in names]
    try:
        return np.hstack([one.reshape(len(one), -1) if one.ndim else one.reshape(1, 1) for one in pieces])
    except ValueError as error:
        raise InvalidValue(f"inputs have different numbers of rows: {error}", "inputs") from None
