"""What an operator returned, as a report carries it.

Owns the split into a JSON value and files. Must not send or upload anything.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from modelyard.context import Context, file_name
from modelyard.operator.ports import File
from modelyard.worker.frames import Message

MAX_VALUE_BYTES = 64 * 1024


class _Text:
    """The JSON of a value that lies in a file of its own."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class BadResult(TypeError):
    """What was returned cannot be carried."""


def report_result(value: Any, context: Context, ports: Collection[str] = ()) -> Message:
    """The fields ``value_json`` or ``value_path``, and ``files``. Raises `BadResult`.

    What several output ports give that is too large together is a file for each, so that each can be had alone.
    """
    if type(value) is dict and len(ports) > 1 and not value.keys() - set(ports):
        value = _parted(value, context)
    if type(value) is dict and any(isinstance(item, File | bytes | _Text) for item in value.values()):
        files = {name: item for name, item in value.items() if isinstance(item, File | bytes | _Text)}
        rest = {name: item for name, item in value.items() if name not in files}
        fields = _value(rest, context) if rest else {}
        return {**fields, "files": [_file(str(name), item, context) for name, item in files.items()]}
    if isinstance(value, File | bytes):
        return {"files": [_file("result", value, context)]}
    return _value(value, context)


def _parted(value: dict[str, Any], context: Context) -> dict[str, Any]:
    """The members, those that are too large to lie beside each other as files of JSON."""
    texts = {name: _text(item) for name, item in value.items() if not isinstance(item, File | bytes)}
    left = sum(len(text) + len(name) + 4 for name, text in texts.items())
    parted = dict(value)
    for name in sorted(texts, key=lambda name: -len(texts[name])):
        if left <= MAX_VALUE_BYTES:
            break
        left -= len(texts[name]) + len(name) + 4
        parted[name] = _Text(texts[name])
    return parted


def _text(value: Any) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_plain)
    except ValueError as error:
        if "circular" in str(error).lower():
            raise BadResult("the result contains itself") from error
        raise BadResult(
            "the result contains NaN or Infinity, which JSON does not have; return None or a string there"
        ) from error


def _value(value: Any, context: Context) -> Message:
    text = _text(value)
    if len(text) <= MAX_VALUE_BYTES:
        return {"value_json": text}
    path = context.directory / ".value.json"
    path.write_text(text, encoding="utf-8")
    return {"value_path": str(path)}


def _plain(value: Any) -> Any:
    """JSON for the likes of numpy arrays and scalars, dataclasses, enums, paths and sets."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "_value_") and hasattr(type(value), "__members__"):
        return value.value
    raise BadResult(
        f"the result contains a {type(value).__name__}, which JSON cannot carry; "
        "return numbers, text, lists and dictionaries, bytes, or a File"
    )


def _file(name: str, value: File | bytes | _Text, context: Context) -> Message:
    if isinstance(value, _Text):
        return {**_file(name, value.text.encode(), context), "is_value": True}
    if isinstance(value, bytes):
        path = context.directory / "outputs" / file_name(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(value)
        return {"name": name, "path": str(path)}
    path = value.path if value.path.is_absolute() else context.directory / value.path
    if not path.is_file():
        raise BadResult(f"output {name!r}: there is no file {str(path)!r}")
    return {"name": name, "path": str(path)}
