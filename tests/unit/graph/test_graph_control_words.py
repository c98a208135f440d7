"""Control nodes before they run, in words; what they took; how they are drawn."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.v1 import canvas_pb2
from services.graph.canvases.control_words import described
from services.graph.canvases.hints import hints
from services.graph.canvases.picture import draw
from services.graph.convert.picture import picture_node, planned_nodes
from services.graph.runs.values import Detail, End
from services.graph.telling.measured import measures
from tests.support.canvases import BODY, canvas_of, planned, problems_of

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


def problems(work: dict[str, Any], **more: Any) -> list[tuple[str, str]]:
    canvas = canvas_of([{"id": "c", **work}], subgraphs={"sub": BODY}, **more)
    found = problems_of(canvas)
    assert all(problem.next_step or problem.reason.value == "MISSING_INPUT" for problem in found)
    return [
        (problem.reason.value, problem.field) for problem in found if problem.reason.value != "MISSING_INPUT"
    ]


def test_settings_of_control_nodes_that_make_no_sense_are_told_with_a_next_step() -> None:  # S1.3
    assert problems({"gate": {"approvers": ["ann", " ", "a\nb"]}, "timeout_s": -1}) == [
        ("BAD_SETTING", "gate.approvers[1]"),
        ("BAD_SETTING", "gate.approvers[2]"),
        ("OUT_OF_RANGE", "timeout_s"),
    ]
    less = {"port": "p", "condition": {"comparison": "less", "value": [1]}}
    assert problems({"branch": {"cases": [less]}}) == [("BAD_SETTING", "branch.cases[0].condition.value")]
    assert problems(
        {"map": {"subgraph": "sub", "max_parallel": -1, "batch_size": -1, "min_success_ratio": 2}}
    ) == [
        ("OUT_OF_RANGE", "map.max_parallel"),
        ("OUT_OF_RANGE", "map.batch_size"),
        ("OUT_OF_RANGE", "map.min_success_ratio"),
    ]
    assert problems({"loop": {"subgraph": "sub"}}) == [("OUT_OF_RANGE", "loop.max_iterations")]


def test_loop_that_carries_nothing_from_round_to_round_is_hinted_at() -> None:
    loop = {"id": "l", "loop": {"subgraph": "sub", "max_iterations": 3}}
    [hint] = hints(canvas_of([loop], subgraphs={"sub": BODY}))
    assert (hint.node, hint.field) == ("l", "loop.subgraph") and "each round gets the same" in hint.message
    carries = {**BODY, "outputs": [{"name": "in", "node": "y", "port": "result"}]}
    assert hints(canvas_of([loop], subgraphs={"sub": carries})) == ()
