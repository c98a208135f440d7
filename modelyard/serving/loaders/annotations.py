"""What `predict` of a component's class is given, by the last word of an argument's annotation."""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.serving.errors import InvalidValue, library
from modelyard.serving.launch import Spec

Converter = Callable[[Any], Any]


def converter(annotation: Any, spec: Spec) -> Converter:
    """From what the codec gave, an array otherwise, to what the annotation says. It raises InvalidValue."""
    word = _word(annotation)
    convert = _CONVERTERS.get(word)
    if word in ("Table", "DataFrame"):
        of_tables = _table if word == "Table" else _polars if _is_of(annotation, "polars", "pl.") else _pandas
        convert = partial(of_tables, spec=spec)
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


def _is_of(annotation: Any, module: str, prefix: str) -> bool:
    text = annotation if isinstance(annotation, str) else f"{getattr(annotation, '__module__', '')}."
    return text.startswith((f"{module}.", prefix))


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


def _image(value: Any) -> Any:
    """Pillow's, of pixels [height, width, channels]."""
    image = library("PIL.Image", "pillow", "runtime.requirements", "a picture")
    return image.fromarray(value) if isinstance(value, np.ndarray) else value


def _columns(value: Any, spec: Spec) -> dict[str, Any]:
    """Of a table, as its codec gave it or as a matrix of numbers, whose columns are named in model.yaml."""
    if isinstance(value, dict):
        return value
    matrix = np.asarray(value)
    if matrix.ndim != 2:
        raise ValueError(f"{list(matrix.shape)} has no columns")
    names = spec.columns or tuple(map(str, range(matrix.shape[1])))
    return dict(zip(names, matrix.T, strict=True))


def _table(value: Any, spec: Spec) -> Any:
    """pyarrow's."""
    return library("pyarrow", "pyarrow", "runtime.requirements", "a table").table(_columns(value, spec))


def _pandas(value: Any, spec: Spec) -> Any:
    return library("pandas", "pandas", "runtime.requirements", "a table").DataFrame(_columns(value, spec))


def _polars(value: Any, spec: Spec) -> Any:
    return library("polars", "polars", "runtime.requirements", "a table").DataFrame(_columns(value, spec))


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
    "Image": _image,
}
