"""Numbers, texts, JSON and files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.serving.codecs import tables
from modelyard.serving.codecs.media import ANYTHING, JSON, TEXT
from modelyard.serving.codecs.shaping import checked, converted, jsonable
from modelyard.serving.errors import InvalidValue
from modelyard.serving.rows import parse_json
from modelyard.serving.steps.numbers import DTYPES

Array = Any
Spec = Mapping[str, Any]
Parameters = dict[str, Any]


def items_of(array: Array, field: str) -> list[bytes]:
    """The elements of an array of bytes, row after row. Raises InvalidValue if there is none."""
    found = [item.encode() if isinstance(item, str) else bytes(item) for item in array.reshape(-1)]
    if not found:
        raise InvalidValue("it has no elements", field)
    return found


def _array(items: Sequence[Any], shape: Sequence[int]) -> Array:
    """Of objects; of the declared shape where so many fit into it, else one row."""
    found = np.empty(len(items), dtype=np.object_)
    found[:] = list(items)
    sizes = list(shape)
    known = int(np.prod([size for size in sizes if size > 0], dtype=np.int64)) if sizes else 1
    fits = (known == len(items) and -1 not in sizes) or (
        sizes.count(-1) == 1 and known > 0 and not len(items) % known
    )
    return found.reshape(sizes) if fits and 0 not in sizes else found


def decode_text(spec: Spec, items: list[bytes], _: str) -> Array:
    field = f"inputs[{spec['name']}]"
    if spec["datatype"] != "BYTES":
        raise InvalidValue(f"it is a text, and {spec['datatype']} are taken", field)
    found = []
    for place, item in enumerate(items):
        try:
            found.append(item.decode())
        except UnicodeDecodeError as error:
            raise InvalidValue(f"element {place} is no text in UTF-8: {error}", field) from error
    return _array(found, spec["shape"])


def decode_json(spec: Spec, items: list[bytes], _: str) -> Any:
    """One element: what it says. Several: a list of that. Numbers where numbers are declared."""
    field = f"inputs[{spec['name']}]"
    said = [parse_json(item, field) for item in items]
    value = said[0] if len(said) == 1 else said
    if spec.get("codec") == "table":
        return tables.of_json(spec, value)
    if spec["datatype"] == "BYTES":
        return value
    if spec.get("columns") and isinstance(value, (Mapping, list)) and _has_names(value):
        return tables.of_json(spec, value)
    return checked(spec, numbers_of(value, spec["datatype"], field), field)


def _has_names(value: Any) -> bool:
    return isinstance(value, Mapping) or (bool(value) and isinstance(value[0], Mapping))


def numbers_of(value: Any, datatype: str, field: str) -> Array:
    """Nested lists as an array. Raises InvalidValue if they are ragged, or no numbers of the datatype."""
    if datatype not in DTYPES:
        raise InvalidValue(f"{datatype} is taken as a raw tensor only", field)
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            array = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidValue(f"it is no array of numbers: {error}", field) from error
    return converted(array, datatype, field)


def decode_file(spec: Spec, items: list[bytes], _: str) -> Any:
    """One element: its bytes. Several: an array of bytes."""
    if spec["datatype"] != "BYTES":
        raise InvalidValue(f"it is a file, and {spec['datatype']} are taken", f"inputs[{spec['name']}]")
    return items[0] if len(items) == 1 else _array(items, spec["shape"])


def encode_numbers(spec: Spec, value: Any) -> Array:
    """As the declared type; real numbers may lose digits, whole ones may not change."""
    field, datatype = f"outputs[{spec['name']}]", spec["datatype"]
    if datatype not in DTYPES:
        # BF16: whoever made it knows its type.
        return np.asarray(value)
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        array = numbers_of(array.tolist(), datatype, field)
    return _placed(np.ascontiguousarray(converted(array, datatype, field)), spec, field)


def _placed(array: Array, spec: Spec, field: str) -> Array:
    """A single number stands for an array of one."""
    if array.ndim == 0 and len(spec["shape"]) == 1:
        array = array.reshape(1)
    return checked(spec, array, field)


def to_bytes(item: Any) -> bytes:
    """An element as it is sent."""
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item)
    return str(item).encode()


def encode_texts(spec: Spec, value: Any) -> tuple[Array, Parameters]:
    array = np.asarray(value, dtype=np.object_)
    found = np.empty(array.shape, dtype=np.object_)
    for place, item in np.ndenumerate(array):
        found[place] = to_bytes(item)
    return _placed(found, spec, f"outputs[{spec['name']}]"), {}


def encode_text(spec: Spec, value: Any) -> tuple[Array, Parameters]:
    return encode_texts(spec, value)[0], {"content_type": TEXT}


def encode_json(spec: Spec, value: Any) -> tuple[Array, Parameters]:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=jsonable)
    except ValueError as error:
        if "JSON compliant" not in str(error):
            raise
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)
    return _array([text.encode()], (1,)), {"content_type": JSON}


def _finite(value: Any) -> Any:
    """JSON has no NaN: null stands for what is no number."""
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value if isinstance(value, (str, int, type(None))) else _finite(jsonable(value))


def encode_file(_: Spec, value: Any) -> tuple[Array, Parameters]:
    content = value.read_bytes() if isinstance(value, Path) else value
    items = [content] if isinstance(content, (bytes, bytearray, memoryview, str)) else list(content)
    return _array([to_bytes(item) for item in items], (len(items),)), {"content_type": ANYTHING}
