"""Steps on texts, element by element."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from modelyard.serving.steps.names import Names

Array = Any
Options = Mapping[str, Any]


def _each(value: Any, change: Callable[[str], str]) -> Array:
    array = np.asarray(value, dtype=np.object_)
    found = np.empty(array.shape, dtype=np.object_)
    for place, item in np.ndenumerate(array):
        try:
            text = item.decode() if isinstance(item, bytes) else item
        except UnicodeDecodeError:
            raise ValueError(f"at {list(place)} is no text in UTF-8") from None
        if not isinstance(text, str):
            raise ValueError(f"at {list(place)} is {type(item).__name__}, and this step wants texts")
        found[place] = change(text)
    return found


def lower(value: Any, _options: Options, _: Names) -> Array:
    return _each(value, str.lower)


def strip(value: Any, _options: Options, _: Names) -> Array:
    return _each(value, str.strip)


def truncate(value: Any, options: Options, _: Names) -> Array:
    most = options["most"]
    return _each(value, lambda text: text[:most])


OPERATIONS: dict[str, Callable[[Any, Options, Names], Any]] = {
    "lower": lower, "strip": strip, "truncate": truncate,
}  # fmt: skip
"""By name."""
