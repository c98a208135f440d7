"""Judges canvases (S1.3): everything that is wrong at once, each problem with its place and a next step.

Each body of a map, loop or sub-graph is looked at once, under the path of the first node that runs it. Nothing here is
recursive but in the depth of sub-graphs, which is bounded; all of it is linear in the size of the canvas, up to a
logarithm. Pure.
"""

from collections import Counter
from collections.abc import Callable

from services.graph.canvases import controls, param_problems
from services.graph.canvases.canvas import WORKS, Canvas, Node
from services.graph.canvases.circles import check_cycles, check_nesting
from services.graph.canvases.connections import Connections
from services.graph.canvases.drawings import Drawing, drawings_of
from services.graph.canvases.identifiers import is_id
from services.graph.canvases.operators import (
    PLACEHOLDER,
    Catalogue,
    Operator,
    Signatures,
    is_own_code,
    split_name,
)
from services.graph.canvases.problems import Findings, Problem, Reason, shown, suggestion
from services.graph.model import EDGES_MOST, NODES_MOST

Check = Callable[[Node], tuple[str, str] | None]
"""What is wrong with the settings that only the contract's messages know: field and message."""


def validate(canvas: Canvas, operators: Catalogue, check_settings: Check) -> tuple[Problem, ...]:
    """Everything that is wrong with the canvas; empty: it can be planned and run."""
    return _Validation(canvas, operators, check_settings).problems()


class _Validation:
    def __init__(self, canvas: Canvas, operators: Catalogue, check_settings: Check) -> None:
        self._canvas = canvas
        self._operators = operators
        self._check_settings = check_settings
        self._findings = Findings()
        self._signatures = Signatures(canvas, operators)

    def problems(self) -> tuple[Problem, ...]:
        """Looks at everything, the drawing first."""
        if not self._is_of_size():
            return self._findings.all()
        subgraphs, connections = self._signatures.subgraphs, Connections(self._signatures, self._findings)
        self._check_params()
        drawings = list(drawings_of(self._canvas, subgraphs))
        check_nesting(subgraphs, self._findings)
        for drawing in drawings:
            if self._findings.is_full:
                break
            self._check_nodes(drawing)
            connections.check_edges(drawing)
            check_cycles(drawing, self._findings)
            if drawing.subgraph is not None:
                connections.check_body_ports(drawing, drawing.subgraph)
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

    def _check_nodes(self, drawing: Drawing) -> None:
        counts = Counter(node.id for node in drawing.canvas.nodes)
        for number, node in enumerate(drawing.canvas.nodes):
            if self._findings.is_full:
                return
            if not is_id(node.id):
                self._findings.add(
                    Reason.BAD_ID, f"{shown(node.id)!r} is no id of a node", node=drawing.at(node.id),
                    field=f"nodes[{number}].id",
                    next_step="use 1 to 100 letters, digits, '_', '-' and '.', beginning with a letter or digit",
                )  # fmt: skip
            elif counts[node.id] > 1 and drawing.index[node.id] == number:
                self._findings.add(
                    Reason.DUPLICATE_ID, f"{counts[node.id]} nodes have the id {node.id!r}", node=drawing.at(node.id),
                    field="id", next_step="give each node an id of its own",
                )  # fmt: skip
            self._check_node(drawing, node)

    def _check_node(self, drawing: Drawing, node: Node) -> None:
        at = drawing.at(node.id)
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
