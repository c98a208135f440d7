"""Control nodes before they run, in words; what they took; how they are drawn."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.v1 import canvas_pb2
from services.graph.control_words import described
from services.graph.convert.picture import picture_node, planned_nodes
from services.graph.measured import measures
from services.graph.picture import draw
from services.graph.values import Detail, End
from tests.support.canvases import BODY, canvas_of, planned

CASES: list[tuple[dict[str, Any], str]] = [
    (
        {"branch": {"cases": [
            {"port": "long", "condition": {"path": "words", "comparison": "greater", "value": 5}},
            {"port": "any", "condition": {"comparison": "exists"}},
        ]}},
        "long if words > 5, any if the value exists, else else",
    ),
    ({"map": {"subgraph": "sub"}}, "executes x, y for each item"),
    (
        {"map": {"subgraph": "sub", "batch_size": 10, "max_parallel": 4, "min_success_ratio": 0.9}},
        "executes x, y for each 10 items, at most 4 at a time, 90% of them must succeed",
    ),
    (
        {"loop": {"subgraph": "sub", "max_iterations": 1000, "until": {"comparison": "in", "value": [1]}}},
        "executes x, y until out: the value in [1], at most 1,000 times",
    ),
    ({"gate": {"message": "?", "approvers": ["ann", "bob"]}}, "waits for ann or bob to approve"),
    ({"gate": {}}, "waits for whoever may run the project to approve"),
    ({"operator": "noop"}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("work", "words"), CASES)
def test_control_node_is_described(work: dict[str, Any], words: str) -> None:  # S1.3
    port = "items" if "map" in work else "in" if "loop" in work else "value"
    canvas = canvas_of(
        ["s", {"id": "c", **work}],
        [{"source": "s", "target": "c", "target_port": port}],
        subgraphs={"sub": BODY},
    )
    graph = planned(canvas)
    assert described(graph.nodes[1]) == words
    [_, drawn] = planned_nodes(graph)
    assert (drawn.note, drawn.is_control) == (words, bool(words))


def test_map_is_expected_to_take_what_it_took_from_its_start_to_its_end() -> None:
    nodes = ["s", {"id": "m", "map": {"subgraph": "sub"}}]
    edges = [{"source": "s", "target": "m", "target_port": "items"}]
    graph = planned(canvas_of(nodes, edges, subgraphs={"sub": BODY}))
    took = End(Detail.COMPUTED, start_ms=1_000, end_ms=4_000)
    kept = End(Detail.COMPUTED, start_ms=1_000, end_ms=9_000, reason="kept from r-1")
    [_, measure] = measures(graph, [(2, graph, [(1, kept)]), (1, graph, [(1, took)])])
    assert (measure.seconds, measure.runs) == (3.0, (1,))


def test_picture_of_a_run_says_what_control_nodes_have_come_to() -> None:
    running = canvas_pb2.ExecutionNode(node_id="m", detail=canvas_pb2.EXECUTION_DETAIL_RUNNING)
    running.operator_address.operator = "map"
    running.progress.ratio, running.progress.message = 0.51, "512 of 1,000 items"
    gate = canvas_pb2.ExecutionNode(
        node_id="g", order=1, detail=canvas_pb2.EXECUTION_DETAIL_COMPUTED, note="approved by ann"
    )
    gate.operator_address.operator = "gate"
    gate.gate.message = "go on?"
    svg = draw("r-1", [picture_node(running), picture_node(gate)])
    assert "running 51%" in svg and "map: 512 of" in svg
    assert "go on?" in svg and "gate: approved by ann" in svg
    assert svg.count('rx="21"') == 2
