"""Canvases and operators for tests of the pure part."""

from __future__ import annotations

import json
from typing import Any

from services.graph.canvases import document
from services.graph.canvases.canvas import Canvas, Node
from services.graph.canvases.operators import Operator, Port
from services.graph.canvases.planning import plan
from services.graph.canvases.problems import Problem
from services.graph.canvases.validation import validate
from services.graph.convert.work import Bodies, SettingInvalid
from services.graph.model import Graph, Order

RESIZE = {
    "title": "resize",
    "type": "object",
    "additionalProperties": False,
    "required": ["w"],
    "properties": {
        "w": {"type": "integer", "minimum": 1, "maximum": 4096},
        "mode": {"enum": ["fit", "fill"]},
    },
}
OPERATORS = {
    each.name: each
    for each in (
        Operator(
            "load", "1", None, (), (Port("image", "file"), Port("meta", "json")), ("n0",), code_digest="c1"
        ),
        Operator(
            "resize", "2", RESIZE, (Port("image", "file", True),), (Port("image", "file"),), code_digest="c2"
        ),
        Operator("noop", "1", None, (Port("value", "json"),), (Port("result", "json"),), code_digest="c3"),
        Operator(
            "both",
            "1",
            None,
            (Port("left", "json", True), Port("right", "json", True)),
            (Port("result", "json"),),
        ),
        Operator("read", "1", None, (Port("text", "text", True),), (Port("result", "text"),)),
        Operator("notify", "1", None, (Port("value", "json"),), (Port("result", "json"),), has_effects=True),
    )
}
BODIES = Bodies()


def check(node: Node) -> tuple[str, str] | None:
    """As the service checks settings."""
    if node.operator or node.command is not None:
        try:
            BODIES(node)
        except SettingInvalid as error:
            return error.field, str(error)
    return None


def canvas_of(nodes: Any = (), edges: Any = (), **more: Any) -> Canvas:
    """The canvas of plain objects; a node may be "id", which is a noop, an edge "a->b"."""
    plain = [{"id": node, "operator": "noop"} if isinstance(node, str) else node for node in nodes]
    ends = [
        dict(zip(("source", "target"), edge.split("->"), strict=True)) if isinstance(edge, str) else edge
        for edge in edges
    ]
    canvas, problems = document.read(json.dumps({"nodes": plain, "edges": ends, **more}))
    assert not problems, problems
    return canvas


def problems_of(canvas: Canvas) -> list[Problem]:
    """Everything that is wrong with it."""
    return list(validate(canvas, OPERATORS, check))


def told(canvas: Canvas) -> list[tuple[str, str]]:
    """Reason and place of each problem."""
    return [
        (problem.reason.value, problem.node or problem.edge or problem.field)
        for problem in problems_of(canvas)
    ]


def planned(canvas: Canvas, order: Order = Order.LEVELS) -> Graph:
    """The graph of a canvas that must be valid."""
    assert problems_of(canvas) == []
    return plan(canvas, "digest", OPERATORS, BODIES, order)


def ids(graph: Graph) -> list[str]:
    """In the total order."""
    return [node.id for node in graph.nodes]


BODY = {
    "canvas": {
        "nodes": [{"id": "x", "operator": "noop"}, {"id": "y", "operator": "noop"}],
        "edges": [{"source": "x", "target": "y"}],
    },
    "inputs": [{"name": "in", "node": "x", "port": "value"}],
    "outputs": [{"name": "out", "node": "y", "port": "result"}],
}
"""A chain of two as a sub-graph."""
