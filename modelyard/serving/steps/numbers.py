"""Steps on numbers, element by element."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from modelyard.serving.steps.names import Names

Array = Any
Options = Mapping[str, Any]

DTYPES: dict[str, Any] = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP16": np.float16, "FP32": np.float32, "FP64": np.float64, "BYTES": np.object_,
}  # fmt: skip
"""Of datatypes; BF16 has none without another library."""


def numeric(value: Any) -> Array:
    """As an array of numbers. Raises ValueError for texts."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ValueError("it holds texts, and this step wants numbers")
    return array


def floating(value: Any) -> Array:
    """As real numbers: those stay as they are, others become FP32."""
    array = numeric(value)
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def along(numbers: Any, array: Array, axis: int) -> Array:
    """One number, or one for each position along an axis, so that it can be computed with the array."""
    found = np.asarray(numbers, dtype=array.dtype)
    if found.ndim == 0 or found.size == 1:
        return found.reshape(())
    if found.size != array.shape[axis]:
        raise ValueError(f"{found.size} numbers are given, and its axis {axis} has {array.shape[axis]}")
    shape = [1] * array.ndim
    shape[axis] = found.size
    return found.reshape(shape)


def normalize(value: Any, options: Options, _: Names) -> Array:
    array, axis = floating(value), options["axis"]
    std = along(options["std"], array, axis)
    if not np.all(std):
        raise ValueError("std has a 0")
    return (array - along(options["mean"], array, axis)) / std


def standardize(value: Any, options: Options, _: Names) -> Array:
    array = floating(value)
    axes = tuple(range(1, array.ndim)) if array.ndim > 1 else None
    mean, std = array.mean(axis=axes, keepdims=True), array.std(axis=axes, keepdims=True)
    return ((array - mean) / (std + options["epsilon"])).astype(array.dtype)


def scale(value: Any, options: Options, _: Names) -> Array:
    array = floating(value)
    return (array * options["factor"] + options["offset"]).astype(array.dtype)


def clip(value: Any, options: Options, _: Names) -> Array:
    if options["least"] is None and options["most"] is None:
        return numeric(value)
    array = numeric(value)
    return np.clip(array, options["least"], options["most"]).astype(array.dtype)


def fill_missing(value: Any, options: Options, _: Names) -> Array:
    array = floating(value)
    return np.where(np.isnan(array), np.asarray(options["value"], array.dtype), array)


def cast(value: Any, options: Options, _: Names) -> Array:
    kind, array = options["datatype"], np.asarray(value)
    if kind == "BYTES":
        return texts_of(array)
    if array.dtype.kind in "OUS":
        return _numbers_of(array, DTYPES[kind])
    with np.errstate(invalid="ignore"):
        return array.astype(DTYPES[kind])


def texts_of(array: Array) -> Array:
    """An array of str."""
    found = np.empty(array.shape, dtype=np.object_)
    for place, item in np.ndenumerate(array):
        found[place] = item.decode() if isinstance(item, bytes) else str(item)
    return found


def _numbers_of(array: Array, dtype: Any) -> Array:
    whole = np.dtype(dtype).kind in "iub"
    found = np.empty(array.shape, dtype=dtype)
    for place, item in np.ndenumerate(array):
        try:
            text = item.decode() if isinstance(item, bytes) else item
            found[place] = int(text) if whole else float(text)
        except (ValueError, TypeError):
            raise ValueError(f"{str(item)[:40]!r} at {list(place)} is no number") from None
    return found


def rounded(value: Any, options: Options, _: Names) -> Array:
    return np.round(numeric(value), options["decimals"])


def exp(value: Any, _options: Options, _: Names) -> Array:
    with np.errstate(over="ignore"):
        return np.exp(floating(value))


def log(value: Any, _options: Options, _: Names) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(floating(value))


OPERATIONS: dict[str, Callable[[Any, Options, Names], Any]] = {
    "normalize": normalize, "standardize": standardize, "scale": scale, "clip": clip, "fill_missing": fill_missing,
    "cast": cast, "round": rounded, "exp": exp, "log": log,
}  # fmt: skip
"""By name."""
