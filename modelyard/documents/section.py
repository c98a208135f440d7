"""Taking typed values out of a node: every field once, every mistake noted with its path, none fatal. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from keyword import kwlist
from typing import Any, TypeVar

from modelyard.documents.problems import Findings, Position, Reason, shown, suggestion
from modelyard.documents.yaml_text import Node
from modelyard.quantities import parse_duration, parse_size

E = TypeVar("E", bound=Enum)
DURATION_MOST_S = 366 * 86_400.0
TEXT_MOST = 64 << 10
SIZE_MOST = 1 << 60


class Section:
    """A mapping that is being read. What was never asked for is an unknown field: `end`."""

    def __init__(self, node: Node, at: Position, findings: Findings) -> None:
        self.node = node
        self.at = at
        self.findings = findings
        self._fields = node.fields or {}
        self._known: set[str] = set()
        if node.fields is None:
            findings.add(Reason.WRONG_TYPE, f"it is {node.kind}, and should be a mapping", at)

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def names(self) -> tuple[str, ...]:
        """Of all fields, in order; each counts as known from now on."""
        self._known.update(self._fields)
        self.findings.asked(self.at.path, "", "free")
        return tuple(self._fields)

    def position(self, name: str) -> Position:
        """Of a field, or of the whole where there is none of the name."""
        at = self.at.inner(name)
        node = self._fields.get(name)
        if node is None:
            return at
        return Position(at.path, node.line, node.column)

    def wrong(self, name: str, reason: Reason, message: str, next_step: str = "") -> None:
        """Notes what is wrong with a field."""
        self.findings.add(reason, message, self.position(name), next_step)

    def node_of(self, name: str) -> Node | None:
        """What stands there; None: nothing does."""
        return self._taken(name, "node")

    def _taken(self, name: str, kind: str, detail: Any = None) -> Node | None:
        self._known.add(name)
        self.findings.asked(self.at.path, name, kind, detail)
        return self._fields.get(name)

    def unasked(self) -> list[str]:
        """Names of fields that nobody asked for."""
        return [name for name in self._fields if name not in self._known]

    def end(self) -> None:
        """Notes all fields that nobody asked for."""
        for name in self._fields:
            if self.findings.is_full:
                return
            if name not in self._known and not name.startswith("x-"):
                line, column = self.node.keys[name]
                at = Position(self.at.inner(shown(name)).path, line, column)
                message = f"there is no field {shown(name)!r} here"
                self.findings.add(Reason.UNKNOWN_FIELD, message, at, suggestion(name, self._known))

    def _typed(self, name: str, kinds: tuple[type, ...], wanted: str, detail: Any = None) -> Any:
        node = self._taken(name, wanted, detail)
        if node is None:
            return None
        if node.fields is not None or node.items is not None or node.scalar is None:
            self.wrong(name, Reason.WRONG_TYPE, f"it is {node.kind}, and should be {wanted}")
            return None
        if type(node.scalar) not in kinds:
            step = "put it in quotes" if str in kinds else ""
            self.wrong(name, Reason.WRONG_TYPE, f"it is {node.kind}, and should be {wanted}", step)
            return None
        return node.scalar

    def text(self, name: str, default: str = "", most: int = TEXT_MOST) -> str:
        found = self._typed(name, (str,), "a text")
        if found is None:
            return default
        if len(found) > most:
            self.wrong(name, Reason.TOO_LARGE, f"it has {len(found)} characters; at most {most} are taken")
            return default
        return str(found)

    def word(self, name: str, default: str = "") -> str:
        """A short text; numbers are taken as they are written."""
        found = self._typed(name, (str, int, float), "a text", "or a number")
        return default if found is None else shown(str(found), 200)

    def flag(self, name: str, default: bool = False) -> bool:
        found = self._typed(name, (bool,), "true or false")
        return default if found is None else bool(found)

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        found = self._typed(name, (int,), "an integer", (least, most))
        return default if found is None else int(self._within(name, found, least, most, default))

    def number(self, name: str, default: float, least: float, most: float) -> float:
        found = self._typed(name, (int, float), "a number", (least, most))
        return default if found is None else float(self._within(name, found, least, most, default))

    def _within(self, name: str, found: float, least: float, most: float, default: float) -> float:
        if least <= found <= most:
            return found
        self.wrong(name, Reason.OUT_OF_RANGE, f"it is {found}, and should be within {least} … {most}")
        return default

    def duration_s(self, name: str, default: float, most: float = DURATION_MOST_S) -> float:
        """Seconds of "90s" or a number."""
        found = self._typed(name, (str, int, float), "a time span such as 90s")
        if found is None:
            return default
        try:
            value = parse_duration(str(found))
        except ValueError as error:
            self.wrong(name, Reason.BAD_VALUE, str(error))
            return default
        return float(self._within(name, value, 0, most, default))

    def size_bytes(self, name: str, default: int = 0) -> int:
        """Bytes of "512Mi" or a number."""
        found = self._typed(name, (str, int, float), "a size such as 512Mi")
        if found is None:
            return default
        try:
            return int(self._within(name, parse_size(str(found)), 0, SIZE_MOST, default))
        except ValueError as error:
            self.wrong(name, Reason.BAD_VALUE, str(error))
            return default

    def choice(self, name: str, default: E, words: Mapping[str, E]) -> E:
        found = self._typed(name, (str,), "a word", tuple(words))
        if found is None:
            return default
        if found not in words:
            self.wrong(
                name, Reason.BAD_VALUE, f"{shown(found)!r} is none of its words", suggestion(found, words)
            )
            return default
        return words[found]

    def texts(self, name: str, most: int = 1_000) -> tuple[str, ...]:
        """A list of texts; a single one stands for a list of it."""
        node = self._taken(name, "texts")
        if node is None:
            return ()
        if type(node.scalar) in (int, float):
            return (str(node.scalar),)
        if node.items is None:
            return tuple(filter(None, [self.text(name)]))
        found = []
        for item, at in self.items(name, most):
            if isinstance(item.scalar, str) and len(item.scalar) <= TEXT_MOST:
                found.append(item.scalar)
            elif type(item.scalar) in (int, float):
                found.append(str(item.scalar))
            else:
                self.findings.add(Reason.WRONG_TYPE, f"it is {item.kind}, and should be a text", at)
        return tuple(found)

    def items(self, name: str, most: int = 1_000) -> list[tuple[Node, Position]]:
        """Of a list, each with its position."""
        node = self._taken(name, "a list")
        if node is None:
            return []
        if node.items is None:
            self.wrong(name, Reason.WRONG_TYPE, f"it is {node.kind}, and should be a list")
            return []
        if len(node.items) > most:
            self.wrong(name, Reason.TOO_LARGE, f"it has {len(node.items)} items; at most {most} are taken")
            return []
        at = self.position(name)
        return [
            (item, Position(at.inner(index).path, item.line, item.column))
            for index, item in enumerate(node.items)
        ]

    def section(self, name: str) -> Section | None:
        """A mapping within; None: there is none."""
        node = self._taken(name, "a mapping")
        return None if node is None else Section(node, self.position(name), self.findings)

    def sections(self, name: str, most: int = 1_000) -> list[tuple[str, Section]]:
        """Mappings within a mapping, by name."""
        outer = self.section(name)
        if outer is None:
            return []
        names = outer.names()
        if len(names) > most:
            self.wrong(name, Reason.TOO_LARGE, f"it has {len(names)} fields; at most {most} are taken")
            return []
        return [(key, inner) for key in names if (inner := outer.section(key)) is not None]


NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
"""Of roles, ports and parameters: they stand in expressions."""
ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""Of frameworks and jobs: they stand in host names."""
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_KEYWORDS = frozenset(name for name in kwlist if name.islower())


def check_name(name: str, at: Position, findings: Findings, what: str) -> bool:
    """Whether it can stand in expressions; notes it if not."""
    if NAME.fullmatch(name) and len(name) <= 40 and name not in _KEYWORDS:
        return True
    message = f"{shown(name)!r} is no name of a {what}"
    findings.add(
        Reason.BAD_NAME, message, at, "small letters, digits and single _, at most 40, no Python keyword"
    )
    return False


def check_path(path: str, at: Position, findings: Findings) -> bool:
    """Whether it stays below a directory, whatever is there; notes it if not."""
    if is_inside(path):
        return True
    message = f"{shown(path)!r} does not stay below the directory"
    findings.add(Reason.BAD_PATH, message, at, "a relative path without .. and without control characters")
    return False


def is_inside(path: str) -> bool:
    """Whether a relative path can lead nowhere else."""
    parts = path.split("/")
    return (
        bool(path)
        and len(path) <= 500
        and path.isprintable()
        and "\\" not in path
        and all(part not in ("", ".", "..") and len(part) <= 200 for part in parts)
    )


def unknown(word: str, known: Iterable[str], what: str) -> tuple[str, str]:
    """A message and a next step for a name that is not there."""
    return f"there is no {what} {shown(word)!r}", suggestion(word, known)
