"""JSON Schema of Python annotations, and the way back from JSON to what was annotated.

Owns which types a parameter may have. Must not check values (that is `validation`).
"""

import dataclasses
import enum
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from modelyard.operator.validation import matches

Convert = Callable[[Any], Any]


class Shape(NamedTuple):
    """A type as JSON: its schema, and how a checked JSON value becomes it (None: as it is)."""

    schema: dict[str, Any]
    convert: Convert | None = None


class Range(NamedTuple):
    """Bounds of a number, both allowed: ``width: Annotated[int, Range(1, 4096)]``; None: no bound."""

    least: float | None = None
    most: float | None = None


class UnsupportedType(TypeError):
    """An annotation that has no meaning as JSON."""


_ARRAYS: dict[Any, Any] = {
    list: list,
    set: set,
    frozenset: frozenset,
    tuple: tuple,
    Sequence: list,
    Iterable: list,
}


def shape(annotation: Any) -> Shape:
    """The shape of a type. Raises `UnsupportedType` for what JSON cannot carry."""
    simple = _SIMPLE.get(annotation) if isinstance(annotation, type | None) else None
    if simple is not None:
        return simple
    if annotation is Any or isinstance(annotation, TypeVar) or annotation is object:
        return Shape({})
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _annotated(shape(arguments[0]), arguments[1:])
    if origin is Literal:
        return Shape({"enum": list(arguments)})
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return Shape({"enum": [member.value for member in annotation]}, annotation)
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return _record(annotation)
    return _container(annotation, origin or annotation, arguments)


def default_json(value: Any) -> Any:
    """A default as the schema shows it. Raises `UnsupportedType` where it is not JSON."""
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return default_json(dataclasses.asdict(value))
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): default_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [default_json(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UnsupportedType(f"{value!r} is not JSON")


def _annotated(of: Shape, notes: tuple[Any, ...]) -> Shape:
    """A type with bounds, where it is a number's; other annotations mean nothing here."""
    bounds = next((note for note in notes if isinstance(note, Range)), None)
    if bounds is None:
        return of
    if of.schema.get("type") not in ("integer", "number"):
        raise UnsupportedType(f"{bounds} bounds a number, int or float")
    limits = {"minimum": bounds.least, "maximum": bounds.most}
    return Shape({**of.schema, **{k: v for k, v in limits.items() if v is not None}}, of.convert)


def _union(arguments: tuple[Any, ...]) -> Shape:
    options = [shape(argument) for argument in arguments]
    if all(option.convert is None for option in options):
        return Shape({"anyOf": [option.schema for option in options]})

    def convert(value: Any) -> Any:
        chosen = next(option for option in options if matches(option.schema, value))
        return chosen.convert(value) if chosen.convert else value

    return Shape({"anyOf": [option.schema for option in options]}, convert)


def _record(record: type) -> Shape:
    hints = get_type_hints(record, include_extras=True)
    fields = [field for field in dataclasses.fields(record) if field.init]
    shapes = {field.name: shape(hints[field.name]) for field in fields}
    required = [
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: item.schema for name, item in shapes.items()},
        "additionalProperties": False,
    }
    if required:
        schema["required"] = required

    def convert(value: Any) -> Any:
        return record(**{name: _converted(shapes[name], item) for name, item in value.items()})

    return Shape(schema, convert)


def _container(annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Shape:
    if origin in (dict, Mapping) or getattr(origin, "__name__", "") == "MutableMapping":
        return _object(arguments)
    make = _ARRAYS.get(origin)
    if make is None:
        raise UnsupportedType(
            f"{getattr(annotation, '__name__', annotation)} cannot be carried as JSON; use int, float, bool, "
            "str, list, dict, Literal, Enum, a dataclass or a union of these"
        )
    if make is tuple and arguments and arguments[-1] is not Ellipsis:
        return _fixed(arguments)
    item = shape(arguments[0]) if arguments else Shape({})
    schema = {"type": "array", "items": item.schema} if item.schema else {"type": "array"}
    if item.convert is None and make is list:
        return Shape(schema)
    return Shape(schema, lambda value: make(_converted(item, element) for element in value))


def _fixed(arguments: tuple[Any, ...]) -> Shape:
    items = [shape(argument) for argument in arguments]
    schema = {
        "type": "array",
        "prefixItems": [item.schema for item in items],
        "minItems": len(items),
        "maxItems": len(items),
    }
    return Shape(
        schema,
        lambda value: tuple(_converted(item, element) for item, element in zip(items, value, strict=True)),
    )


def _object(arguments: tuple[Any, ...]) -> Shape:
    if arguments and arguments[0] not in (str, Any):
        raise UnsupportedType(f"the keys of a JSON object are strings, not {arguments[0]}; use dict[str, …]")
    item = shape(arguments[1]) if arguments else Shape({})
    schema: dict[str, Any] = {"type": "object"}
    if item.schema:
        schema["additionalProperties"] = item.schema
    if item.convert is None:
        return Shape(schema)
    return Shape(schema, lambda value: {key: _converted(item, element) for key, element in value.items()})


def _converted(item: Shape, value: Any) -> Any:
    return item.convert(value) if item.convert else value


def _integer(value: Any) -> int:
    return value if type(value) is int else int(value)


def _number(value: Any) -> float:
    return value if type(value) is float else float(value)


_SIMPLE: dict[Any, Shape] = {
    bool: Shape({"type": "boolean"}),
    int: Shape({"type": "integer"}, _integer),
    float: Shape({"type": "number"}, _number),
    str: Shape({"type": "string"}),
    type(None): Shape({"type": "null"}),
    None: Shape({"type": "null"}),
    Path: Shape({"type": "string"}, Path),
}
