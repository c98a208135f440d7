"""YAML into nodes that know their line and column, within bounds whatever is written there. Pure.

Reads the events of the parser with a stack of its own, so that neither depth nor aliases cost more than what is
written. Scalars are YAML 1.2's: only `true` and `false` are booleans, `on` and `no` are texts.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from modelyard.documents.problems import Findings, Position, Reason, shown

TEXT_BYTES_MOST = 1 << 20
DEPTH_MOST = 40
NODES_MOST = 20_000
"""With every alias counted as what it stands for."""
DOCUMENTS_MOST = 50

_MERGE = "<<"
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]{1,40}|[0-9]{1,40}(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,3})?")
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}


class Node:
    """A mapping (`fields`), a list (`items`) or a scalar (`scalar`); `weight` nodes when aliases are written out."""

    __slots__ = ("column", "fields", "is_complete", "items", "keys", "line", "merges", "scalar", "weight")

    def __init__(self, line: int, column: int) -> None:
        self.line = line
        self.column = column
        self.weight = 1
        self.is_complete = False
        self.fields: dict[str, Node] | None = None
        self.items: list[Node] | None = None
        self.scalar: str | int | float | bool | None = None
        # Where the keys of a mapping stand.
        self.keys: dict[str, tuple[int, int]] = {}
        self.merges: list[Node] = []

    @property
    def kind(self) -> str:
        """In words."""
        if self.fields is not None:
            return "a mapping"
        if self.items is not None:
            return "a list"
        names = {str: "a text", bool: "a boolean", int: "an integer", float: "a number"}
        return names.get(type(self.scalar), "nothing")

    def plain(self) -> Any:
        """As dictionaries, lists and scalars."""
        if self.fields is not None:
            return {name: node.plain() for name, node in self.fields.items()}
        if self.items is not None:
            return [node.plain() for node in self.items]
        return self.scalar


_STEP = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]")


def locate(root: Node, path: str) -> tuple[int, int]:
    """Line and column of what a path leads to, or of the nearest around it."""
    node, best = root, (root.line, root.column)
    for name, index in _STEP.findall(path):
        inner = (node.fields or {}).get(name) if name else None
        if index and node.items is not None and int(index) < len(node.items):
            inner = node.items[int(index)]
        if inner is None:
            break
        node, best = inner, (inner.line, inner.column)
    return best


class Unreadable(Exception):
    """The text is no YAML, or goes beyond a bound; nothing of it is used."""

    def __init__(self, reason: Reason, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message
        self.position = Position("", line, column)


def read(text: str | bytes, findings: Findings) -> list[Node]:
    """The documents of a text; none, with one problem, if it cannot be read."""
    try:
        return _Reading(findings).documents(_decoded(text))
    except Unreadable as refused:
        step = "" if refused.reason is Reason.MALFORMED else "write less, or in several texts"
        findings.add(refused.reason, refused.message, refused.position, step)
        return []


def _decoded(text: str | bytes) -> str:
    size = len(text)
    if size <= TEXT_BYTES_MOST:
        try:
            decoded = text.decode() if isinstance(text, bytes) else text
            size = len(decoded.encode())
        except UnicodeError:
            raise Unreadable(Reason.MALFORMED, "it is no text in UTF-8") from None
    if size > TEXT_BYTES_MOST:
        raise Unreadable(Reason.TOO_LARGE, f"it has {size} bytes; at most {TEXT_BYTES_MOST} are read")
    return decoded


class _Reading:
    """From events to nodes."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._anchors: dict[str, Node] = {}
        # Open collections, and of each mapping the key that waits for its value.
        self._stack: list[tuple[Node, list[tuple[str, int, int]]]] = []
        self._documents: list[Node] = []
        self._count = 0

    def documents(self, text: str) -> list[Node]:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            for event in yaml.parse(text, Loader=loader):
                self._take(event)
        except yaml.MarkedYAMLError as error:
            line, column = _marked(error.problem_mark or error.context_mark)
            message = f"it is no YAML: {error.problem or error.context}"
            raise Unreadable(Reason.MALFORMED, message, line, column) from None
        except yaml.YAMLError as error:
            raise Unreadable(Reason.MALFORMED, f"it is no YAML: {shown(str(error), 200)}") from None
        return self._documents

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._anchors.clear()
            return
        if not isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.CollectionEndEvent):
                self._close()
            return
        line, column = _marked(event.start_mark)
        self._count += 1
        if self._count > NODES_MOST:
            raise Unreadable(Reason.TOO_LARGE, f"it has more than {NODES_MOST} values", line, column)
        if isinstance(event, yaml.AliasEvent):
            self._put(self._aliased(event.anchor or "", line, column), line, column)
            return
        node = Node(line, column)
        if event.anchor:
            self._anchors[event.anchor] = node
        if isinstance(event, yaml.ScalarEvent):
            node.scalar, node.is_complete = _scalar(event), True
            self._put(node, line, column)
        else:
            self._open(node, isinstance(event, yaml.MappingStartEvent))

    def _aliased(self, anchor: str, line: int, column: int) -> Node:
        node = self._anchors.get(anchor)
        if node is None:
            raise Unreadable(Reason.MALFORMED, f"there is no anchor &{shown(anchor)} before it", line, column)
        if not node.is_complete:
            raise Unreadable(Reason.MALFORMED, f"&{shown(anchor)} would contain itself", line, column)
        return node

    def _open(self, node: Node, is_mapping: bool) -> None:
        if len(self._stack) >= DEPTH_MOST:
            message = f"it is more than {DEPTH_MOST} levels deep"
            raise Unreadable(Reason.TOO_DEEP, message, node.line, node.column)
        if is_mapping:
            node.fields = {}
        else:
            node.items = []
        self._stack.append((node, []))

    def _close(self) -> None:
        node, _ = self._stack.pop()
        for merged in node.merges:
            self._merge(node, merged)
        node.is_complete = True
        self._put(node, node.line, node.column)

    def _merge(self, node: Node, merged: Node) -> None:
        assert node.fields is not None and merged.fields is not None
        for name, value in merged.fields.items():
            if name not in node.fields:
                node.fields[name] = value
                node.keys[name] = merged.keys[name]

    def _put(self, node: Node, line: int, column: int) -> None:
        """A value that is complete goes into what is open."""
        if not self._stack:
            if len(self._documents) >= DOCUMENTS_MOST:
                message = f"it has more than {DOCUMENTS_MOST} documents"
                raise Unreadable(Reason.TOO_LARGE, message, line, column)
            self._documents.append(node)
            return
        parent, waiting = self._stack[-1]
        if parent.fields is None:
            assert parent.items is not None
            parent.items.append(node)
        elif not waiting:
            waiting.append(self._key(node, line, column))
            return
        else:
            self._field(parent, waiting.pop(), node)
        parent.weight += node.weight
        if parent.weight > NODES_MOST:
            message = f"with its aliases written out it has more than {NODES_MOST} values"
            raise Unreadable(Reason.TOO_LARGE, message, line, column)

    def _key(self, node: Node, line: int, column: int) -> tuple[str, int, int]:
        if node.fields is not None or node.items is not None:
            raise Unreadable(Reason.MALFORMED, "the name of a field is a text", line, column)
        return "" if node.scalar is None else _written(node.scalar), line, column

    def _field(self, parent: Node, key: tuple[str, int, int], value: Node) -> None:
        name, line, column = key
        assert parent.fields is not None
        if name == _MERGE:
            parts = value.items if value.items is not None else [value]
            if any(part.fields is None for part in parts):
                raise Unreadable(Reason.MALFORMED, "<< takes mappings only", line, column)
            parent.merges += parts
        elif name in parent.fields:
            at = Position(shown(name), line, column)
            self._findings.add(
                Reason.DUPLICATE_FIELD, f"{shown(name)!r} is there twice", at, "keep one of them"
            )
        else:
            parent.fields[name] = value
            parent.keys[name] = (line, column)


def _marked(mark: Any) -> tuple[int, int]:
    return (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)


def _written(scalar: str | int | float | bool) -> str:
    return str(scalar).lower() if isinstance(scalar, bool) else str(scalar)


def _scalar(event: yaml.ScalarEvent) -> Any:
    # Quoted, a block, or with a tag of its own: a text, whatever it looks like.
    return scalar_of(event.value) if event.implicit[0] else event.value


def scalar_of(text: str) -> Any:
    """What a text without quotes is read as."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return text
