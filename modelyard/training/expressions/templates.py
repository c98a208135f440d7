"""Texts and trees with `${…}` in them; `$${` stands for a plain `${`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from modelyard.training.expressions.grammar import (
    TEXT_MOST,
    Expression,
    ExpressionError,
    View,
    evaluate,
    parse,
    text_of,
)

_OPENING = re.compile(r"\$?\$\{")
_STRINGS = re.compile(r"""'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*"|\}""")
PARTS_MOST = 500


class Template(msgspec.Struct, frozen=True):
    """A text in parts: what is said, and what is filled in."""

    source: str
    parts: tuple[str | Expression, ...]

    @property
    def expressions(self) -> Iterator[Expression]:
        """Those that are filled in."""
        return (part for part in self.parts if isinstance(part, Expression))

    def text(self, names: Mapping[str, Any]) -> str:
        """The text with everything filled in. Raises `ExpressionError`."""
        parts = self.parts
        if len(parts) == 1 and isinstance(parts[0], str):
            return parts[0]
        found, size = [], 0
        for part in parts:
            found.append(part if isinstance(part, str) else text_of(evaluate(part, names)))
            size += len(found[-1])
            if size > TEXT_MOST:
                raise ExpressionError(f"it would have more than {TEXT_MOST} characters")
        return "".join(found)

    def value(self, names: Mapping[str, Any]) -> Any:
        """The value itself where the text is one expression and nothing else."""
        if len(self.parts) == 1 and isinstance(self.parts[0], Expression):
            return evaluate(self.parts[0], names)
        return self.text(names)


def template(source: str) -> Template:
    """Raises `ExpressionError`, whose offset is within the text."""
    parts: list[str | Expression] = []
    plain, at = "", 0
    while found := _OPENING.search(source, at):
        plain += source[at : found.start()]
        if found[0] == "$${":
            plain, at = plain + "${", found.end()
            continue
        if plain:
            parts.append(plain)
        plain, end = "", _closing(source, found.end())
        try:
            parts.append(parse(source[found.end() : end]))
        except ExpressionError as error:
            raise ExpressionError(error.message, found.end() + error.offset) from None
        at = end + 1
        if len(parts) > PARTS_MOST:
            raise ExpressionError(f"it has more than {PARTS_MOST} parts", at)
    plain += source[at:]
    if plain or not parts:
        parts.append(plain)
    return Template(source, tuple(parts))


def _closing(source: str, start: int) -> int:
    for found in _STRINGS.finditer(source, start):
        if found[0] == "}":
            return found.start()
    raise ExpressionError("${ is never closed: } is missing", start)


class Tree(msgspec.Struct, frozen=True):
    """Nested mappings and lists with templates at their leaves. One of the three is set."""

    fields: tuple[tuple[str, Tree], ...] | None = None
    items: tuple[Tree, ...] | None = None
    leaf: Template | int | float | bool | None = None

    def leaves(self) -> Iterator[Template]:
        """All templates in it."""
        for _, inner in self.fields or ():
            yield from inner.leaves()
        for inner in self.items or ():
            yield from inner.leaves()
        if isinstance(self.leaf, Template):
            yield self.leaf

    def value(self, names: Mapping[str, Any]) -> Any:
        """Plain JSON. Fields whose value is None or an empty list are left out. Raises `ExpressionError`."""
        if self.fields is not None:
            found = {name: inner.value(names) for name, inner in self.fields}
            return {name: value for name, value in found.items() if value is not None and value != []}
        if self.items is not None:
            return [inner.value(names) for inner in self.items]
        value = self.leaf.value(names) if isinstance(self.leaf, Template) else self.leaf
        if isinstance(value, View):
            raise ExpressionError("a role or instance needs one of its fields")
        return list(value) if isinstance(value, tuple) else value
