"""`${roles.master[0].port.c10d}`: expressions over what is known of a job, and texts that contain them. Pure.

The grammar is a small part of Python's, read by Python's own parser and evaluated by a closed list of node kinds:
names, fields, indexes, `+ - * // %`, comparisons, `and or not`, `a if b else c`, and the functions in FUNCTIONS. No
loops, no comprehensions, no calls of anything else, and no attribute of any Python object: fields are asked of
`View.field` only. Bounded in length, in depth, in the size of numbers and of what comes out.
"""

from __future__ import annotations

import ast
import json
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

LENGTH_MOST = 1_000
NODES_MOST = 200
TEXT_MOST = 1 << 20
"""Characters of one value."""
NUMBER_MOST = 2**62


class ExpressionError(ValueError):
    """An expression is wrong, or cannot be evaluated. `offset` counts characters from 0 within its text."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.message, self.offset = message, offset


class View(ABC):
    """Something with fields that expressions may see."""

    __slots__ = ()

    @abstractmethod
    def field(self, name: str) -> Any:
        """A value. Raises `ExpressionError` if there is none of the name."""

    def item(self, index: int) -> Any:
        """One of a sequence of views. Raises `ExpressionError`."""
        raise ExpressionError("it is no list")


class Expression(msgspec.Struct, frozen=True):
    """One that was parsed and found to be within the grammar."""

    source: str
    tree: Any
    """`ast.expr`; private to this module and to `checking`."""


@lru_cache(maxsize=4_096)
def parse(source: str) -> Expression:
    """Raises `ExpressionError`."""
    if len(source) > LENGTH_MOST:
        raise ExpressionError(f"it has {len(source)} characters; at most {LENGTH_MOST} are read")
    text = source.strip()
    if not text:
        raise ExpressionError("there is nothing between ${ and }")
    lead = len(source) - len(source.lstrip())
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise ExpressionError(
            f"it cannot be read: {error.msg}", lead + max((error.offset or 1) - 1, 0)
        ) from None
    except (ValueError, MemoryError, RecursionError):
        raise ExpressionError("it cannot be read: it is too deep, or has strange characters") from None
    _check_grammar(tree, text, lead)
    return Expression(text, tree)


def _check_grammar(tree: ast.expr, text: str, lead: int) -> None:
    for count, node in enumerate(ast.walk(tree)):
        if count >= NODES_MOST:
            raise ExpressionError(f"it has more than {NODES_MOST} parts")
        complaint = _complaint(node)
        if complaint:
            column = getattr(node, "col_offset", 0)
            raise ExpressionError(complaint, lead + len(text.encode()[:column].decode(errors="ignore")))


_ALLOWED = (
    ast.Constant, ast.Name, ast.Attribute, ast.Subscript, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp,
    ast.Call, ast.Load, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip


def _complaint(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
            return f"only these can be called: {', '.join(sorted(FUNCTIONS))}"
        return "functions take no named arguments" if node.keywords else ""
    if isinstance(node, ast.Constant):
        return "" if type(node.value) in (int, float, str, bool, type(None)) else "there are no such values"
    if isinstance(node, ast.Attribute):
        return f"no field begins with _: {node.attr[:40]}" if node.attr.startswith("_") else ""
    if isinstance(node, ast.operator):
        return "" if type(node) in _BINARY else "there are + - * // % only"
    if isinstance(node, ast.unaryop):
        return "" if type(node) in _UNARY else "there are - and not only"
    if isinstance(node, ast.cmpop):
        return "" if type(node) in _COMPARISONS else "there are == != < <= > >= in, not in"
    return "" if isinstance(node, _ALLOWED) else f"{type(node).__name__} is not part of this language"


def evaluate(expression: Expression, names: Mapping[str, Any]) -> Any:
    """A number, text, boolean, None, list or view. Raises `ExpressionError`."""
    return _evaluate(expression.tree, names)


def _evaluate(node: Any, names: Mapping[str, Any]) -> Any:
    return _EVALUATORS[type(node)](node, names)


def _name(node: ast.Name, names: Mapping[str, Any]) -> Any:
    if node.id not in names:
        raise ExpressionError(f"there is no {node.id} here", node.col_offset)
    return names[node.id]


def _attribute(node: ast.Attribute, names: Mapping[str, Any]) -> Any:
    value = _evaluate(node.value, names)
    if not isinstance(value, View):
        raise ExpressionError(f"{_kind(value)} has no field {node.attr}", node.col_offset)
    return value.field(node.attr)


def _subscript(node: ast.Subscript, names: Mapping[str, Any]) -> Any:
    value, index = _evaluate(node.value, names), _evaluate(node.slice, names)
    if type(index) is not int or not isinstance(value, View | tuple | list):
        raise ExpressionError("it cannot be indexed so", node.col_offset)
    if isinstance(value, View):
        return value.item(index)
    if not 0 <= index < len(value):
        raise ExpressionError(f"there is no item {index} of {len(value)}", node.col_offset)
    return value[index]


def _binary(node: ast.BinOp, names: Mapping[str, Any]) -> Any:
    left, right = _evaluate(node.left, names), _evaluate(node.right, names)
    if isinstance(node.op, ast.Add) and isinstance(left, str) and isinstance(right, str):
        return _bounded(left + right)
    if not _is_number(left) or not _is_number(right):
        raise ExpressionError(f"{_kind(left)} and {_kind(right)} do not go together", node.col_offset)
    if isinstance(node.op, ast.FloorDiv | ast.Mod) and not right:
        raise ExpressionError("it divides by zero", node.col_offset)
    return _bounded(_BINARY[type(node.op)](left, right))


def _unary(node: ast.UnaryOp, names: Mapping[str, Any]) -> Any:
    value = _evaluate(node.operand, names)
    if isinstance(node.op, ast.Not):
        return not _truth(value)
    if not _is_number(value):
        raise ExpressionError(f"{_kind(value)} has no negative", node.col_offset)
    return -value


def _boolean(node: ast.BoolOp, names: Mapping[str, Any]) -> Any:
    is_and = isinstance(node.op, ast.And)
    value: Any = is_and
    for part in node.values:
        value = _evaluate(part, names)
        if _truth(value) is not is_and:
            return value
    return value


def _compare(node: ast.Compare, names: Mapping[str, Any]) -> bool:
    left = _evaluate(node.left, names)
    for op, part in zip(node.ops, node.comparators, strict=True):
        right = _evaluate(part, names)
        try:
            if not _COMPARISONS[type(op)](left, right):
                return False
        except TypeError:
            message = f"{_kind(left)} and {_kind(right)} cannot be compared"
            raise ExpressionError(message, node.col_offset) from None
        left = right
    return True


def _conditional(node: ast.IfExp, names: Mapping[str, Any]) -> Any:
    return _evaluate(node.body if _truth(_evaluate(node.test, names)) else node.orelse, names)


def _call(node: ast.Call, names: Mapping[str, Any]) -> Any:
    assert isinstance(node.func, ast.Name)
    arguments = [_evaluate(argument, names) for argument in node.args]
    try:
        return _bounded(FUNCTIONS[node.func.id](*arguments))
    except (TypeError, ValueError) as error:
        if isinstance(error, ExpressionError):
            raise
        raise ExpressionError(f"{node.func.id} cannot do this: {error}", node.col_offset) from None


def _join(items: Sequence[Any], between: str = ",") -> str:
    if isinstance(items, str) or not isinstance(items, Sequence) or not isinstance(between, str):
        raise ExpressionError("join takes a list and a text")
    return between.join(map(text_of, items))


def _sum(items: Sequence[Any]) -> int | float:
    if not all(map(_is_number, items)):
        raise ExpressionError("sum takes a list of numbers")
    total: int | float = sum(items)
    return total


def _int(value: Any) -> int:
    if isinstance(value, str) and len(value) > 30:
        raise ExpressionError("it is no number")
    return int(value)


def _json(value: Any) -> str:
    return json.dumps(value, default=_no_json)


def _no_json(value: Any) -> Any:
    raise ExpressionError(f"{_kind(value)} is no JSON")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "join": _join, "sum": _sum, "len": len, "min": min, "max": max, "str": lambda value: text_of(value), "int": _int,
    "json": _json,
}  # fmt: skip
"""What can be called."""

_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}  # fmt: skip
_UNARY = (ast.USub, ast.Not)
_COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda left, right: left in right, ast.NotIn: lambda left, right: left not in right,
}  # fmt: skip
_EVALUATORS: dict[type, Callable[[Any, Mapping[str, Any]], Any]] = {
    ast.Constant: lambda node, names: node.value, ast.Name: _name, ast.Attribute: _attribute,
    ast.Subscript: _subscript, ast.BinOp: _binary, ast.UnaryOp: _unary, ast.BoolOp: _boolean, ast.Compare: _compare,
    ast.IfExp: _conditional, ast.Call: _call,
}  # fmt: skip


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _truth(value: Any) -> bool:
    if isinstance(value, View):
        raise ExpressionError("it is neither true nor false")
    return bool(value)


def _bounded(value: Any) -> Any:
    if isinstance(value, str) and len(value) > TEXT_MOST:
        raise ExpressionError(f"it would have more than {TEXT_MOST} characters")
    if _is_number(value) and not -NUMBER_MOST <= value <= NUMBER_MOST:
        raise ExpressionError("the number is too large")
    return value


def _kind(value: Any) -> str:
    names: dict[type, str] = {
        str: "a text",
        int: "a number",
        float: "a number",
        bool: "a boolean",
        type(None): "nothing",
    }
    return names.get(type(value), "a list" if isinstance(value, tuple | list) else "it")


def text_of(value: Any) -> str:
    """As it stands in a variable or an argument. Raises `ExpressionError` for lists and views."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if _is_number(value):
        return repr(value)
    raise ExpressionError("a list needs join, a role or instance one of its fields")
