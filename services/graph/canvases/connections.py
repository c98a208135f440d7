"""What is wrong with the edges of a canvas and the ports that they join (S1.3). Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence

from services.graph.canvases.canvas import Edge, Node, Subgraph
from services.graph.canvases.drawings import Drawing
from services.graph.canvases.identifiers import is_name, is_port
from services.graph.canvases.operators import Port, Ports, Signatures, can_take, only
from services.graph.canvases.problems import Findings, Reason, shown, suggestion


class Connections:
    """Judges the edges of one drawing after the other; what it finds goes into `findings`."""

    def __init__(self, signatures: Signatures, findings: Findings) -> None:
        self._signatures = signatures
        self._findings = findings

    def check_edges(self, drawing: Drawing) -> None:
        """Edges, and inputs that none ends in."""
        ends: dict[tuple[str, str], list[Edge]] = {}
        ids = Counter(edge.id for edge in drawing.canvas.edges if edge.id)
        for edge in drawing.canvas.edges:
            if self._findings.is_full:
                return
            if edge.id and ids[edge.id] > 1:
                self._findings.add(
                    Reason.DUPLICATE_ID, f"{ids[edge.id]} edges have the id {shown(edge.id)!r}",
                    edge=drawing.path + shown(edge.id), field="id",
                    next_step="give each edge an id of its own, or none",
                )  # fmt: skip
                ids[edge.id] = 0
            port = self._check_edge(drawing, edge)
            if port:
                ends.setdefault((edge.target, port), []).append(edge)
        self._check_inputs(drawing, ends)

    def _check_edge(self, drawing: Drawing, edge: Edge) -> str:
        """The input that it ends in; empty: in none, or it is wrong."""
        at = drawing.path + shown(edge.name, 150)
        missing = [
            (end, id_)
            for end, id_ in (("source", edge.source), ("target", edge.target))
            if id_ not in drawing.nodes
        ]
        for end, id_ in missing:
            self._findings.add(
                Reason.DANGLING_EDGE, f"there is no node {shown(id_)!r}", edge=at, field=end,
                next_step=suggestion(id_, drawing.nodes, "remove the edge, or put the node back"),
            )  # fmt: skip
        if missing:
            return ""
        if edge.is_order:
            is_condition = bool(edge.source_port) and drawing.nodes[edge.source].branch is not None
            if is_condition and not edge.target_port:
                self._port(drawing, edge, drawing.nodes[edge.source], is_input=False)
            elif edge.source_port or edge.target_port:
                self._findings.add(
                    Reason.WITHOUT_EFFECT, "nothing flows along an order edge, so it has no ports", edge=at,
                    next_step="leave its ports empty, unless it comes from a branch's port; or make it a data edge",
                )  # fmt: skip
            return ""
        source, target = drawing.nodes[edge.source], drawing.nodes[edge.target]
        given = self._port(drawing, edge, source, is_input=False)
        taken = self._port(drawing, edge, target, is_input=True)
        if given is None or taken is None:
            return ""
        if not can_take(given.type, taken.type):
            self._findings.add(
                Reason.TYPE_MISMATCH,
                f"{shown(source.id)}.{shown(given.name)} gives {given.type}, "
                f"{shown(target.id)}.{shown(taken.name)} takes {taken.type}",
                node=drawing.at(target.id), port=taken.name, edge=at,
                next_step=f"put an operator between them that makes {taken.type} of {given.type}",
            )  # fmt: skip
        return taken.name

    def _port(self, drawing: Drawing, edge: Edge, node: Node, *, is_input: bool) -> Port | None:
        ports = self._signatures.of(node)
        side, is_open = (ports.inputs, ports.takes_any) if is_input else (ports.outputs, ports.gives_any)
        name = edge.target_port if is_input else edge.source_port
        found = side.get(name or only(side))
        if found is not None:
            return found
        word, field = ("input", "target_port") if is_input else ("output", "source_port")
        if is_open and (not name or (is_name(name) if is_input else is_port(name))):
            return Port(name or ("value" if is_input else "result"))
        at, listed = drawing.at(node.id), ", ".join(shown(each) for each in list(side)[:20]) or "none"
        message = (
            f"{shown(node.id)} has no {word} {shown(name)!r}"
            if name
            else f"{shown(node.id)} has {len(side)} {word}s, so the edge has to name one"
        )
        if is_open and is_input:
            message = f"an input cannot be called {shown(name)!r}"
            listed = "called by letters, digits, '_', '-' and '.', beginning with a letter or '_'"
        step = suggestion(name, side, f"its {word}s are: {listed}") if name else f"its {word}s are: {listed}"
        if not side and not is_open:
            message = (
                f"{shown(node.id)} has no {word}s, so nothing flows {'into' if is_input else 'out of'} it"
            )
            step = "give the edge the kind order if the one only waits for the other"
        self._findings.add(
            Reason.UNKNOWN_PORT, message, node=at, port=name, edge=drawing.path + shown(edge.name, 150), field=field,
            next_step=step,
        )  # fmt: skip
        return None

    def _check_inputs(self, drawing: Drawing, ends: Mapping[tuple[str, str], Sequence[Edge]]) -> None:
        for node in drawing.nodes.values():
            ports = self._signatures.of(node)
            for port in ports.inputs.values():
                edges = ends.get((node.id, port.name), ())
                is_fed = self._is_fed(drawing, node, port, ports)
                if port.required and not edges and not is_fed:
                    self._findings.add(
                        Reason.MISSING_INPUT, f"nothing is connected to input {shown(port.name)!r}",
                        node=drawing.at(node.id), port=port.name,
                        next_step=f"connect an output that gives {port.type}",
                    )  # fmt: skip
        for (node_id, name), edges in ends.items():
            port = self._signatures.of(drawing.nodes[node_id]).inputs.get(name) or Port(name)
            count = len(edges) + self._is_fed(
                drawing, drawing.nodes[node_id], port, self._signatures.of(drawing.nodes[node_id])
            )
            if count > 1 and port.type not in ("json", "any"):
                self._findings.add(
                    Reason.TOO_MANY_EDGES, f"{count} edges end in input {shown(name)!r}, which takes one {port.type}",
                    node=drawing.at(node_id), port=name, edge=drawing.path + shown(edges[-1].name, 150),
                    next_step="only inputs of JSON take several: they get a list",
                )  # fmt: skip

    def _is_fed(self, drawing: Drawing, node: Node, port: Port, ports: Ports) -> bool:
        """Whether an input of the body leads there."""
        if (node.id, port.name) in drawing.fed:
            return True
        return (node.id, "") in drawing.fed and only(ports.inputs) == port.name

    def check_body_ports(self, drawing: Drawing, subgraph: Subgraph) -> None:
        """Where the inputs and outputs of a body lead."""
        outputs = Counter(port.name for port in subgraph.outputs)
        for side, ports in (("input", subgraph.inputs), ("output", subgraph.outputs)):
            for port in ports:
                at = drawing.path.rstrip("/")
                if not is_port(port.name):
                    self._findings.add(
                        Reason.BAD_ID, f"{shown(port.name)!r} is no name of a port", node=at, port=port.name
                    )
                if side == "output" and outputs[port.name] > 1:
                    outputs[port.name] = 0
                    self._findings.add(
                        Reason.DUPLICATE_PORT, f"several outputs have the name {shown(port.name)!r}", node=at,
                        port=port.name,
                        next_step="give each output a name of its own",
                    )  # fmt: skip
                node = drawing.nodes.get(port.node)
                if node is None:
                    self._findings.add(
                        Reason.DANGLING_EDGE,
                        f"{side} {shown(port.name)!r} leads to a node {shown(port.node)!r} that is not there",
                        node=at, port=port.name,
                        next_step=suggestion(port.node, drawing.nodes, "choose a node of the body"),
                    )  # fmt: skip
                    continue
                inner = Edge(f"{side} {shown(port.name)}", port.node, port.port, port.node, port.port)
                self._port(drawing, inner, node, is_input=side == "input")
