"""Values into a job: every `${sweep.lr}` anywhere in it, whatever field it stands in, becomes what the trial has. Pure.

A text that is one such expression becomes the value itself, with its type, so that counts and parameters can be
searched too. Expressions that also speak of the job's own names are filled in as far as they can be.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from modelyard.documents.problems import Findings, Position, Reason, shown, suggestion
from modelyard.documents.yaml_text import Node
from modelyard.training.expressions.grammar import FUNCTIONS, Expression, ExpressionError, evaluate, text_of
from modelyard.training.expressions.templates import Template, template
from modelyard.training.sweeps.space import Value

NAME = "sweep"


def bound(node: Node, values: Mapping[str, Value]) -> Node:
    """A copy with everything filled in, at the same lines; what cannot be filled in stays as it is written."""
    found = Node(node.line, node.column)
    found.weight, found.is_complete, found.keys = node.weight, True, node.keys
    if node.fields is not None:
        found.fields = {name: bound(inner, values) for name, inner in node.fields.items()}
    elif node.items is not None:
        found.items = [bound(inner, values) for inner in node.items]
    else:
        found.scalar = _filled(node.scalar, values) if isinstance(node.scalar, str) else node.scalar
    return found


def names_in(node: Node, at: Position, known: Mapping[str, Value], findings: Findings) -> set[str]:
    """Parameters that a job uses. Notes those that there are not."""
    if node.fields is not None:
        parts = [(inner, at.inner(name)) for name, inner in node.fields.items()]
    else:
        parts = [(inner, at.inner(index)) for index, inner in enumerate(node.items or ())]
    used = set[str]()
    for inner, place in parts:
        used |= names_in(inner, Position(place.path, inner.line, inner.column), known, findings)
    if isinstance(node.scalar, str):
        found = _parsed(node.scalar)
        for expression in found.expressions if found is not None else ():
            used |= _names(expression, known, at, findings)
    return used & known.keys()


def _names(expression: Expression, known: Mapping[str, Value], at: Position, findings: Findings) -> set[str]:
    """Of one expression."""
    fields = [part for part in ast.walk(expression.tree) if _is_field(part)]
    bare = sum(isinstance(part, ast.Name) and part.id == NAME for part in ast.walk(expression.tree))
    names = {part.attr for part in fields if isinstance(part, ast.Attribute)}
    where = f"in ${{{shown(expression.source)}}}: "
    if bare > len(fields):
        step = suggestion("", known)
        findings.add(Reason.UNKNOWN_NAME, f"{where}sweep needs one of its parameters", at, step)
    for name in sorted(names - known.keys()):
        message = f"{where}the sweep has no parameter {shown(name)}"
        findings.add(Reason.UNKNOWN_PARAMETER, message, at, suggestion(name, known))
    return names


def _is_field(part: ast.AST) -> bool:
    return isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == NAME


def _speaks_of_it(expression: Expression) -> bool:
    return NAME in expression.source and any(map(_is_field, ast.walk(expression.tree)))


def _parsed(text: str) -> Template | None:
    """None: it is plain, or wrong; of the second the job's reader tells."""
    if "${" not in text or NAME not in text:
        return None
    try:
        return template(text)
    except ExpressionError:
        return None


def _filled(text: str, values: Mapping[str, Value]) -> Value:
    found = _parsed(text)
    if found is None or not any(map(_speaks_of_it, found.expressions)):
        return text
    parts = [
        _part(part, values) if isinstance(part, Expression) and _speaks_of_it(part) else part
        for part in found.parts
    ]
    if len(parts) == 1 and not isinstance(parts[0], Expression):
        return _escaped(parts[0]) if isinstance(parts[0], str) else parts[0]
    made = ""
    for part in parts:
        if isinstance(part, Expression):
            # A dollar before it would make it a plain text.
            made = f"{made[:-1]}${{'$'}}" if made.endswith("$") else made
            made += f"${{{part.source}}}"
        else:
            made += _escaped(text_of(part))
    return made


def _escaped(text: str) -> str:
    return text.replace("${", "$${")


class _Filling(ast.NodeTransformer):
    """`sweep.lr` becomes a number."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = values

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if _is_field(node) and node.attr in self._values:
            return ast.copy_location(_constant(self._values[node.attr]), node)
        return self.generic_visit(node)


def _constant(value: Value) -> ast.expr:
    """Numbers below zero are written with a sign, which is an operator."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
        return ast.UnaryOp(ast.USub(), ast.Constant(-value))
    return ast.Constant(value)


def _part(expression: Expression, values: Mapping[str, Value]) -> Any:
    """A value, or what is left of the expression."""
    if _is_field(expression.tree) and expression.tree.attr in values:
        return values[expression.tree.attr]
    # Read again: what was parsed belongs to all who have the same text.
    tree = ast.fix_missing_locations(_Filling(values).visit(ast.parse(expression.source, mode="eval").body))
    left = Expression(ast.unparse(tree), tree)
    names = {part.id for part in ast.walk(tree) if isinstance(part, ast.Name)}
    if names - FUNCTIONS.keys():
        return left
    try:
        found = evaluate(left, {})
    except ExpressionError:
        return left
    return found if isinstance(found, int | float | str | bool) else left
