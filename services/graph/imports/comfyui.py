"""ComfyUI's workflow form, versions 0.4 and 1, with sub-graphs.

`{nodes: [{id, type, pos, inputs, outputs, widgets_values}], links: […], definitions: {subgraphs: […]}}`; links are
written as lists or as objects, either anywhere. Unnamed widget values get their names from the node's own inputs,
else from the operator's parameters. Numeric ids stand in for the order in which nodes were dragged in. Notes are
left out, reroutes are replaced by the edges that they make; a muted or bypassed node is told. Pure.
"""

from typing import Any

from msgspec.structs import replace

from services.graph.canvases.canvas import Canvas, Edge, Node, Position, Subgraph, SubgraphPort, SubgraphWork
from services.graph.canvases.operators import PLACEHOLDER, Catalogue
from services.graph.imports.comfyui_prompt import FAMILY, number_of, output_name, slots_of
from services.graph.imports.comfyui_widgets import named_values
from services.graph.imports.format import Format
from services.graph.imports.naming import Names, laid_out, operator_name, port_name, word_of
from services.graph.imports.part import Part
from services.graph.imports.report import Report
from services.graph.model import SUBGRAPH_DEPTH_MOST

_INPUT, _OUTPUT = "-10", "-20"
"""Ids that stand for a sub-graph's own inputs and outputs."""
_NOTES = ("Note", "MarkdownNote", "PrimitiveNode")
_DRAWING = ("size", "flags", "order", "properties", "color", "bgcolor", "shape", "showAdvanced")
_OF_DOCUMENT = ("groups", "config", "extra", "version", "last_node_id", "last_link_id", "id", "revision", "state",
                "reroutes", "floatingLinks", "models")  # fmt: skip
_MODES = {2: "muted", 4: "bypassed"}


def _recognises(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("nodes"), list):
        return False
    if "links" in value or "last_node_id" in value or "definitions" in value:
        return True
    return any(isinstance(node, dict) and "widgets_values" in node for node in value["nodes"][:10])


class _Link:
    """One link, however it is written."""

    __slots__ = ("source", "source_slot", "target", "target_slot")

    def __init__(self, source: str, source_slot: int, target: str, target_slot: int) -> None:
        self.source, self.source_slot, self.target, self.target_slot = (
            source,
            source_slot,
            target,
            target_slot,
        )


def _read(value: Any, report: Report, operators: Catalogue) -> Canvas:
    document = Part(value, "", report)
    definitions = _definitions(document)
    bodies = Names()
    for each in definitions.values():
        bodies.take(each.text("id"))
    subgraphs = {
        bodies.of(original) or original: _Body(part, bodies, operators).subgraph()
        for original, part in definitions.items()
    }
    canvas = _Body(document, bodies, operators).canvas()
    document.tell_rest(silent=_OF_DOCUMENT)
    return replace(canvas, subgraphs=subgraphs)


def _definitions(document: Part) -> dict[str, Part]:
    """Sub-graphs by id, also those that lie within others."""
    found: dict[str, Part] = {}
    level = [document]
    for _ in range(SUBGRAPH_DEPTH_MOST):
        inner = [part for each in level for part in each.part("definitions").parts("subgraphs")]
        for part in inner:
            found.setdefault(part.text("id"), part)
        level = inner
    return found


class _Body:
    """The drawing itself, or the inside of a sub-graph."""

    def __init__(self, part: Part, bodies: Names, operators: Catalogue) -> None:
        self._part, self._bodies, self._operators = part, bodies, operators
        self._names = Names()
        parts = sorted(part.parts("nodes"), key=lambda each: number_of(each.text("id")))
        self._types = {each.text("id"): each.text("type") for each in parts}
        self._drawn = [each for each in parts if each.text("type") not in (*_NOTES, "Reroute")]
        self._taken = [(self._names.take(each.text("id")), each) for each in self._drawn]
        self._slots = {each.text("id"): (_slots(each, "inputs"), _slots(each, "outputs")) for each in parts}
        self._links = self._through_reroutes(list(_links(part)))
        for each in parts:
            if each.text("type") in _NOTES:
                part.report.add(each.path, f"is a {each.text('type')}, which runs nothing; left out")

    def canvas(self) -> Canvas:
        nodes = [self._node(node_id, part) for node_id, part in self._taken]
        edges = [edge for link in self._links if (edge := self._edge(link)) is not None]
        return Canvas(tuple(laid_out(nodes, edges)), tuple(edges))

    def subgraph(self) -> Subgraph:
        names = [[port.text("name") for port in self._part.parts(side)] for side in ("inputs", "outputs")]
        inputs, outputs = [], []
        for link in self._links:
            if link.source == _INPUT and link.target == _OUTPUT:
                self._part.report.add(self._part.path, "passes an input straight on to an output; left out")
            elif link.source == _INPUT:
                inputs.append(self._port(names[0], link.source_slot, link.target, link.target_slot, 0))
            elif link.target == _OUTPUT:
                outputs.append(self._port(names[1], link.target_slot, link.source, link.source_slot, 1))
        label = self._part.text("name")
        self._part.tell_rest(silent=(*_OF_DOCUMENT, "inputNode", "outputNode", "widgets"))
        return Subgraph(
            self.canvas(),
            tuple(port for port in inputs if port),
            tuple(port for port in outputs if port),
            {"label": label} if label else {},
        )

    def _port(
        self, names: list[str], slot: int, inner: str, inner_slot: int, side: int
    ) -> SubgraphPort | None:
        node = self._names.of(inner)
        if node is None or not 0 <= slot < len(names):
            self._part.report.add(
                self._part.path, f"has a link to port {slot} or node {inner!r}, which is not there; left out"
            )
            return None
        return SubgraphPort(port_name(names[slot]), node, self._port_of(inner, inner_slot, side))

    def _node(self, node_id: str, part: Part) -> Node:
        kind, label = part.text("type"), part.text("title")
        mode = part.integer("mode")
        if mode in _MODES:
            part.report.add(part.at("mode"), f"is {_MODES[mode]} there; here it runs", node_id)
        x, y = _place(part)
        node = Node(id=node_id, position=Position(x, y), label=label)
        body = self._bodies.of(kind)
        if body is not None:
            part.value("widgets_values")
            part.tell_rest(node_id, _DRAWING)
            return replace(node, subgraph=SubgraphWork(body))
        operator = operator_name(FAMILY, kind, self._operators)
        if operator.startswith(PLACEHOLDER):
            part.report.add(part.at("type"), f"no agent offers {kind!r}: a placeholder", node_id)
        params = named_values(part, self._operators.get(operator.partition("@")[0]), node_id)
        part.tell_rest(node_id, _DRAWING)
        return replace(node, operator=operator, initial_params=params)

    def _edge(self, link: _Link) -> Edge | None:
        if link.source == _INPUT or link.target == _OUTPUT:
            return None
        source, target = self._names.of(link.source), self._names.of(link.target)
        if source is None or target is None:
            if link.target not in self._types or link.source not in self._types:
                self._part.report.add(
                    self._part.at("links"),
                    f"from {link.source!r} to {link.target!r}: no such node; left out",
                    target or "",
                )
            return None
        ports = (
            self._port_of(link.source, link.source_slot, 1),
            self._port_of(link.target, link.target_slot, 0),
        )
        return Edge("", source, ports[0], target, ports[1])

    def _port_of(self, original: str, slot: int, side: int) -> str:
        names = self._slots[original][side]
        if 0 <= slot < len(names) and names[slot]:
            return port_name(names[slot])
        operator = operator_name(FAMILY, self._types[original], self._operators)
        return output_name(operator, slot, self._operators) if side else str(slot)

    def _through_reroutes(self, links: list[_Link]) -> list[_Link]:
        """Links from where they really begin."""
        into = {link.target: link for link in links if self._types.get(link.target) == "Reroute"}
        found = []
        for link in links:
            seen: set[str] = set()
            while link.source in into and link.source not in seen:
                seen.add(link.source)
                before = into[link.source]
                link = _Link(before.source, before.source_slot, link.target, link.target_slot)
            if self._types.get(link.target) != "Reroute" and self._types.get(link.source) != "Reroute":
                found.append(link)
        return found


def _links(part: Part) -> Any:
    for number, value in enumerate(part.values("links")):
        path = f"{part.at('links')}[{number}]"
        if isinstance(value, dict):
            each = Part(value, path, part.report)
            names = "origin_id", "origin_slot", "target_id", "target_slot"
            yield _Link(
                each.text(names[0]), each.integer(names[1]), each.text(names[2]), each.integer(names[3])
            )
        elif isinstance(value, list) and len(value) >= 5 and _are_ends(value[1:5]):
            yield _Link(str(value[1]), value[2], str(value[3]), value[4])
        else:
            part.report.add(path, "is no link; left out")


def _are_ends(values: list[Any]) -> bool:
    ids_are = all(isinstance(value, int | str) and not isinstance(value, bool) for value in values[::2])
    return ids_are and all(isinstance(value, int) and not isinstance(value, bool) for value in values[1::2])


def _slots(part: Part, side: str) -> list[str]:
    if part.value(side) is None:
        return []
    return [each.text("name") for each in part.parts(side)]


def _place(part: Part) -> tuple[float, float]:
    value = part.value("pos")
    if isinstance(value, list):
        value = {str(number): each for number, each in enumerate(value[:2])}
    place = Part(value if isinstance(value, dict) else {}, part.at("pos"), part.report)
    return place.number("0"), place.number("1")


def _write(canvas: Canvas) -> Any:
    document = {**_body(canvas, Slots(canvas)), "version": 0.4, "config": {}, "extra": {}, "groups": []}
    return {**document, **_definitions_of(canvas)}


def _definitions_of(canvas: Canvas) -> dict[str, Any]:
    if not canvas.subgraphs:
        return {}
    return {"definitions": {"subgraphs": [_definition(*each) for each in canvas.subgraphs.items()]}}


class Slots:
    """The numbers of the ports of each node."""

    def __init__(self, canvas: Canvas) -> None:
        self.outputs = slots_of(canvas)
        self.inputs: dict[str, dict[str, int]] = {node.id: {} for node in canvas.nodes}
        for edge in canvas.edges:
            if not edge.is_order:
                slots = self.inputs.setdefault(edge.target, {})
                slots.setdefault(edge.target_port, len(slots))

    @staticmethod
    def number(side: dict[str, dict[str, int]], node: str, port: str) -> int:
        """The slot of a port; a new one where it has none."""
        slots = side.setdefault(node, {})
        if port not in slots:
            # The numbers may have gaps, where ports are called by numbers.
            slots[port] = max(slots.values(), default=-1) + 1
        return slots[port]


def _definition(name: str, subgraph: Subgraph) -> dict[str, Any]:
    slots = Slots(subgraph.canvas)
    sides = [list(dict.fromkeys(port.name for port in side)) for side in (subgraph.inputs, subgraph.outputs)]
    places = [{each: number for number, each in enumerate(side)} for side in sides]
    links: list[tuple[int | str, int, int | str, int]] = [
        (int(_INPUT), places[0][port.name], port.node, slots.number(slots.inputs, port.node, port.port))
        for port in subgraph.inputs
    ]
    links += [
        (port.node, slots.number(slots.outputs, port.node, port.port), int(_OUTPUT), places[1][port.name])
        for port in subgraph.outputs
    ]
    body = _body(subgraph.canvas, slots)
    keys = "id", "origin_id", "origin_slot", "target_id", "target_slot"
    body["links"] = [dict(zip(keys, link[:5], strict=True)) for link in body["links"]]
    last = body["last_link_id"]
    body["links"] += [
        dict(zip(keys, (last + number, *link), strict=True)) for number, link in enumerate(links, start=1)
    ]
    label = subgraph.extra.get("label")
    return {
        "id": name,
        "name": label if isinstance(label, str) else name,
        "version": 1,
        "inputNode": {"id": int(_INPUT)},
        "outputNode": {"id": int(_OUTPUT)},
        "inputs": [
            {"id": f"{name}-in-{number}", "name": each, "type": "*"} for number, each in enumerate(sides[0])
        ],
        "outputs": [
            {"id": f"{name}-out-{number}", "name": each, "type": "*"} for number, each in enumerate(sides[1])
        ],
        **body,
        **_definitions_of(subgraph.canvas),
    }


def _body(canvas: Canvas, slots: Slots) -> dict[str, Any]:
    links = [
        [
            number,
            edge.source,
            slots.outputs[edge.source][edge.source_port],
            edge.target,
            slots.inputs[edge.target][edge.target_port],
            "*",
        ]
        for number, edge in enumerate(canvas.edges, start=1)
        if not edge.is_order and edge.source in slots.outputs and edge.target in slots.inputs
    ]
    return {
        "last_node_id": len(canvas.nodes),
        "last_link_id": len(canvas.edges),
        "nodes": [
            _node_document(node, slots.inputs[node.id], slots.outputs[node.id]) for node in canvas.nodes
        ],
        "links": links,
    }


def _node_document(node: Node, inputs: dict[str, int], outputs: dict[str, int]) -> dict[str, Any]:
    work = node.subgraph.subgraph if node.subgraph else node.operator
    work = work or (f"modelyard.{node.works[0]}" if node.works else "modelyard.none")
    position = node.position or Position()
    document: dict[str, Any] = {
        "id": int(node.id)
        if node.id.isdecimal() and len(node.id) < 10 and node.id == str(int(node.id))
        else node.id,
        "type": work if node.subgraph else word_of(FAMILY, work),
        "pos": [position.x, position.y],
        "flags": {},
        "mode": 0,
        "inputs": [{"name": name, "type": "*"} for name in inputs],
        "outputs": _output_slots(outputs),
        "properties": {},
        "widgets_values": list(node.initial_params.values()),
    }
    document["inputs"] += [
        {"name": name, "type": "*", "link": None, "widget": {"name": name}} for name in node.initial_params
    ]
    return {**document, "title": node.label} if node.label else document


def _output_slots(outputs: dict[str, int]) -> list[dict[str, Any]]:
    if not outputs or max(outputs.values()) > 4 * len(outputs) + 100:
        return []
    names = {slot: name for name, slot in outputs.items()}
    return [{"name": names.get(slot, ""), "type": "*"} for slot in range(max(names) + 1)]


FORMAT = Format("comfyui", _recognises, _read, _write, ("extra",), FAMILY)
