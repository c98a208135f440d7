"""Canvases as JSON documents of the format "canvas/1": reading, writing, the digest (S1.1).

Reading takes what it can and tells everything that it could not: the problems come with a canvas that lacks those
fields. Fields that are not known are kept in `extra` and written again. Names are those of the contract; a node's
parameters, a condition's value, a default are JSON as such, times are RFC 3339. Pure.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from services.graph.canvases import misfits
from services.graph.canvases.canvas import (
    Canvas,
    Edge,
    Group,
    Node,
    Param,
    Position,
    Subgraph,
    SubgraphPort,
)
from services.graph.canvases.problems import Findings, Problem, Reason, shown
from services.graph.model import DOCUMENT_BYTES_MOST, SUBGRAPH_DEPTH_MOST

FORMAT = "canvas/1"
JSON_DEPTH_MOST = 32
"""How deep values may lie within each other: deeper ones do not fit into messages."""

_NUMBER_MOST = int(1.7e308)

T = TypeVar("T")
Tell = Callable[[str, str], None]
"""Tells a problem: the field, the message."""

_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)")
FIELDS: dict[type, frozenset[str]] = {
    kind: frozenset(kind.__struct_fields__) - {"extra"} for kind in (Position, Param, Group, Subgraph)
}
FIELDS[Node] = (frozenset(Node.__struct_fields__) - {"extra", "drag_in_time_ns"}) | {"drag_in_time"}
FIELDS[Edge] = (frozenset(Edge.__struct_fields__) - {"extra", "is_order"}) | {"kind"}
FIELDS[Canvas] = (frozenset(Canvas.__struct_fields__) - {"extra"}) | {"format"}
"""What is known, by kind; everything else is kept in `extra`."""


class DocumentUnreadable(ValueError):
    """The text is not a JSON object."""


def read(text: str | bytes) -> tuple[Canvas, tuple[Problem, ...]]:
    """The canvas of a document, and what of it could not be read.

    Raises DocumentUnreadable for what is no JSON object, or too large.
    """
    if len(text) > DOCUMENT_BYTES_MOST:
        raise DocumentUnreadable(f"the document has more than {DOCUMENT_BYTES_MOST >> 20} MiB")
    try:
        document = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise DocumentUnreadable(f"the document is not JSON: {error}") from error
    except RecursionError as error:
        raise DocumentUnreadable("the document is nested too deeply") from error
    if not isinstance(document, dict):
        raise DocumentUnreadable("the document is not a JSON object")
    findings = Findings()
    return _canvas(document, "", findings, 0), findings.all()


def write(canvas: Canvas) -> bytes:
    """The document of a canvas: the same bytes for the same canvas."""
    return msgspec.json.encode({"format": FORMAT, **_plain(canvas)}, order="sorted")


def digest(canvas: Canvas) -> str:
    """What the canvas is known by: the same for the same canvas."""
    return digest_of(write(canvas))


def digest_of(document: bytes) -> str:
    """sha256 of what `write` gave."""
    return hashlib.sha256(document).hexdigest()


def json_text(value: Any) -> str:
    """Compact JSON."""
    return msgspec.json.encode(value).decode()


def time_of(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time. Raises ValueError."""
    parts = _TIME.fullmatch(text)
    if parts is None:
        raise ValueError("a time is written as 2026-01-31T12:00:00.250Z")
    seconds, fraction, zone = parts.groups()
    whole = datetime.fromisoformat(seconds.upper() + ("+00:00" if zone in "Zz" else zone))
    time_ns = int(whole.timestamp()) * 1_000_000_000 + int((fraction or "").ljust(9, "0"))
    if not is_time(time_ns):
        raise ValueError("a time lies between the years 1678 and 2261")
    return time_ns


def is_time(time_ns: int) -> bool:
    """Whether it can be kept: nanoseconds since 1970 in 64 bits."""
    return -(1 << 63) < time_ns < 1 << 63


def time_text(time_ns: int) -> str:
    """The RFC 3339 time of nanoseconds since 1970."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{rest:09d}".rstrip("0")
    return f"{text}.{fraction}Z" if fraction else f"{text}Z"


def is_too_deep(value: Any, most: int = JSON_DEPTH_MOST) -> bool:
    """Whether containers lie within each other more than `most` deep; without recursion."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(most):
        if not level:
            return False
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return bool(level)


def has_number_beyond(value: Any) -> bool:
    """Whether one of its whole numbers is none that other programs read; of what is not too deep."""
    if isinstance(value, dict):
        return any(has_number_beyond(inner) for inner in value.values())
    if isinstance(value, list):
        return any(has_number_beyond(inner) for inner in value)
    return isinstance(value, int) and abs(value) > _NUMBER_MOST


def _canvas(document: Mapping[str, Any], path: str, findings: Findings, depth: int) -> Canvas:
    """A canvas; `path` is the sub-graph that it is the body of, "" or "ID/"."""

    def tell(field: str, message: str) -> None:
        findings.add(Reason.MALFORMED, message, node=path.rstrip("/"), field=field)

    kind = document.get("format", FORMAT)
    if kind != FORMAT:
        tell("format", f"the format is {shown(repr(kind))}, not {FORMAT!r}; yard graph import reads others")
    nodes = [
        _node(each, number, path, findings)
        for number, each in _objects(document.get("nodes"), "nodes", list, tell)
    ]
    edges = [
        _edge(each, number, path, findings)
        for number, each in _objects(document.get("edges"), "edges", list, tell)
    ]
    groups = [
        _take(Group, each, _below(tell, f"groups[{number}]"))
        for number, each in _objects(document.get("groups"), "groups", list, tell)
    ]
    params = {
        name: _take(Param, each, _below(tell, f"params.{name}"))
        for name, each in _objects(document.get("params"), "params", dict, tell)
    }
    subgraphs: dict[str, Subgraph] = {}
    for name, each in _objects(document.get("subgraphs"), "subgraphs", dict, tell):
        if depth >= SUBGRAPH_DEPTH_MOST:
            findings.add(Reason.TOO_DEEP, "sub-graphs are nested too deeply", node=shown(path + name))
            break
        subgraphs[name] = _subgraph(each, f"{path}{name}/", findings, depth + 1)
    extra = _extra(Canvas, document, tell)
    return Canvas(tuple(nodes), tuple(edges), params, subgraphs, tuple(groups), extra)


def _node(document: Mapping[str, Any], number: int, path: str, findings: Findings) -> Node:
    known = document.get("id")
    name = path + known if isinstance(known, str) and known else ""

    def tell(field: str, message: str) -> None:
        place = field if name else f"nodes[{number}].{field}"
        findings.add(Reason.MALFORMED, message, node=name or path.rstrip("/"), field=place)

    document = dict(document)
    if isinstance(document.get("subgraph"), str):
        document["subgraph"] = {"subgraph": document["subgraph"]}
    if isinstance(document.get("position"), dict):
        document["position"] = _take(Position, document["position"], _below(tell, "position"))
    time = document.pop("drag_in_time", "")
    node = _take(Node, document, tell)
    try:
        time_ns = time_of(time) if time else 0
    except (ValueError, TypeError, OverflowError) as error:
        tell("drag_in_time", f"{shown(repr(time))} is not a time: {error}")
        time_ns = 0
    return msgspec.structs.replace(node, drag_in_time_ns=time_ns) if time_ns else node


def _edge(document: Mapping[str, Any], number: int, path: str, findings: Findings) -> Edge:
    known = document.get("id")
    name = path + known if isinstance(known, str) and known else f"{path}edges[{number}]"

    def tell(field: str, message: str) -> None:
        findings.add(Reason.MALFORMED, message, edge=name, field=field)

    document = dict(document)
    kind = document.pop("kind", "data")
    edge = _take(Edge, document, tell)
    word = _word(kind, "EDGE_KIND_")
    if word not in ("data", "order"):
        tell("kind", f"an edge is 'data' or 'order', not {shown(repr(kind))}")
    return msgspec.structs.replace(edge, is_order=True) if word == "order" else edge


def _subgraph(document: Mapping[str, Any], path: str, findings: Findings, depth: int) -> Subgraph:
    def tell(field: str, message: str) -> None:
        findings.add(Reason.MALFORMED, message, node=path.rstrip("/"), field=field)

    def ports(side: str) -> tuple[SubgraphPort, ...]:
        return tuple(
            _take(SubgraphPort, each, _below(tell, f"{side}[{number}]"))
            for number, each in _objects(document.get(side), side, list, tell)
        )

    body = document.get("canvas", {})
    if not isinstance(body, dict):
        tell("canvas", "a sub-graph's canvas is an object")
        body = {}
    canvas = _canvas(body, path, findings, depth)
    return Subgraph(canvas, ports("inputs"), ports("outputs"), _extra(Subgraph, document, tell))


def _objects(
    value: Any, field: str, kind: type[list[Any]] | type[dict[str, Any]], tell: Tell
) -> list[tuple[Any, dict[str, Any]]]:
    """The objects of a list or an object, by number or name; tells what is none."""
    if value is None:
        return []
    if not isinstance(value, kind):
        tell(field, f"{field} is {'a list' if kind is list else 'an object'} of objects")
        return []
    found = []
    entries: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in entries:
        if isinstance(each, dict):
            found.append((key, each))
        else:
            place = f"{field}[{key}]" if kind is list else f"{field}.{key}"
            tell(place, f"an object is wanted, not {shown(repr(each)[:100])}")
    return found


def _take(kind: type[T], document: Mapping[str, Any], tell: Tell) -> T:
    """A value of this kind without the fields that do not fit, each of which is told."""
    fields = FIELDS.get(kind)
    known = {key: document[key] for key in document if key in fields} if fields else dict(document)
    for key in [key for key, value in known.items() if is_too_deep(value)]:
        tell(key, f"values lie more than {JSON_DEPTH_MOST} deep within each other")
        del known[key]
    for key, prefix in _WORDS.items():
        if key in known:
            known[key] = _word(known[key], prefix)
    if fields and not document.keys() <= fields:
        known["extra"] = _extra(kind, document, tell)
    while True:
        try:
            return msgspec.convert(known, kind)
        except msgspec.ValidationError as error:
            message = str(error)
            place = _PLACE.search(message)
            field = place.group(1) if place else ""
            first = re.split(r"[.\[]", field, maxsplit=1)[0]
            tell(field or "…", misfits.of_document(field, _PLACE.sub("", message)))
            if first not in known:
                return kind()
            del known[first]


_WORDS = {"trigger": "TRIGGER_", "cache": "CACHE_POLICY_", "on_error": "EDGE_ERROR_POLICY_"}
"""Fields whose value is a word, which may be written as in the contract."""


def _word(value: Any, prefix: str) -> Any:
    return value.removeprefix(prefix).lower() if isinstance(value, str) and len(value) < 100 else value


def _extra(kind: type, document: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    extra = {}
    for key in document:
        if key in FIELDS[kind]:
            continue
        if is_too_deep(document[key]):
            tell(shown(key), f"values lie more than {JSON_DEPTH_MOST} deep within each other")
        elif has_number_beyond(document[key]):
            tell(shown(key), "a number is beyond what JSON programs read")
        else:
            extra[key] = document[key]
    return extra


def _below(tell: Tell, path: str) -> Tell:
    def tell_below(field: str, message: str) -> None:
        tell(f"{path}.{field}", message)

    return tell_below


def _plain(canvas: Canvas) -> dict[str, Any]:
    """The canvas as a document; what has its default value is left out."""
    document: dict[str, Any] = dict(canvas.extra)
    if canvas.nodes:
        document["nodes"] = [_plain_node(node) for node in canvas.nodes]
    if canvas.edges:
        document["edges"] = [_plain_edge(edge) for edge in canvas.edges]
    if canvas.params:
        document["params"] = {name: _flat(param) for name, param in canvas.params.items()}
    if canvas.groups:
        document["groups"] = [_flat(group) for group in canvas.groups]
    if canvas.subgraphs:
        document["subgraphs"] = {
            name: {
                **subgraph.extra,
                "canvas": _plain(subgraph.canvas),
                "inputs": msgspec.to_builtins(subgraph.inputs),
                "outputs": msgspec.to_builtins(subgraph.outputs),
            }
            for name, subgraph in canvas.subgraphs.items()
        }
    return document


def _flat(value: Any) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(value)
    return {**document.pop("extra", {}), **document}


def _plain_node(node: Node) -> dict[str, Any]:
    document = _flat(node)
    if node.position is not None:
        document["position"] = _flat(node.position)
    if document.pop("drag_in_time_ns", 0):
        document["drag_in_time"] = time_text(node.drag_in_time_ns)
    return document


def _plain_edge(edge: Edge) -> dict[str, Any]:
    document = _flat(edge)
    if document.pop("is_order", False):
        document["kind"] = "order"
    return document
