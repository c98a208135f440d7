"""Steps between numbers and what they stand for: probabilities, classes, labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from modelyard.serving.steps.names import Names
from modelyard.serving.steps.numbers import floating, numeric
from modelyard.serving.steps.shapes import only

Array = Any
Options = Mapping[str, Any]
Values = dict[str, Any]
CELLS_MOST = 1 << 28
"""Of what one_hot makes."""


def softmax(value: Any, options: Options, _: Names) -> Array:
    array, axis = floating(value), options["axis"]
    powers = np.exp(array - array.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def sigmoid(value: Any, _options: Options, _: Names) -> Array:
    array = floating(value)
    # Of −|x| only, which cannot overflow.
    small = np.exp(-np.abs(array))
    return np.where(array >= 0, 1 / (1 + small), small / (1 + small)).astype(array.dtype)


def argmax(value: Any, options: Options, names: Names) -> Array:
    array, axis = numeric(value), options["axis"]
    columns = names.columns.get(names.current, ())
    if columns and axis in (-1, array.ndim - 1) and not names.labels.get(names.current):
        names.labels[names.target] = columns
    return np.argmax(array, axis=axis).astype(np.int64)


def threshold(value: Any, options: Options, _: Names) -> Array:
    return numeric(value) > options["above"]


def label(value: Any, options: Options, names: Names) -> Array:
    labels = tuple(options["labels"]) or names.labels.get(names.current, ())
    if not labels:
        raise ValueError("no labels are known; say them in the step, or as labels of the output")
    return named(numeric(value), labels)


def named(numbers: Array, labels: Sequence[Any]) -> Array:
    """Texts instead of numbers from 0. Raises ValueError for a number that has no label."""
    places = numbers.astype(np.int64)
    if places.size and not (places.min() >= 0 and places.max() < len(labels)):
        outside = places.max() if places.max() >= len(labels) else places.min()
        raise ValueError(f"{outside} has no label; there are {len(labels)}, from 0")
    found = np.empty(len(labels), dtype=np.object_)
    found[:] = [str(one) for one in labels]
    return np.asarray(found[places], dtype=np.object_)


def top_k(values: Values, options: Options, names: Names) -> Values:
    name = only(values, options["on"])
    array = numeric(values[name])
    if array.ndim == 0:
        raise ValueError(f"{name}: a single number has no largest")
    places = np.argsort(-floating(array), axis=-1, kind="stable")[..., : options["k"]]
    found = {**values, name: np.take_along_axis(array, places, axis=-1)}
    found[options["index"] or f"{name}_index"] = places.astype(np.int64)
    labels = tuple(options["labels"]) or names.labels.get(name) or names.columns.get(name)
    if labels:
        found[options["label"] or f"{name}_label"] = named(places, labels)
    return found


def one_hot(value: Any, options: Options, _: Names) -> Array:
    array, categories = np.asarray(value), tuple(map(str, options["categories"]))
    size = len(categories) or options["size"]
    if array.size * size > CELLS_MOST:
        raise ValueError(f"{array.size} values of {size} classes are too many")
    places = _places(array, categories) if categories else numeric(array).astype(np.int64)
    if places.size and not (places.min() >= 0 and places.max() < size):
        raise ValueError(
            f"its numbers are {places.min()} … {places.max()}, and there are {size} classes from 0"
        )
    return np.eye(size, dtype=np.float32)[places] if size <= 1_024 else _sparse(places, size)


def _sparse(places: Array, size: int) -> Array:
    found = np.zeros((*places.shape, size), dtype=np.float32)
    np.put_along_axis(found, places[..., None], 1.0, axis=-1)
    return found


def _places(array: Array, categories: tuple[str, ...]) -> Array:
    known = {word: place for place, word in enumerate(categories)}
    found = np.empty(array.shape, dtype=np.int64)
    for place, item in np.ndenumerate(array):
        word = item.decode(errors="replace") if isinstance(item, bytes) else str(item)
        if word not in known:
            raise ValueError(f"{word[:40]!r} is none of {', '.join(categories[:12])}")
        found[place] = known[word]
    return found


OPERATIONS: dict[str, Callable[[Any, Options, Names], Any]] = {
    "softmax": softmax, "sigmoid": sigmoid, "argmax": argmax, "threshold": threshold, "label": label,
    "one_hot": one_hot,
}  # fmt: skip
"""By name."""
WHOLE: dict[str, Callable[[Values, Options, Names], Values]] = {"top_k": top_k}
"""By name."""
