"""What changed between two canvases (S1.2): nodes, parameters, edges; moves of nodes apart from changes. Pure."""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import msgspec

from services.graph.canvases import document
from services.graph.canvases.canvas import Canvas

CHANGES_MOST = 5_000
"""More are cut off."""
_VALUE_CHARACTERS = 2_000


class ChangeKind(Enum):
    """What kind of change."""

    NODE_ADDED = "node_added"
    NODE_REMOVED = "node_removed"
    NODE_CHANGED = "node_changed"
    NODE_MOVED = "node_moved"
    EDGE_ADDED = "edge_added"
    EDGE_REMOVED = "edge_removed"
    EDGE_CHANGED = "edge_changed"
    PARAM_CHANGED = "param_changed"
    SUBGRAPH_CHANGED = "subgraph_changed"
    DRAWING_CHANGED = "drawing_changed"


class Change(msgspec.Struct, frozen=True):
    """One change. `before` and `after` are JSON; empty: there was nothing, or there is nothing any more."""

    kind: ChangeKind
    id: str
    field: str = ""
    before: str = ""
    after: str = ""


def diff(before: Canvas, after: Canvas) -> list[Change]:
    """The changes from one canvas to the other: in the order of the later one, what is gone last."""
    found: list[Change] = []
    for change in _canvases(
        msgspec.json.decode(document.write(before)), msgspec.json.decode(document.write(after)), ""
    ):
        if len(found) >= CHANGES_MOST:
            break
        found.append(change)
    return found


def _canvases(before: Mapping[str, Any], after: Mapping[str, Any], path: str) -> Iterator[Change]:
    yield from _nodes(before.get("nodes", []), after.get("nodes", []), path)
    yield from _edges(before.get("edges", []), after.get("edges", []), path)
    for name, field, old, new in _named(before.get("params", {}), after.get("params", {})):
        yield Change(ChangeKind.PARAM_CHANGED, path + name, field, _text(old), _text(new))
    yield from _subgraphs(before.get("subgraphs", {}), after.get("subgraphs", {}), path)
    known = ("nodes", "edges", "params", "subgraphs")
    rest = [{key: value for key, value in side.items() if key not in known} for side in (before, after)]
    for field, old, new in _fields(rest[0], rest[1], ""):
        yield Change(ChangeKind.DRAWING_CHANGED, path.rstrip("/"), field, _text(old), _text(new))


def _nodes(before: list[Any], after: list[Any], path: str) -> Iterator[Change]:
    old, new = ({node.get("id", ""): node for node in side} for side in (before, after))
    for id_, node in new.items():
        if id_ not in old:
            yield Change(ChangeKind.NODE_ADDED, path + id_, after=_text(node))
            continue
        known = old[id_]
        if known.get("position", _NOTHING) != node.get("position", _NOTHING):
            yield Change(
                ChangeKind.NODE_MOVED,
                path + id_,
                "position",
                _text(known.get("position", _NOTHING)),
                _text(node.get("position", _NOTHING)),
            )
        for field, was, is_ in _fields(known, node, ""):
            if not field.startswith("position"):
                yield Change(ChangeKind.NODE_CHANGED, path + id_, field, _text(was), _text(is_))
    for id_, node in old.items():
        if id_ not in new:
            yield Change(ChangeKind.NODE_REMOVED, path + id_, before=_text(node))


def _edges(before: list[Any], after: list[Any], path: str) -> Iterator[Change]:
    old, new = (_by_name(side) for side in (before, after))
    for name, edge in new.items():
        if name not in old:
            yield Change(ChangeKind.EDGE_ADDED, path + name, after=_text(edge))
            continue
        for field, was, is_ in _fields(old[name], edge, ""):
            yield Change(ChangeKind.EDGE_CHANGED, path + name, field, _text(was), _text(is_))
    for name, edge in old.items():
        if name not in new:
            yield Change(ChangeKind.EDGE_REMOVED, path + name, before=_text(edge))


def _by_name(edges: list[Any]) -> dict[str, Any]:
    """By id, or by where it goes; of several that are alike each has a number."""
    named: dict[str, Any] = {}
    for edge in edges:
        ends = [
            ".".join(filter(None, (edge.get(end, ""), edge.get(f"{end}_port", ""))))
            for end in ("source", "target")
        ]
        name = base = edge.get("id") or "->".join(ends)
        count = 1
        while name in named:
            count += 1
            name = f"{base} ({count})"
        named[name] = edge
    return named


def _subgraphs(before: Mapping[str, Any], after: Mapping[str, Any], path: str) -> Iterator[Change]:
    empty: Mapping[str, Any] = {}
    for name in [*after, *(name for name in before if name not in after)]:
        old, new = before.get(name, empty), after.get(name, empty)
        if bool(old) != bool(new):
            kind = "added" if new else "removed"
            yield Change(
                ChangeKind.SUBGRAPH_CHANGED,
                path + name,
                "",
                _text(_NOTHING if new else kind),
                _text(kind if new else _NOTHING),
            )
        else:
            sides = [{key: value for key, value in side.items() if key != "canvas"} for side in (old, new)]
            for field, was, is_ in _fields(sides[0], sides[1], ""):
                yield Change(ChangeKind.SUBGRAPH_CHANGED, path + name, field, _text(was), _text(is_))
        yield from _canvases(old.get("canvas", empty), new.get("canvas", empty), f"{path}{name}/")


def _named(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, Any]]:
    for name in [*after, *(name for name in before if name not in after)]:
        if name not in before or name not in after:
            yield name, "", before.get(name, _NOTHING), after.get(name, _NOTHING)
        else:
            for field, old, new in _fields(before[name], after[name], ""):
                yield name, field, old, new


def _fields(before: Any, after: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """The fields that differ, objects field by field; the nesting of documents is bounded."""
    if before == after and type(before) is type(after):
        return
    if not (isinstance(before, dict) and isinstance(after, dict)):
        yield path, before, after
        return
    for key in [*after, *(key for key in before if key not in after)]:
        below = f"{path}.{key}" if path else key
        yield from _fields(before.get(key, _NOTHING), after.get(key, _NOTHING), below)


_NOTHING: Any = msgspec.UNSET


def _text(value: Any) -> str:
    """The JSON of a value; what is long is cut, and then it is no JSON."""
    if value is _NOTHING:
        return ""
    text = document.json_text(value)
    return text if len(text) <= _VALUE_CHARACTERS else text[: _VALUE_CHARACTERS - 1] + "…"
