"""Whether every name in an expression exists: checked when a text is read, before anything runs. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from modelyard.documents.problems import Findings, Position, Reason, suggestion
from modelyard.training.expressions.grammar import FUNCTIONS, Expression
from modelyard.training.expressions.templates import Template
from modelyard.training.rendering.scope import FIELDS

VALUE = "value"


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """What a definition makes known."""

    params: frozenset[str]
    ports: Mapping[str, frozenset[str]]
    """By role."""
    ranks: frozenset[str]
    """Roles with ranks."""
    forwarded: frozenset[str] = frozenset()
    """Roles with local addresses."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Where an expression stands."""

    role: str
    has_process: bool = False
    each: str = ""
    """The role whose instances `it` stands for."""
    has_self: bool = True


class Checker:
    """Notes unknown names of templates."""

    def __init__(self, vocabulary: Vocabulary, findings: Findings) -> None:
        self._vocabulary = vocabulary
        self._findings = findings

    def check(self, templates: Iterable[Template], scope: Scope, at: Position) -> None:
        """Notes everything that is not there, each with the text in which it stands."""
        for template in templates:
            for expression in template.expressions:
                self._check(expression, scope, at)

    def _check(self, expression: Expression, scope: Scope, at: Position) -> None:
        try:
            self._kind(expression.tree, scope)
        except _Unknown as unknown:
            message = f"in ${{{expression.source[:80]}}}: {unknown.message}"
            self._findings.add(unknown.reason, message, at, unknown.next_step)

    def _kind(self, node: Any, scope: Scope) -> tuple[str, str]:
        """Kind of what a part stands for, and the role that it is about."""
        if isinstance(node, ast.Name):
            return self._name(node.id, scope)
        if isinstance(node, ast.Attribute):
            return self._field(self._kind(node.value, scope), node.attr)
        if isinstance(node, ast.Subscript):
            self._kind(node.slice, scope)
            kind, role = self._kind(node.value, scope)
            if kind == "role":
                return "instance", role
            if kind != VALUE:
                raise _Unknown(f"{kind} cannot be indexed")
            return VALUE, ""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr) and not _is_function(node, child):
                self._kind(child, scope)
        return VALUE, ""

    def _name(self, name: str, scope: Scope) -> tuple[str, str]:
        known = {"job": ("job", ""), "params": ("params", ""), "roles": ("roles", ""), "world": ("world", "")}
        known["role"] = ("role", scope.role)
        if scope.has_self:
            known["self"] = ("instance", scope.role)
        if scope.has_process:
            known["proc"] = ("proc", scope.role)
        if scope.each:
            known["it"] = ("instance", scope.each)
        if name not in known:
            step = suggestion(name, known)
            if name == "self" or name == "proc":
                step = "it is known where one instance is meant: in argv, env and files"
            raise _Unknown(f"there is no {name} here", step)
        return known[name]

    def _field(self, owner: tuple[str, str], name: str) -> tuple[str, str]:
        kind, role = owner
        if kind == "params":
            return self._one_of(name, self._vocabulary.params, "parameter", Reason.UNKNOWN_PARAMETER)
        if kind == "roles":
            self._one_of(name, self._vocabulary.ports, "role", Reason.UNKNOWN_ROLE)
            return "role", name
        if kind in ("ports", "local ports"):
            if kind == "local ports" and role not in self._vocabulary.forwarded:
                raise _Unknown(
                    f"{role} has no local addresses", f"forward: true in roles.{role}, or in its service"
                )
            ports = self._vocabulary.ports.get(role, frozenset())
            return self._one_of(name, ports, f"port of {role}", Reason.UNKNOWN_PORT)
        fields = FIELDS.get(kind, {})
        if name not in fields:
            raise _Unknown(f"{kind} has no field {name}", suggestion(name, fields))
        if name == "rank" and role and role not in self._vocabulary.ranks:
            raise _Unknown(f"the role {role} has no ranks", "name it in `ranks`")
        return fields[name], role

    def _one_of(self, name: str, known: Iterable[str], what: str, reason: Reason) -> tuple[str, str]:
        names = tuple(known)
        if name not in names:
            raise _Unknown(
                f"there is no {what} {name}", suggestion(name, names, f"there is no {what} at all"), reason
            )
        return VALUE, ""


def _is_function(node: ast.AST, child: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and child is node.func
        and isinstance(child, ast.Name)
        and child.id in FUNCTIONS
    )


class _Unknown(Exception):
    """A name that is not there."""

    def __init__(self, message: str, next_step: str = "", reason: Reason = Reason.UNKNOWN_NAME) -> None:
        super().__init__(message)
        self.message, self.next_step, self.reason = message, next_step, reason
