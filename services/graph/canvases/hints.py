"""What of a canvas was perhaps meant otherwise: told beside the problems, and no problem.

What is not known of a document is kept, so a field that is written otherwise than it is spelt has no effect and is
never refused. Where its name is near to a known one, or is what the contract or another tool calls it, this says so.
Pure.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.nearest import nearest
from services.graph.canvases.canvas import Canvas, Edge, Group, Node, Param, Position, Subgraph
from services.graph.canvases.document import FIELDS
from services.graph.canvases.problems import Findings, Problem, Reason, shown

_NEAR = 0.8
"""How much of a name has to agree."""
_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_OTHERWISE: Mapping[type, Mapping[str, str]] = {
    Node: {
        "timeout": "timeout_s", "params": "initial_params", "parameters": "initial_params", "args": "initial_params",
        "x": "position", "y": "position", "pos": "position", "type": "operator", "op": "operator",
        "retries": "retry", "inputs": "edges of the canvas", "depends_on": "edges of the canvas",
    },
    Edge: {
        "from": "source", "to": "target", "from_port": "source_port", "to_port": "target_port",
        "source_handle": "source_port", "target_handle": "target_port", "order": "kind",
    },
    Canvas: {"links": "edges", "connections": "edges", "parameters": "params"},
    Subgraph: {"nodes": "canvas.nodes", "edges": "canvas.edges"},
}  # fmt: skip
"""How else what is known is called, where the names alone do not tell."""


def hints(canvas: Canvas) -> tuple[Problem, ...]:
    """What was perhaps meant otherwise, in the order of the canvas; bounded as problems are."""
    findings = Findings()
    bodies: dict[str, Subgraph] = {}
    drawings = [*_drawings(canvas)]
    for _, drawing in drawings:
        bodies = {**drawing.subgraphs, **bodies}
    for path, drawing in drawings:
        _of_drawing(findings, drawing, path)
        for node in drawing.nodes:
            body = bodies.get(node.loop.subgraph) if node.loop is not None else None
            if body is not None:
                _of_loop(findings, path + node.id, body)
    return findings.all()


def _of_loop(findings: Findings, at: str, body: Subgraph) -> None:
    inputs, outputs = {port.name for port in body.inputs}, {port.name for port in body.outputs}
    if inputs and not inputs & outputs:
        findings.add(
            Reason.NOTHING_FLOWS, "no output of the body has the name of an input: each round gets the same", node=at,
            field="loop.subgraph", next_step=f"give an output one of these names: {', '.join(sorted(inputs)[:20])}",
        )  # fmt: skip


def meant(kind: type, field: str) -> str:
    """The field that this one was perhaps meant to be; empty: it means nothing to us."""
    known = FIELDS[kind]
    plain = _CAMEL.sub(r"_\1", field[:100]).replace("-", "_").replace(" ", "_").lower()
    for spelling in (plain, re.sub("_(json|ns|ms|s|seconds)$", "", plain)):
        if spelling in known:
            return spelling
        if spelling in _OTHERWISE.get(kind, {}):
            return _OTHERWISE[kind][spelling]
    return nearest(plain, sorted(known), _NEAR)


def _drawings(canvas: Canvas) -> Iterator[tuple[str, Canvas]]:
    """The drawing itself, then each body, by its path."""
    waiting = [("", canvas)]
    for path, drawing in waiting:
        yield path, drawing
        waiting += [(f"{path}{name}/", body.canvas) for name, body in drawing.subgraphs.items()]


def _of_drawing(findings: Findings, drawing: Canvas, path: str) -> None:
    at = path.rstrip("/")
    _tell(findings, Canvas, drawing.extra, node=at)
    for node in drawing.nodes:
        if node.extra:
            _tell(findings, Node, node.extra, node=path + node.id)
        if node.position is not None and node.position.extra:
            _tell(findings, Position, node.position.extra, node=path + node.id, within="position.")
    mute = {node.id for node in drawing.nodes if node.command is not None and not node.command.outputs}
    for edge in drawing.edges:
        if edge.extra:
            _tell(findings, Edge, edge.extra, edge=path + edge.name)
        if edge.source in mute and not edge.is_order:
            _of_mute(findings, edge, path)
    for name, param in drawing.params.items():
        _tell(findings, Param, param.extra, node=at, within=f"params.{shown(name)}.")
    for number, group in enumerate(drawing.groups):
        _tell(findings, Group, group.extra, node=at, within=f"groups[{number}].")
    for name, body in drawing.subgraphs.items():
        _tell(findings, Subgraph, body.extra, node=path + name)


def _of_mute(findings: Findings, edge: Edge, path: str) -> None:
    findings.add(
        Reason.NOTHING_FLOWS, f"the command of {shown(edge.source)!r} has no outputs, so nothing flows here",
        node=path + edge.source, edge=path + edge.name, field="command.outputs",
        next_step='name the files that it writes ("outputs": {"table": "out/table.csv"}), make this an edge of kind '
        '"order", or let the operator shell.run give what the command prints',
    )  # fmt: skip


def _tell(
    findings: Findings, kind: type, extra: Mapping[str, Any], node: str = "", edge: str = "", within: str = ""
) -> None:
    for field in extra:
        likely = meant(kind, field)
        if likely:
            findings.add(
                Reason.UNKNOWN_FIELD, f"the field {shown(field)!r} is not known: it is kept, and has no effect",
                node=node, edge=edge, field=within + field, next_step=f"did you mean {likely!r}?",
            )  # fmt: skip
