"""Judges canvases (S1.3): everything that is wrong at once, each problem with its place and a next step.

Each body of a map, loop or sub-graph is looked at once, under the path of the first node that runs it. Nothing here is
recursive but in the depth of sub-graphs, which is bounded; all of it is linear in the size of the canvas, up to a
logarithm. Pure.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from services.graph import controls, param_problems
from services.graph.canvas import WORKS, Canvas, Edge, Node, Subgraph, body_of
from services.graph.identifiers import is_id, is_name, is_port
from services.graph.levels import find_cycle
from services.graph.model import EDGES_MOST, NODES_MOST, SUBGRAPH_DEPTH_MOST
from services.graph.operators import (
    PLACEHOLDER,
    Catalogue,
    Operator,
    Port,
    Ports,
    Signatures,
    can_take,
    is_own_code,
    only,
    split_name,
)
from services.graph.problems import Findings, Problem, Reason, shown, suggestion

CYCLES_MOST = 20
"""Of one canvas so many are told."""
Check = Callable[[Node], tuple[str, str] | None]
"""What is wrong with the settings that only the contract's messages know: field and message."""


def validate(canvas: Canvas, operators: Catalogue, check_settings: Check) -> tuple[Problem, ...]:
    """Everything that is wrong with the canvas; empty: it can be planned and run."""
    return _Validation(canvas, operators, check_settings).problems()


class _Scope:
    """One canvas of the whole: the drawing itself, or a body."""

    def __init__(self, canvas: Canvas, path: str, subgraph: Subgraph | None) -> None:
        self.canvas = canvas
        self.path = path
        self.nodes: dict[str, Node] = {}
        self.index: dict[str, int] = {}
        for number, node in enumerate(canvas.nodes):
            self.nodes.setdefault(node.id, node)
            self.index.setdefault(node.id, number)
        self.fed = {(port.node, port.port) for port in subgraph.inputs} if subgraph else set()
        self.subgraph = subgraph

    def at(self, node_id: str) -> str:
        return self.path + shown(node_id)


class _Validation:
    def __init__(self, canvas: Canvas, operators: Catalogue, check_settings: Check) -> None:
        self._canvas = canvas
        self._operators = operators
        self._check_settings = check_settings
        self._findings = Findings()
        self._signatures = Signatures(canvas, operators)
        self._names: list[str] = []

    def problems(self) -> tuple[Problem, ...]:
        """Looks at everything, the drawing first."""
        if not self._is_of_size():
            return self._findings.all()
        self._check_params()
        scopes = list(self._scopes())
        self._check_nesting()
        for scope in scopes:
            if self._findings.is_full:
                break
            self._check_nodes(scope)
            self._check_edges(scope)
            self._check_cycles(scope)
            if scope.subgraph is not None:
                self._check_body_ports(scope, scope.subgraph)
        return self._findings.all()

    def _is_of_size(self) -> bool:
        canvases = [self._canvas, *(subgraph.canvas for subgraph in self._signatures.subgraphs.values())]
        nodes = sum(len(canvas.nodes) for canvas in canvases)
        edges = sum(len(canvas.edges) for canvas in canvases)
        if nodes <= NODES_MOST and edges <= EDGES_MOST:
            return True
        what, count, most = (
            ("nodes", nodes, NODES_MOST) if nodes > NODES_MOST else ("edges", edges, EDGES_MOST)
        )
        self._findings.add(
            Reason.TOO_LARGE, f"the canvas has {count} {what}, and {most} are the most",
            next_step="divide it into several projects, or use a map instead of copies",
        )  # fmt: skip
        return False

    def _check_params(self) -> None:
        for name, param in self._canvas.params.items():
            for problem in param_problems.of_param(name, param):
                self._findings.extend([problem])

    def _scopes(self) -> Iterator[_Scope]:
        """The drawing, then each body, under the path of the first node that runs it; what nobody runs last."""
        subgraphs = self._signatures.subgraphs
        seen: set[str] = set()
        waiting = [_Scope(self._canvas, "", None)]
        for scope in waiting:
            yield scope
            for node in scope.canvas.nodes:
                name = body_of(node)
                if name and name in subgraphs and name not in seen:
                    seen.add(name)
                    waiting.append(_Scope(subgraphs[name].canvas, f"{scope.at(node.id)}/", subgraphs[name]))
        for name, subgraph in subgraphs.items():
            if name not in seen:
                yield _Scope(subgraph.canvas, f"{shown(name)}/", subgraph)

    def _check_nesting(self) -> None:
        """Bodies that contain themselves, and bodies too deep within each other."""
        subgraphs = self._signatures.subgraphs
        names = list(subgraphs)
        place = {name: number for number, name in enumerate(names)}
        inner = [
            sorted(
                {place[name] for node in subgraphs[outer].canvas.nodes if (name := body_of(node)) in place}
            )
            for outer in names
        ]
        cycle = find_cycle(inner)
        if cycle:
            along = [names[number] for number in cycle]
            self._findings.add(
                Reason.RECURSIVE_SUBGRAPH,
                f"sub-graph {shown(along[0])!r} contains itself: {_chain(along)}", nodes=along[:100],
                next_step="a loop node repeats a body; take the sub-graph out of itself",
            )  # fmt: skip
            return
        if _depth(inner) > SUBGRAPH_DEPTH_MOST:
            self._findings.add(
                Reason.TOO_DEEP, f"sub-graphs lie more than {SUBGRAPH_DEPTH_MOST} deep within each other"
            )

    def _check_nodes(self, scope: _Scope) -> None:
        counts = Counter(node.id for node in scope.canvas.nodes)
        for number, node in enumerate(scope.canvas.nodes):
            if self._findings.is_full:
                return
            if not is_id(node.id):
                self._findings.add(
                    Reason.BAD_ID, f"{shown(node.id)!r} is no id of a node", node=scope.at(node.id),
                    field=f"nodes[{number}].id",
                    next_step="use 1 to 100 letters, digits, '_', '-' and '.', beginning with a letter or digit",
                )  # fmt: skip
            elif counts[node.id] > 1 and scope.index[node.id] == number:
                self._findings.add(
                    Reason.DUPLICATE_ID, f"{counts[node.id]} nodes have the id {node.id!r}", node=scope.at(node.id),
                    field="id", next_step="give each node an id of its own",
                )  # fmt: skip
            self._check_node(scope, node)

    def _check_node(self, scope: _Scope, node: Node) -> None:
        at = scope.at(node.id)
        works = node.works
        if len(works) != 1:
            reason = Reason.SEVERAL_WORKS if works else Reason.NO_WORK
            message = (
                f"the node is {' and '.join(works)} at once" if works else "it is not said what the node does"
            )
            self._findings.add(reason, message, node=at, next_step=f"set one of {', '.join(WORKS)}")
            return
        operator = self._operator(at, node) if node.operator else None
        self._findings.extend(controls.of_node(at, node, self._signatures))
        schema = operator.schema if operator else None
        self._findings.extend(param_problems.of_node(at, node, schema, self._canvas.params))
        wrong = self._check_settings(node)
        if wrong is not None:
            self._findings.add(Reason.BAD_SETTING, wrong[1], node=at, field=wrong[0])

    def _operator(self, at: str, node: Node) -> Operator | None:
        name, version = split_name(node.operator)
        if name.startswith(PLACEHOLDER):
            self._findings.add(
                Reason.PLACEHOLDER, f"{shown(name.removeprefix(PLACEHOLDER))!r} of another tool has no operator here",
                node=at, field="operator", next_step="choose an operator that does the same: yard operators ls",
            )  # fmt: skip
            return None
        known = self._operators.get(name)
        if known is None:
            if not (is_own_code(name) and (node.bundle_digest or node.environment)):
                self._unknown_operator(at, name)
            return None
        if version and version != known.version:
            offered = f"{name}@{known.version}" if known.version else name
            self._findings.add(
                Reason.UNKNOWN_VERSION, f"no agent offers version {shown(version)!r} of {name}", node=at,
                field="operator",
                next_step=f"the agents have {offered}",
            )  # fmt: skip
        return known

    def _unknown_operator(self, at: str, name: str) -> None:
        if is_own_code(name):
            step = "give the node a bundle_digest or an environment that the function is in"
        else:
            step = suggestion(name, self._operators, "yard operators ls shows what the agents offer")
        self._findings.add(
            Reason.UNKNOWN_OPERATOR, f"no agent offers an operator {shown(name)!r}", node=at, field="operator",
            next_step=step,
        )  # fmt: skip

    def _check_edges(self, scope: _Scope) -> None:
        ends: dict[tuple[str, str], list[Edge]] = {}
        ids = Counter(edge.id for edge in scope.canvas.edges if edge.id)
        for edge in scope.canvas.edges:
            if self._findings.is_full:
                return
            if edge.id and ids[edge.id] > 1:
                self._findings.add(
                    Reason.DUPLICATE_ID, f"{ids[edge.id]} edges have the id {shown(edge.id)!r}",
                    edge=scope.path + shown(edge.id), field="id", next_step="give each edge an id of its own, or none",
                )  # fmt: skip
                ids[edge.id] = 0
            port = self._check_edge(scope, edge)
            if port:
                ends.setdefault((edge.target, port), []).append(edge)
        self._check_inputs(scope, ends)

    def _check_edge(self, scope: _Scope, edge: Edge) -> str:
        """The input that it ends in; empty: in none, or it is wrong."""
        at = scope.path + shown(edge.name, 150)
        missing = [
            (end, id_)
            for end, id_ in (("source", edge.source), ("target", edge.target))
            if id_ not in scope.nodes
        ]
        for end, id_ in missing:
            self._findings.add(
                Reason.DANGLING_EDGE, f"there is no node {shown(id_)!r}", edge=at, field=end,
                next_step=suggestion(id_, scope.nodes, "remove the edge, or put the node back"),
            )  # fmt: skip
        if missing:
            return ""
        if edge.is_order:
            is_condition = bool(edge.source_port) and scope.nodes[edge.source].branch is not None
            if is_condition and not edge.target_port:
                self._port(scope, edge, scope.nodes[edge.source], is_input=False)
            elif edge.source_port or edge.target_port:
                self._findings.add(
                    Reason.WITHOUT_EFFECT, "nothing flows along an order edge, so it has no ports", edge=at,
                    next_step="leave its ports empty, unless it comes from a branch's port; or make it a data edge",
                )  # fmt: skip
            return ""
        source, target = scope.nodes[edge.source], scope.nodes[edge.target]
        given = self._port(scope, edge, source, is_input=False)
        taken = self._port(scope, edge, target, is_input=True)
        if given is None or taken is None:
            return ""
        if not can_take(given.type, taken.type):
            self._findings.add(
                Reason.TYPE_MISMATCH,
                f"{shown(source.id)}.{shown(given.name)} gives {given.type}, "
                f"{shown(target.id)}.{shown(taken.name)} takes {taken.type}",
                node=scope.at(target.id), port=taken.name, edge=at,
                next_step=f"put an operator between them that makes {taken.type} of {given.type}",
            )  # fmt: skip
        return taken.name

    def _port(self, scope: _Scope, edge: Edge, node: Node, *, is_input: bool) -> Port | None:
        ports = self._signatures.of(node)
        side, is_open = (ports.inputs, ports.takes_any) if is_input else (ports.outputs, ports.gives_any)
        name = edge.target_port if is_input else edge.source_port
        found = side.get(name or only(side))
        if found is not None:
            return found
        word, field = ("input", "target_port") if is_input else ("output", "source_port")
        if is_open and (not name or (is_name(name) if is_input else is_port(name))):
            return Port(name or ("value" if is_input else "result"))
        at, listed = scope.at(node.id), ", ".join(shown(each) for each in list(side)[:20]) or "none"
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
            Reason.UNKNOWN_PORT, message, node=at, port=name, edge=scope.path + shown(edge.name, 150), field=field,
            next_step=step,
        )  # fmt: skip
        return None

    def _check_inputs(self, scope: _Scope, ends: Mapping[tuple[str, str], Sequence[Edge]]) -> None:
        for node in scope.nodes.values():
            ports = self._signatures.of(node)
            for port in ports.inputs.values():
                edges = ends.get((node.id, port.name), ())
                is_fed = self._is_fed(scope, node, port, ports)
                if port.required and not edges and not is_fed:
                    self._findings.add(
                        Reason.MISSING_INPUT, f"nothing is connected to input {shown(port.name)!r}",
                        node=scope.at(node.id), port=port.name,
                        next_step=f"connect an output that gives {port.type}",
                    )  # fmt: skip
        for (node_id, name), edges in ends.items():
            port = self._signatures.of(scope.nodes[node_id]).inputs.get(name) or Port(name)
            count = len(edges) + self._is_fed(
                scope, scope.nodes[node_id], port, self._signatures.of(scope.nodes[node_id])
            )
            if count > 1 and port.type not in ("json", "any"):
                self._findings.add(
                    Reason.TOO_MANY_EDGES, f"{count} edges end in input {shown(name)!r}, which takes one {port.type}",
                    node=scope.at(node_id), port=name, edge=scope.path + shown(edges[-1].name, 150),
                    next_step="only inputs of JSON take several: they get a list",
                )  # fmt: skip

    def _is_fed(self, scope: _Scope, node: Node, port: Port, ports: Ports) -> bool:
        """Whether an input of the body leads there."""
        if (node.id, port.name) in scope.fed:
            return True
        return (node.id, "") in scope.fed and only(ports.inputs) == port.name

    def _check_cycles(self, scope: _Scope) -> None:
        successors: list[list[int]] = [[] for _ in scope.canvas.nodes]
        for edge in scope.canvas.edges:
            source, target = scope.index.get(edge.source), scope.index.get(edge.target)
            if source is not None and target is not None:
                successors[source].append(target)
        for _ in range(CYCLES_MOST):
            cycle = find_cycle(successors)
            if not cycle:
                return
            along = [scope.canvas.nodes[number].id for number in cycle]
            self._findings.add(
                Reason.CYCLE, f"the nodes wait for each other: {_chain(along)}", node=scope.at(along[0]),
                nodes=[scope.at(each) for each in along[:1_000]],
                next_step="remove one of the edges between them; a loop node repeats a body",
            )  # fmt: skip
            for number in cycle:
                successors[number] = []

    def _check_body_ports(self, scope: _Scope, subgraph: Subgraph) -> None:
        outputs = Counter(port.name for port in subgraph.outputs)
        for side, ports in (("input", subgraph.inputs), ("output", subgraph.outputs)):
            for port in ports:
                at = scope.path.rstrip("/")
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
                node = scope.nodes.get(port.node)
                if node is None:
                    self._findings.add(
                        Reason.DANGLING_EDGE,
                        f"{side} {shown(port.name)!r} leads to a node {shown(port.node)!r} that is not there",
                        node=at, port=port.name,
                        next_step=suggestion(port.node, scope.nodes, "choose a node of the body"),
                    )  # fmt: skip
                    continue
                inner = Edge(f"{side} {shown(port.name)}", port.node, port.port, port.node, port.port)
                self._port(scope, inner, node, is_input=side == "input")


def _chain(names: Sequence[str]) -> str:
    listed = [shown(name) for name in names[:10]]
    more = f" → … {len(names) - 10} more …" if len(names) > 10 else ""
    return " → ".join(listed) + more + f" → {listed[0]}"


def _depth(inner: Sequence[Sequence[int]]) -> int:
    """How deep the bodies lie: the longest chain, of a graph without cycles."""
    depth = [1] * len(inner)
    unmet = [0] * len(inner)
    for within in inner:
        for number in within:
            unmet[number] += 1
    ready = [number for number, count in enumerate(unmet) if not count]
    for number in ready:
        for within_ in inner[number]:
            depth[within_] = max(depth[within_], depth[number] + 1)
            unmet[within_] -= 1
            if not unmet[within_]:
                ready.append(within_)
    return max(depth, default=0)
