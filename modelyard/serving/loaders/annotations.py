"""What `predict` of a component's class is given, by the last word of an argument's annotation."""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.serving.errors import InvalidValue
from modelyard.serving.launch import Spec

Converter = Callable[[Any], Any]
_EMPTY = ("", "_empty", "Any", "ndarray", "NDArray", "Array")


def converter(annotation: Any, spec: Spec) -> Converter:
    """From what the codec gave, an array otherwise, to what the annotation says. It raises InvalidValue."""
    word = _word(annotation)
    convert = _CONVERTERS.get(word)
    if convert is None:
        return lambda value: value

    def converted(value: Any) -> Any:
        try:
            return convert(value)
        except (ValueError, TypeError, UnicodeError, RecursionError) as error:
            raise InvalidValue(f"it should be a {word}: {error}", f"inputs[{spec.name}]") from None

    return converted


def _word(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    return text.partition("[")[0].partition("|")[0].strip().rpartition(".")[2]


def _one(value: Any) -> Any:
    """The only element of an array."""
    if not isinstance(value, np.ndarray):
        return value
    if value.size != 1:
        raise ValueError(f"{list(value.shape)} is not one value")
    return value.reshape(-1)[0]


def _bytes(value: Any) -> bytes:
    one = _one(value)
    return one.encode() if isinstance(one, str) else bytes(one)


def _text(value: Any) -> str:
    one = _one(value)
    return one.decode() if isinstance(one, bytes) else str(one)


def _data(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.tolist()
    one = _one(value)
    return json.loads(one) if isinstance(one, (bytes, str)) else one


def _list(value: Any) -> list[Any]:
    found = _data(value)
    if not isinstance(found, list):
        raise ValueError(f"{type(found).__name__} is none")
    return found


def _dict(value: Any) -> dict[str, Any]:
    found = _data(value)
    if not isinstance(found, dict):
        raise ValueError(f"{type(found).__name__} is none")
    return found


def _number(kind: type[Any]) -> Converter:
    def convert(value: Any) -> Any:
        one = _one(value)
        return kind(one.item() if isinstance(one, np.generic) else one)

    return convert


def _path(value: Any) -> Path:
    """A file of its own below the frame's directory for such, until the call's values are forgotten."""
    file = tempfile.NamedTemporaryFile(prefix="input-")  # noqa: SIM115
    file.write(_bytes(value))
    file.flush()
    path = _File(file.name)
    path.file = file
    return path


class _File(type(Path())):  # type: ignore[misc]
    """A path whose file goes with it."""

    file: Any


def _frame(value: Any) -> Any:
    """pandas' or polars', from whatever table the codec gave."""
    return value.to_pandas() if hasattr(value, "to_pandas") else value


_CONVERTERS: dict[str, Converter] = {
    "str": _text,
    "bytes": _bytes,
    "int": _number(int),
    "float": _number(float),
    "bool": _number(bool),
    "list": _list,
    "List": _list,
    "Sequence": _list,
    "dict": _dict,
    "Dict": _dict,
    "Mapping": _dict,
    "Path": _path,
    "DataFrame": _frame,
}
