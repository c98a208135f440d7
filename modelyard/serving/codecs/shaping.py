"""What every codec asks of values: the declared shape, the declared type of numbers, and what JSON has for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from modelyard.serving.errors import InvalidValue
from modelyard.serving.steps.numbers import DTYPES

Array = Any
Spec = Mapping[str, Any]


def checked(spec: Spec, array: Array, field: str) -> Array:
    """The array, if it has the declared shape. Raises InvalidValue."""
    shape = list(spec["shape"])
    fits = len(shape) == array.ndim and all(
        wanted in (-1, size) for wanted, size in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise InvalidValue(f"it has the shape {list(array.shape)}, and {shape} is declared", field)
    return array


def converted(array: Array, datatype: str, field: str) -> Array:
    """As another type of numbers, if none changes. Raises InvalidValue."""
    dtype = np.dtype(DTYPES[datatype])
    if array.dtype == dtype:
        return array
    with np.errstate(invalid="ignore", over="ignore"):
        found = array.astype(dtype)
    if dtype.kind in "iub" and array.size and not np.array_equal(found.astype(array.dtype), array):
        raise InvalidValue(f"its numbers do not all fit into {datatype}", field)
    return found


def jsonable(value: Any) -> Any:
    """What JSON has for what it has not: lists for arrays, texts for bytes. Raises TypeError."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (bytes, bytearray)):
        return value.decode(errors="replace")
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    if callable(to_dict := getattr(value, "to_dict", None)):
        return to_dict()
    raise TypeError(f"{type(value).__name__} has no JSON")
