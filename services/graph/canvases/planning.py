"""From a valid canvas to the graph that a run executes (S1.3): gradients and the total order of what is written out.

Bodies of maps and loops stay templates, with ids of their own. Where the topology leaves an order open the drag-in
times decide, from the outside in. Pure.
"""

import hashlib
from collections.abc import Callable, Mapping

import msgspec

from services.graph.canvases.canvas import Canvas, ConditionWork, Node
from services.graph.canvases.document import json_text
from services.graph.canvases.layout import FlatEdge, FlatNode, Layout
from services.graph.canvases.levels import gradients, total_order
from services.graph.canvases.operators import (
    ANY,
    Catalogue,
    Operator,
    Port,
    Ports,
    Signatures,
    split_name,
)
from services.graph.model import (
    Body,
    BodyPort,
    BranchCase,
    BranchControl,
    CachePolicy,
    Condition,
    Control,
    GateControl,
    Graph,
    InputEdge,
    Kind,
    LoopControl,
    MapControl,
    Order,
    PlannedNode,
    Trigger,
)

BodyOf = Callable[[Node], bytes]
"""The serialised specification of a node's task, without parameters and inputs."""


def plan(canvas: Canvas, digest: str, operators: Catalogue, body_of: BodyOf, order: Order) -> Graph:
    """The graph of a canvas that `validate` found nothing wrong with; `digest` names canvas and operators.

    The same arguments give the same graph. Raises PlanTooLarge.
    """
    planner = _Planner(Signatures(canvas, operators), operators, body_of, order)
    return planner.graph(canvas, hashlib.sha256(f"{digest} {order.value}".encode()).hexdigest())


class _Planner:
    def __init__(self, signatures: Signatures, operators: Catalogue, body_of: BodyOf, order: Order) -> None:
        self._signatures = signatures
        self._operators = operators
        self._body_of = body_of
        self._order = order
        self._bodies: dict[str, Body] = {}

    def graph(self, canvas: Canvas, digest: str) -> Graph:
        layout = Layout(self._signatures)
        layout.add(canvas, "", ())
        return self._placed(layout, digest)[0]

    def _placed(self, layout: Layout, digest: str) -> tuple[Graph, list[int]]:
        """The graph, and by index the rank of each node."""
        count = len(layout.nodes)
        successors: list[list[int]] = [[] for _ in range(count)]
        incoming: list[list[FlatEdge]] = [[] for _ in range(count)]
        is_sink = bytearray(b"\1") * count
        for edge in layout.edges:
            successors[edge.source].append(edge.target)
            incoming[edge.target].append(edge)
            if not edge.is_order:
                is_sink[edge.source] = 0
        levels = gradients(successors)
        keys = [flat.key for flat in layout.nodes]
        ordered = total_order(self._order, levels, successors, keys)
        ranks = [0] * count
        for rank, number in enumerate(ordered):
            ranks[number] = rank
        nodes = tuple(
            self._planned(
                layout.nodes[number],
                rank,
                levels[number],
                incoming[number],
                successors[number],
                ranks,
                tuple(sorted(layout.asked.get(number, ()))),
            )
            for rank, number in enumerate(ordered)
        )
        sinks = tuple(rank for rank, number in enumerate(ordered) if is_sink[number])
        return Graph(nodes, sinks, digest), ranks

    def _planned(
        self,
        flat: FlatNode,
        rank: int,
        gradient: int,
        incoming: list[FlatEdge],
        successors: list[int],
        ranks: list[int],
        asked: tuple[str, ...],
    ) -> PlannedNode:
        node = flat.node
        name, version = split_name(node.operator)
        operator = self._operators.get(name) if name else None
        kind = kind_of(node)
        is_task = kind in (Kind.TASK, Kind.COMMAND)
        control = self._control(node)
        body = control.body if isinstance(control, MapControl | LoopControl) else None
        return PlannedNode(
            rank=rank,
            id=flat.id,
            gradient=gradient,
            kind=kind,
            operator=name,
            version=operator.version if operator else version,
            initial_params=json_text(node.initial_params) if node.initial_params else "{}",
            parameter_address=node.parameter_address,
            record=node.record,
            has_effects=node.has_effects
            or (operator is not None and operator.has_effects)
            or (body is not None and any(inner.has_effects for inner in body.graph.nodes)),
            cache=node.cache or CachePolicy.AUTO,
            trigger=node.trigger or Trigger.ALL_ENDED,
            inputs=_inputs(flat.ports.inputs, incoming, ranks),
            successors=tuple(sorted({ranks[number] for number in successors})),
            body=self._body_of(node) if is_task else b"",
            control=control,
            outputs=tuple(flat.ports.outputs) or asked,
            files=tuple((path, port) for port, path in node.command.outputs.items()) if node.command else (),
            identity=identity_of(node, operator, asked) if control is None else _control_identity(control),
        )

    def _control(self, node: Node) -> Control | None:
        if node.branch is not None:
            cases = tuple(BranchCase(case.port, _condition(case.condition)) for case in node.branch.cases)
            return BranchControl(cases, node.branch.otherwise or "else")
        if node.gate is not None:
            timeout_ms = round(1000 * (node.timeout_s or 0))
            return GateControl(node.gate.message, node.gate.approvers, timeout_ms)
        if node.map is not None:
            map_ = node.map
            body = self._body(map_.subgraph)
            item = map_.item_port or next((port.name for port in body.inputs), "")
            ratio = 1.0 if map_.min_success_ratio is None else map_.min_success_ratio
            return MapControl(body, item, map_.max_parallel, map_.batch_size, ratio)
        if node.loop is not None:
            loop = node.loop
            body = self._body(loop.subgraph)
            port = loop.until_port or (body.outputs[0].name if loop.until and body.outputs else "")
            until = _condition(loop.until) if loop.until else None
            return LoopControl(body, port, until, loop.max_iterations)
        return None

    def _body(self, name: str) -> Body:
        known = self._bodies.get(name)
        if known is None:
            known = self._bodies[name] = self._template(name)
        return known

    def _template(self, name: str) -> Body:
        subgraph = self._signatures.subgraphs[name]
        layout = Layout(self._signatures)
        inputs, outputs = layout.ends(subgraph, layout.add(subgraph.canvas, "", ()))
        graph, ranks = self._placed(layout, "")
        return Body(
            graph,
            tuple(
                BodyPort(port, ranks[node], inner, _takes(layout.nodes[node].ports, inner))
                for port, ends in inputs.items()
                for node, inner in ends
            ),
            tuple(BodyPort(port, ranks[node], inner) for port, (node, inner) in outputs.items()),
        )


def kind_of(node: Node) -> Kind:
    """What a node of a valid canvas is once it is planned."""
    if node.operator:
        return Kind.TASK
    return Kind(node.works[0])


def identity_of(node: Node, operator: Operator | None, asked: tuple[str, ...] = ()) -> str:
    """sha256 of what computes the node; empty: it is not known, or nothing that a cache could know. `asked`: of which
    outputs of code of one's own something is made."""
    if node.command is not None:
        what: tuple[object, ...] = ("command", node.command)
    elif operator is not None:
        if not operator.code_digest:
            return ""
        what = ("operator", operator.code_digest)
    elif node.operator and node.bundle_digest:
        what = ("operator", node.operator, *(asked if asked != ("result",) else ()))
    else:
        return ""
    parts = (*what, node.bundle_digest, node.environment)
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()


def _control_identity(control: Control) -> str:
    return hashlib.sha256(msgspec.msgpack.encode(control)).hexdigest()


def _takes(ports: Ports, name: str) -> str:
    return ports.inputs[name].type if name in ports.inputs else ANY


def _inputs(ports: Mapping[str, Port], incoming: list[FlatEdge], ranks: list[int]) -> tuple[InputEdge, ...]:
    """By port as the operator declares them, then other ports by name; within one by index, then rank (S1.8)."""
    if len(incoming) > 1:
        places = {name: number for number, name in enumerate(ports)}
        last = len(places)
        incoming = sorted(
            incoming,
            key=lambda f: (
                f.is_order,
                places.get(f.port, last),
                f.port,
                f.index,
                ranks[f.source],
                f.source_port,
            ),
        )
    return tuple(
        InputEdge(
            ranks[edge.source],
            edge.source_port,
            edge.port,
            edge.is_order,
            edge.on_error,
            ports[edge.port].type if edge.port in ports else ANY,
        )
        for edge in incoming
    )


def _condition(work: ConditionWork) -> Condition:
    assert work.comparison is not None
    value = "" if work.value is msgspec.UNSET else json_text(work.value)
    return Condition(work.path, work.comparison, value)
