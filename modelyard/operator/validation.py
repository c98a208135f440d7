"""Checks parameters against the JSON Schema of an operator.

Owns the messages that a user reads when a parameter is wrong. Pure, and the same in the scheduler (at
submission) and in the worker. Knows exactly the words that `schema` writes.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from modelyard.nearest import nearest


class Problem(NamedTuple):
    """One wrong parameter: its path ("n", "boxes[0].width"), a sentence that says what to change, and what is wrong
    with it: "missing", "unknown", "type" or "range" (of the right type, but none of the allowed values)."""

    field: str
    message: str
    kind: str = "type"


Wrong = tuple[str, str, str]
"""Path, message, kind."""

_NAMES = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "string": "a string",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def validate_params(schema: Mapping[str, Any], params: Mapping[str, Any]) -> list[Problem]:
    """Everything that is wrong with ``params``, in the order of the schema; empty when nothing is.

    ``schema`` is what `describe` gives as ``params_schema``; its "title" names the operator.
    """
    operator = schema.get("title", "")
    if not isinstance(params, Mapping):
        return [Problem("", f"parameters of operator {operator!r} must be an object, got {_shown(params)}")]
    return [
        Problem(field, f"parameter {field!r} of operator {operator!r} {message}", kind)
        for field, message, kind in _object_problems(schema, params, "")
    ]


def matches(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether a single value fits."""
    return next(_problems(schema, value, ""), None) is None


def _problems(schema: Mapping[str, Any], value: Any, path: str) -> Iterator[Wrong]:
    if "enum" in schema:
        if not any(value == choice and type(value) is type(choice) for choice in schema["enum"]):
            choices = _either(json.dumps(choice) for choice in schema["enum"])
            yield path, f"must be {choices}, got {_shown(value)}", "range"
        return
    if "anyOf" in schema:
        yield from _union_problems(schema["anyOf"], value, path)
        return
    kind = schema.get("type")
    if kind is None:
        return
    if not _is(kind, value):
        yield path, f"must be {_NAMES[kind]}, got {_shown(value)}", "type"
    elif kind in ("integer", "number"):
        yield from _range_problems(schema, value, path)
    elif kind == "array":
        yield from _array_problems(schema, value, path)
    elif kind == "object":
        yield from _object_problems(schema, value, path)


def _range_problems(schema: Mapping[str, Any], value: float, path: str) -> Iterator[Wrong]:
    least, most = schema.get("minimum"), schema.get("maximum")
    if (least is None or value >= least) and (most is None or value <= most):
        return
    if least is None:
        yield path, f"must be at most {most}, got {_shown(value)}", "range"
    elif most is None:
        yield path, f"must be at least {least}, got {_shown(value)}", "range"
    else:
        yield path, f"must be {least} to {most}, got {_shown(value)}", "range"


def _union_problems(options: list[Any], value: Any, path: str) -> Iterator[Wrong]:
    found = [list(_problems(option, value, path)) for option in options]
    if all(found):
        # The option that the value came furthest with says most; a bare type mismatch says least.
        deepest = max(found, key=lambda problems: len(problems[0][0]))
        if deepest[0][0] != path:
            yield from deepest
        else:
            kind = "range" if any(problem[0][2] == "range" for problem in found) else "type"
            yield path, f"must be {_either(_wanted(option) for option in options)}, got {_shown(value)}", kind


def _array_problems(schema: Mapping[str, Any], value: Any, path: str) -> Iterator[Wrong]:
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if len(value) < least or (most is not None and len(value) > most):
        wanted = least if least == most else f"{least} to {most}"
        yield path, f"must have {wanted} items, got {len(value)}", "range"
        return
    prefix = schema.get("prefixItems", [])
    for index, item in enumerate(value):
        of_item = prefix[index] if index < len(prefix) else schema.get("items", {})
        yield from _problems(of_item, item, f"{path}[{index}]")


def _object_problems(schema: Mapping[str, Any], value: Mapping[str, Any], path: str) -> Iterator[Wrong]:
    properties: Mapping[str, Any] = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for name in schema.get("required", ()):
        if name not in value:
            yield _below(path, name), f"is missing; it must be {_wanted(properties[name])}", "missing"
    for name, item in value.items():
        if name in properties:
            yield from _problems(properties[name], item, _below(path, name))
        elif others is False:
            yield _below(path, name), f"is not known{_near(name, properties)}", "unknown"
        elif others is not True:
            yield from _problems(others, item, _below(path, name))


def _is(kind: str, value: Any) -> bool:
    if kind == "integer":
        # A google.protobuf.Struct has no integers: 3.0 means 3.
        return (type(value) is int) or (type(value) is float and value.is_integer())
    if kind == "number":
        return type(value) is int or type(value) is float
    if kind == "string":
        return isinstance(value, str)
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "array":
        return isinstance(value, list)
    if kind == "object":
        return isinstance(value, Mapping)
    return value is None


def _wanted(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return _either(json.dumps(choice) for choice in schema["enum"])
    if "anyOf" in schema:
        return _either(_wanted(option) for option in schema["anyOf"])
    return _NAMES.get(schema.get("type", ""), "any value")


def _either(words: Iterator[str] | Any) -> str:
    *most, last = dict.fromkeys(words)
    return f"{', '.join(most)} or {last}" if most else str(last)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _near(name: str, known: Mapping[str, Any]) -> str:
    close = nearest(name, known)
    if close:
        return f"; did you mean {close!r}?"
    return f"; known are: {', '.join(known)}" if known else "; it takes no parameters"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
