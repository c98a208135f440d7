"""React Flow: `{nodes: [{id, type, position, data, parentId}], edges: [{id, source, target, sourceHandle, …}]}`.

The operator is `data.operator`, else the node's type; the parameters are `data.params`, the label is `data.label`.
Nodes of type "group" are groups; the positions of what is in them are relative to them there, and absolute here.
The order of the list stands in for the order in which nodes were dragged in. Pure.
"""

from typing import Any

import msgspec

from services.graph.canvases.canvas import Canvas, Edge, Group, Node, Position
from services.graph.canvases.operators import PLACEHOLDER, Catalogue
from services.graph.imports.format import Format
from services.graph.imports.naming import Names, laid_out, operator_name, port_name, word_of
from services.graph.imports.part import Part
from services.graph.imports.report import Report

_NAME = "react-flow"
_GROUP = "group"
# What React Flow itself writes into a node or an edge while it draws.
_DRAWING = (
    "measured", "width", "height", "selected", "dragging", "positionAbsolute", "style", "animated", "zIndex", "extent",
    "sourcePosition", "targetPosition", "markerEnd", "className", "selectable", "draggable",
)  # fmt: skip


def _recognises(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("nodes"), list):
        return False
    edges = value.get("edges", [])
    if not isinstance(edges, list) or "links" in value or "doc_type" in value:
        return False
    return all(isinstance(edge, dict) and "source" in edge for edge in edges[:10]) and all(
        isinstance(node, dict) and ("position" in node or "data" in node) for node in value["nodes"][:10]
    )


def _read(value: Any, report: Report, operators: Catalogue) -> Canvas:
    document = Part(value, "", report)
    names, groups = Names(), list[Group]()
    parts = document.parts("nodes")
    places = {part.text("id"): _place(part) for part in parts}
    nodes = []
    for part in parts:
        original = part.text("id")
        node_id = names.take(original)
        if part.text("type") == _GROUP:
            groups.append(_group(part, node_id))
        else:
            nodes.append(_node(part, node_id, places, operators))
    nodes = [
        msgspec.structs.replace(node, group=names.of(node.group) or "") if node.group else node
        for node in nodes
    ]
    edges = [edge for part in document.parts("edges") if (edge := _edge(part, names)) is not None]
    document.value("viewport")
    document.tell_rest()
    viewport = value.get("viewport")
    extra = {"viewport": viewport} if isinstance(viewport, dict) else {}
    return Canvas(tuple(laid_out(nodes, edges)), tuple(edges), groups=tuple(groups), extra=extra)


def _place(part: Part) -> tuple[float, float]:
    position = part.part("position")
    return position.number("x"), position.number("y")


def _group(part: Part, group_id: str) -> Group:
    data = part.part("data")
    x, y = _place(part)
    return Group(group_id, data.text("label"), data.flag("collapsed"), {"position": {"x": x, "y": y}})


def _node(part: Part, node_id: str, places: dict[str, tuple[float, float]], operators: Catalogue) -> Node:
    data, kind, parent = (
        part.part("data"),
        part.text("type"),
        part.text("parentId") or part.text("parentNode"),
    )
    (x, y), (left, top) = _place(part), places.get(parent, (0.0, 0.0))
    word = data.text("operator")
    params = data.part("params")
    node = Node(
        id=node_id,
        operator=word
        if word.startswith(PLACEHOLDER)
        else operator_name(_NAME, word or kind or "default", operators),
        position=Position(x + left, y + top),
        initial_params=dict(params.rest()),
        label=data.text("label"),
        group=parent,
    )
    data.tell_rest(node_id)
    part.tell_rest(node_id, _DRAWING)
    if node.operator.startswith(PLACEHOLDER):
        part.report.add(
            part.at("type"), f"no agent offers {word or kind or 'default'!r}: a placeholder", node_id
        )
    kept = {"type": kind, **({"data": rest} if (rest := data.rest()) else {}), **part.rest()}
    return msgspec.structs.replace(node, extra={_NAME: kept})


def _edge(part: Part, names: Names) -> Edge | None:
    source, target = names.of(part.text("source")), names.of(part.text("target"))
    if source is None or target is None:
        part.report.add(part.path, "leads from or to a node that is not there; left out")
        return None
    ports = port_name(part.text("sourceHandle")), port_name(part.text("targetHandle"))
    for silent in ("type", "label"):
        part.value(silent)
    part.tell_rest(target, _DRAWING)
    return Edge(part.text("id"), source, ports[0], target, ports[1])


def _write(canvas: Canvas) -> Any:
    places = {group.id: _group_place(group) for group in canvas.groups}
    groups = [
        {
            "id": group.id,
            "type": _GROUP,
            "position": {"x": places[group.id][0], "y": places[group.id][1]},
            "data": {"label": group.title, **({"collapsed": True} if group.is_collapsed else {})},
        }
        for group in canvas.groups
    ]
    document = {
        "nodes": [*groups, *(_node_document(node, places) for node in canvas.nodes)],
        "edges": [_edge_document(edge, number) for number, edge in enumerate(canvas.edges)],
    }
    viewport = canvas.extra.get("viewport")
    return {**document, "viewport": viewport} if isinstance(viewport, dict) else document


def _group_place(group: Group) -> tuple[float, float]:
    place = group.extra.get("position")
    x, y = (place.get("x"), place.get("y")) if isinstance(place, dict) else (0.0, 0.0)
    return (float(x), float(y)) if isinstance(x, int | float) and isinstance(y, int | float) else (0.0, 0.0)


def _node_document(node: Node, places: dict[str, tuple[float, float]]) -> dict[str, Any]:
    kept = node.extra.get(_NAME)
    kept = kept if isinstance(kept, dict) else {}
    kind = kept.get("type") if isinstance(kept.get("type"), str) else ""
    kind = kind or (node.works[0] if node.works and not node.operator else "operator")
    data = dict(kept["data"]) if isinstance(kept.get("data"), dict) else {}
    data["label"] = node.label
    if node.operator and word_of(_NAME, node.operator) != kind:
        data["operator"] = node.operator
    if node.initial_params:
        data["params"] = node.initial_params
    left, top = places.get(node.group, (0.0, 0.0))
    position = node.position or Position()
    rest = {key: value for key, value in kept.items() if key not in ("type", "data")}
    document = {
        **rest,
        "id": node.id,
        "type": kind,
        "position": {"x": position.x - left, "y": position.y - top},
        "data": data,
    }
    return {**document, "parentId": node.group} if node.group in places else document


def _edge_document(edge: Edge, number: int) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": edge.id or f"edge-{number + 1}",
        "source": edge.source,
        "target": edge.target,
    }
    if edge.source_port:
        document["sourceHandle"] = edge.source_port
    if edge.target_port:
        document["targetHandle"] = edge.target_port
    return document


FORMAT = Format(_NAME, _recognises, _read, _write)
