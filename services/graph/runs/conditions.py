"""Whether a part of a JSON value is as a branch or a loop wants it. Pure."""

from collections.abc import Callable
from operator import ge, gt, le, lt
from typing import Any

import msgspec

from services.chassis.errors import InvalidArgument
from services.graph.model import Comparison, Condition

_ORDERED: dict[Comparison, Callable[[Any, Any], bool]] = {
    Comparison.LESS: lt,
    Comparison.LESS_OR_EQUAL: le,
    Comparison.GREATER: gt,
    Comparison.GREATER_OR_EQUAL: ge,
}
_DECODE = msgspec.json.Decoder()


class NotComparable(InvalidArgument):
    """One of two values is greater only among numbers and among texts."""


class _Missing:
    """There is no such part."""


_MISSING = _Missing()


def holds(condition: Condition, value: Any) -> bool:
    """Whether it holds of a value. What is not there equals nothing. Raises NotComparable."""
    part = part_at(value, condition.path)
    if condition.comparison is Comparison.EXISTS:
        return part is not _MISSING
    if part is _MISSING:
        return condition.comparison is Comparison.NOT_EQUAL
    wanted = _DECODE.decode(condition.value)
    if condition.comparison is Comparison.IN:
        return any(_same(part, one) for one in wanted)
    if condition.comparison is Comparison.EQUAL:
        return _same(part, wanted)
    if condition.comparison is Comparison.NOT_EQUAL:
        return not _same(part, wanted)
    if not (_is_number(part) and _is_number(wanted)) and not (
        isinstance(part, str) and isinstance(wanted, str)
    ):
        raise NotComparable(
            f"{condition.path or 'the value'} is {_kind(part)}, and is compared with {_kind(wanted)}",
            field="condition", next_step="compare numbers with numbers, and texts with texts",
        )  # fmt: skip
    return _ORDERED[condition.comparison](part, wanted)


def part_at(value: Any, path: str) -> Any:
    """The part of a JSON value at "metrics.accuracy" or "items.0"."""
    for name in path.split(".") if path else ():
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isascii() and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return _MISSING
    return value


def decoded(text: str) -> Any:
    """A JSON value; the empty set is null. Raises NotComparable."""
    try:
        return _DECODE.decode(text or "null")
    except (msgspec.MsgspecError, RecursionError) as error:
        raise NotComparable(f"the value is not JSON: {error}", field="condition") from error


def _same(a: Any, b: Any) -> bool:
    """As JSON has it: true is not 1, at any depth."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(value, b[name]) for name, value in a.items())
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "an object",
    }
    return names[type(value)]
