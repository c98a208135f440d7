"""From a valid canvas to the graph that a run executes (S1.3): instances written out, gradients, the total order.

Instances of sub-graphs are replaced by their nodes, whose ids have the instance's before them: "n5/n1". Bodies of maps
and loops stay templates, with ids of their own. Where the topology leaves an order open the drag-in times decide, from
the outside in: a node of an instance stands where the instance does, and within it where it was drawn. Pure.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import msgspec

from services.graph.canvases.canvas import Canvas, ConditionWork, Edge, Node, Subgraph
from services.graph.canvases.document import json_text
from services.graph.canvases.levels import gradients, total_order
from services.graph.canvases.operators import (
    ANY,
    Catalogue,
    Operator,
    Port,
    Ports,
    Signatures,
    only,
    split_name,
)
from services.graph.model import (
    EDGES_MOST,
    NODES_MOST,
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
    OnError,
    Order,
    PlannedNode,
    Trigger,
)

BodyOf = Callable[[Node], bytes]
"""The serialised specification of a node's task, without parameters and inputs."""
Key = tuple[tuple[int, int, str], ...]


class PlanTooLarge(ValueError):
    """Written out, the canvas has more nodes or edges than a graph may have."""


def plan(canvas: Canvas, digest: str, operators: Catalogue, body_of: BodyOf, order: Order) -> Graph:
    """The graph of a canvas that `validate` found nothing wrong with; `digest` names canvas and operators.

    The same arguments give the same graph. Raises PlanTooLarge.
    """
    planner = _Planner(Signatures(canvas, operators), operators, body_of, order)
    return planner.graph(canvas, hashlib.sha256(f"{digest} {order.value}".encode()).hexdigest())


class _Flat(msgspec.Struct, gc=False):
    """A node of the written-out graph."""

    id: str
    key: Key
    node: Node
    ports: Ports


class _Flow(msgspec.Struct, frozen=True, gc=False):
    """An edge of the written-out graph, between indices."""

    source: int
    source_port: str
    target: int
    port: str
    index: int
    is_order: bool
    on_error: OnError


_End = tuple[int, str]
"""A node by index, and its port."""


class _Site(msgspec.Struct):
    """Where edges of a canvas node lead to once it is written out."""

    inputs: Mapping[str, Sequence[_End]] | None
    """Of an instance, by name; None: it is the node `first` itself."""
    outputs: Mapping[str, _End]
    first: int
    last: int
    """The indices first … last − 1 are its nodes."""
    flows: tuple[int, int] = (0, 0)
    """The flows between them, likewise."""
    leaves: Sequence[int] = ()
    """The nodes after which it has ended; empty: not looked for yet."""
    roots: Sequence[int] = ()
    """The nodes with which it begins; empty: not looked for yet."""


class _Layout:
    """The written-out nodes and edges of one graph."""

    def __init__(self, signatures: Signatures) -> None:
        self.nodes: list[_Flat] = []
        self.flows: list[_Flow] = []
        self.asked: dict[int, dict[str, None]] = {}
        """Output ports that are asked for of code whose ports nobody has declared."""
        self._signatures = signatures

    def add(self, canvas: Canvas, prefix: str, key: Key) -> dict[str, _Site]:
        """Writes a canvas out; where each of its nodes went."""
        sites: dict[str, _Site] = {}
        for node in canvas.nodes:
            own = (*key, (node.drag_in_time_ns, node.drag_sequence, node.id))
            sites[node.id] = self._add_node(node, prefix + node.id, own)
        for edge in canvas.edges:
            self._add_edge(edge, sites[edge.source], sites[edge.target])
        return sites

    def _add_node(self, node: Node, id_: str, key: Key) -> _Site:
        first = len(self.nodes)
        if node.subgraph is None:
            if first >= NODES_MOST:
                raise PlanTooLarge(f"written out, the canvas has more than {NODES_MOST} nodes")
            self.nodes.append(_Flat(id_, key, node, self._signatures.of(node)))
            return _Site(None, {}, first, first + 1)
        subgraph, first_flow = self._signatures.subgraphs[node.subgraph.subgraph], len(self.flows)
        sites = self.add(subgraph.canvas, f"{id_}/", key)
        inputs, outputs = self.ends(subgraph, sites)
        return _Site(inputs, outputs, first, len(self.nodes), (first_flow, len(self.flows)))

    def ends(
        self, subgraph: Subgraph, sites: Mapping[str, _Site]
    ) -> tuple[dict[str, list[_End]], dict[str, _End]]:
        """Where the ports of a body lead to."""
        inputs: dict[str, list[_End]] = {}
        for port in subgraph.inputs:
            inputs.setdefault(port.name, []).extend(self._takers(sites[port.node], port.port))
        outputs: dict[str, _End] = {}
        for port in subgraph.outputs:
            outputs.setdefault(port.name, self._giver(sites[port.node], port.port))
        return inputs, outputs

    def _takers(self, site: _Site, port: str) -> Sequence[_End]:
        if site.inputs is None:
            return [(site.first, port or only(self.nodes[site.first].ports.inputs) or "value")]
        return site.inputs.get(port or next(iter(site.inputs), ""), ())

    def _giver(self, site: _Site, port: str) -> _End:
        if site.inputs is None:
            ports = self.nodes[site.first].ports
            name = port or only(ports.outputs) or "result"
            if ports.gives_any:
                self.asked.setdefault(site.first, {})[name] = None
            return site.first, name
        return site.outputs[port or next(iter(site.outputs))]

    def _add_edge(self, edge: Edge, source: _Site, target: _Site) -> None:
        on_error = edge.on_error or OnError.EMPTY
        if edge.is_order:
            for before in self._leaves(source):
                for after in self._roots(target):
                    self._add_flow(_Flow(before, edge.source_port, after, "", 0, True, on_error))
            return
        giver, port = self._giver(source, edge.source_port)
        for taker, name in self._takers(target, edge.target_port):
            self._add_flow(_Flow(giver, port, taker, name, edge.index, False, on_error))

    def _add_flow(self, flow: _Flow) -> None:
        if len(self.flows) >= EDGES_MOST:
            raise PlanTooLarge(f"written out, the canvas has more than {EDGES_MOST} edges")
        self.flows.append(flow)

    def _leaves(self, site: _Site) -> Sequence[int]:
        if not site.leaves:
            followed = {flow.source for flow in self.flows[slice(*site.flows)]}
            site.leaves = [number for number in range(site.first, site.last) if number not in followed]
        return site.leaves

    def _roots(self, site: _Site) -> Sequence[int]:
        if not site.roots:
            preceded = {flow.target for flow in self.flows[slice(*site.flows)]}
            site.roots = [number for number in range(site.first, site.last) if number not in preceded]
        return site.roots


class _Planner:
    def __init__(self, signatures: Signatures, operators: Catalogue, body_of: BodyOf, order: Order) -> None:
        self._signatures = signatures
        self._operators = operators
        self._body_of = body_of
        self._order = order
        self._bodies: dict[str, Body] = {}

    def graph(self, canvas: Canvas, digest: str) -> Graph:
        layout = _Layout(self._signatures)
        layout.add(canvas, "", ())
        return self._placed(layout, digest)[0]

    def _placed(self, layout: _Layout, digest: str) -> tuple[Graph, list[int]]:
        """The graph, and by index the rank of each node."""
        count = len(layout.nodes)
        successors: list[list[int]] = [[] for _ in range(count)]
        incoming: list[list[_Flow]] = [[] for _ in range(count)]
        is_sink = bytearray(b"\1") * count
        for flow in layout.flows:
            successors[flow.source].append(flow.target)
            incoming[flow.target].append(flow)
            if not flow.is_order:
                is_sink[flow.source] = 0
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
        flat: _Flat,
        rank: int,
        gradient: int,
        incoming: list[_Flow],
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
        layout = _Layout(self._signatures)
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


def _inputs(ports: Mapping[str, Port], incoming: list[_Flow], ranks: list[int]) -> tuple[InputEdge, ...]:
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
            ranks[flow.source],
            flow.source_port,
            flow.port,
            flow.is_order,
            flow.on_error,
            ports[flow.port].type if flow.port in ports else ANY,
        )
        for flow in incoming
    )


def _condition(work: ConditionWork) -> Condition:
    assert work.comparison is not None
    value = "" if work.value is msgspec.UNSET else json_text(work.value)
    return Condition(work.path, work.comparison, value)
