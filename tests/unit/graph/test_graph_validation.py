"""Validation: each thing that can be wrong, where it is, and all of it at once (S1.3)."""

from __future__ import annotations

from typing import Any

import pytest

from services.graph.canvases.problems import PROBLEMS_MOST, Reason
from tests.support.canvases import BODY, canvas_of, problems_of, told

LOAD = {"id": "l", "operator": "load"}


def resize(**fields: Any) -> dict[str, Any]:
    return {"id": "r", "operator": "resize@2", "initial_params": {"w": 5}, **fields}


def image(**fields: Any) -> dict[str, Any]:
    return {"id": "e", "source": "l", "source_port": "image", "target": "r", **fields}


def test_canvas_that_is_right_has_no_problems() -> None:
    canvas = canvas_of(
        [LOAD, resize(initial_params={"w": {"$param": "width"}}), {"id": "s", "subgraph": "body"}, "n"],
        [image(), {"source": "l", "source_port": "meta", "target": "s"}, {"source": "s", "target": "n"}],
        params={"width": {"schema": {"type": "integer"}, "default": 7}},
        subgraphs={"body": BODY},
    )
    assert problems_of(canvas) == []


@pytest.mark.parametrize(
    ("nodes", "edges", "expected"),
    [
        ([resize()], [], ("MISSING_INPUT", "r")),
        ([resize(initial_params={})], [], ("MISSING_PARAMETER", "r")),
        ([resize(initial_params={"w": 0})], [], ("OUT_OF_RANGE", "r")),
        ([resize(initial_params={"w": 5000})], [], ("OUT_OF_RANGE", "r")),
        ([resize(initial_params={"w": 5, "mode": "stretch"})], [], ("OUT_OF_RANGE", "r")),
        ([resize(initial_params={"w": "5"})], [], ("INVALID_PARAMETER", "r")),
        ([resize(initial_params={"w": 5, "h": 1})], [], ("UNKNOWN_PARAMETER", "r")),
        ([resize(initial_params={"w": {"$param": "nope"}})], [], ("UNKNOWN_PARAMETER", "r")),
        ([resize(operator="resise")], [], ("UNKNOWN_OPERATOR", "r")),
        ([resize(operator="my.module:function")], [], ("UNKNOWN_OPERATOR", "r")),
        ([resize(operator="resize@3")], [], ("UNKNOWN_VERSION", "r")),
        ([resize(operator="placeholder:KSampler")], [], ("PLACEHOLDER", "r")),
        ([resize(parameter_address="http://x/y")], [], ("BAD_ADDRESS", "r")),
        ([resize(parameter_address="project:p-1/1/../../x y")], [], ("BAD_ADDRESS", "r")),
        ([resize(retry={"max_atempts": 3})], [], ("BAD_SETTING", "r")),
        ([resize(timeout_s=-1.0)], [], ("BAD_SETTING", "r")),
        (["a", "a"], [], ("DUPLICATE_ID", "a")),
        (["a", "b"], [{"id": "e", "source": "a", "target": "b"}, {"id": "e", "source": "a", "target": "b"}],
         ("DUPLICATE_ID", "e")),
        (["a/b"], [], ("BAD_ID", "a/b")),
        ([".."], [], ("BAD_ID", "..")),
        ([{"operator": "noop"}], [], ("BAD_ID", "nodes[0].id")),
        (["a"], ["a->gone"], ("DANGLING_EDGE", "a->gone")),
        (["a"], ["gone->a"], ("DANGLING_EDGE", "gone->a")),
        (["a"], ["a->a"], ("CYCLE", "a")),
        ([LOAD, resize()], [image(source_port="picture")], ("UNKNOWN_PORT", "l")),
        ([LOAD, resize()], [image(source_port="")], ("UNKNOWN_PORT", "l")),
        ([LOAD, resize()], [image(target_port="img")], ("UNKNOWN_PORT", "r")),
        ([LOAD, "n"], [{"source": "l", "source_port": "image", "target": "n"}], ("TYPE_MISMATCH", "n")),
        ([LOAD, resize()], [image(), image(id="f")], ("TOO_MANY_EDGES", "r")),
        (["a", "b"], [{"source": "a", "target": "b", "kind": "order", "target_port": "value"}],
         ("WITHOUT_EFFECT", "a.->b.value")),
        ([{"id": "a"}], [], ("NO_WORK", "a")),
        ([{"id": "a", "operator": "noop", "gate": {}}], [], ("SEVERAL_WORKS", "a")),
        ([{"id": "a", "subgraph": "gone"}], [], ("UNKNOWN_SUBGRAPH", "a")),
        ([{"id": "a", "subgraph": "body", "record": True}], [], ("WITHOUT_EFFECT", "a")),
        ([{"id": "a", "gate": {}, "initial_params": {"x": 1}}], [], ("WITHOUT_EFFECT", "a")),
        ([{"id": "a", "command": {"argv": []}}], [], ("NO_WORK", "a")),
        ([{"id": "a", "command": {"argv": ["x"], "outputs": {"o": "../x"}}}], [], ("BAD_SETTING", "a")),
        ([{"id": "a", "command": {"argv": ["x"], "outputs": {"o": "/etc/passwd"}}}], [], ("BAD_SETTING", "a")),
        ([{"id": "a", "command": {"argv": ["x"], "outputs": {"a/b": "x"}}}], [], ("BAD_ID", "a")),
        ([{"id": "a", "branch": {"cases": []}}], [], ("NO_WORK", "a")),
        ([{"id": "a", "branch": {"cases": [{"port": "p", "condition": {"comparison": "less"}}]}}], [],
         ("BAD_SETTING", "a")),
        ([{"id": "a", "branch": {"cases": [{"port": "else", "condition": {"comparison": "exists"}}]}}], [],
         ("DUPLICATE_PORT", "a")),
        ([{"id": "a", "map": {"subgraph": "body", "max_parallel": -1}}], [], ("OUT_OF_RANGE", "a")),
        ([{"id": "a", "map": {"subgraph": "body", "item_port": "inn"}}], [], ("UNKNOWN_PORT", "a")),
        ([{"id": "a", "map": {"subgraph": "body", "min_success_ratio": 2.0}}], [], ("OUT_OF_RANGE", "a")),
        ([{"id": "a", "loop": {"subgraph": "body"}}], [], ("OUT_OF_RANGE", "a")),
        ([{"id": "a", "loop": {"subgraph": "body", "max_iterations": 3, "until_port": "x",
                               "until": {"comparison": "exists"}}}], [], ("UNKNOWN_PORT", "a")),
    ],
)  # fmt: skip
def test_problem_is_told_with_its_reason_and_place(nodes: Any, edges: Any, expected: tuple[str, str]) -> None:
    canvas = canvas_of(nodes, edges, subgraphs={"body": BODY})
    found = problems_of(canvas)
    at = {
        (problem.reason.value, place)
        for problem in found
        for place in (problem.node, problem.edge, problem.field)
    }
    if expected[1] == "a.->b.value":
        expected = (expected[0], "a->b.value")
    assert expected in at, found


def test_every_problem_that_can_be_helped_has_a_next_step() -> None:
    canvas = canvas_of(
        [LOAD, resize(operator="resise"), {"id": "s", "subgraph": "bdy"}], [image(source_port="imag"), "l->lx"],
        subgraphs={"body": BODY},
    )  # fmt: skip
    steps = {problem.reason.value: problem.next_step for problem in problems_of(canvas)}
    assert steps["UNKNOWN_OPERATOR"] == "did you mean 'resize'?"
    assert steps["UNKNOWN_SUBGRAPH"] == "did you mean 'body'?"
    assert steps["UNKNOWN_PORT"] == "did you mean 'image'?"
    assert steps["DANGLING_EDGE"]


def test_everything_is_told_at_once() -> None:  # S1.3
    canvas = canvas_of(
        ["a", "a", "b", {"id": "u", "operator": "unknown"}, resize(initial_params={"w": 0, "x": 1})],
        ["a->b", "b->a", "b->gone"],
    )
    assert sorted(told(canvas)) == [
        ("CYCLE", "a"),
        ("DANGLING_EDGE", "b->gone"),
        ("DUPLICATE_ID", "a"),
        ("MISSING_INPUT", "r"),
        ("OUT_OF_RANGE", "r"),
        ("UNKNOWN_OPERATOR", "u"),
        ("UNKNOWN_PARAMETER", "r"),
    ]


def test_cycle_is_told_with_its_nodes_in_order_each_cycle_once() -> None:
    canvas = canvas_of("abcdef", ["a->b", "b->c", "c->a", "d->e", "e->d", "c->f"])
    cycles = [problem.nodes for problem in problems_of(canvas) if problem.reason is Reason.CYCLE]
    assert cycles == [("a", "b", "c"), ("d", "e")]


@pytest.mark.parametrize(
    ("given", "taken", "fits"),
    [
        ("json", "json", True), ("json", "text", True), ("json", "bytes", True), ("json", "file", True),
        ("text", "json", False), ("text", "text", True), ("text", "bytes", True), ("text", "file", True),
        ("bytes", "json", False), ("bytes", "text", False), ("bytes", "file", True), ("file", "json", False),
        ("file", "text", True), ("file", "bytes", True), ("any", "json", True), ("file", "any", True),
    ],
)  # fmt: skip
def test_which_types_may_be_connected(given: str, taken: str, fits: bool) -> None:
    from services.graph.canvases.operators import can_take

    assert can_take(given, taken) is fits


def test_run_parameter_without_a_default_is_only_looked_at_by_name() -> None:
    node = resize(initial_params={"w": {"$param": "width"}})
    assert problems_of(canvas_of([LOAD, node], [image()], params={"width": {}})) == []
    wrong = canvas_of([LOAD, node], [image()], params={"width": {"default": 0}})
    assert told(wrong) == [("OUT_OF_RANGE", "r")]


def test_parameters_from_an_address_may_be_missing() -> None:
    node = resize(initial_params={}, parameter_address="env:SIZES")
    assert problems_of(canvas_of([LOAD, node], [image()])) == []


@pytest.mark.parametrize(
    "param",
    [{"schema": {"type": 5}, "default": 1}, {"schema": {"type": "array", "items": 3}, "default": [1]}],
)
def test_schema_of_a_parameter_that_is_none_is_told(param: Any) -> None:
    assert told(canvas_of([], [], params={"p": param})) == [("MALFORMED", "params.p.schema")]


def test_default_that_does_not_fit_its_schema_is_told() -> None:
    param = {"schema": {"type": "integer"}, "default": "x"}
    assert told(canvas_of([], [], params={"p": param})) == [("INVALID_PARAMETER", "params.p.default")]


def test_own_code_in_a_bundle_is_taken_on_trust() -> None:
    node = {
        "id": "a",
        "operator": "my.module:function",
        "bundle_digest": "0" * 64,
        "initial_params": {"x": 1},
    }
    assert problems_of(canvas_of([node, "b"], [{"source": "a", "source_port": "any", "target": "b"}])) == []


def test_body_is_looked_at_once_under_its_first_instance() -> None:
    wrong = {"canvas": {"nodes": [{"id": "x", "operator": "noope"}]}}
    canvas = canvas_of([{"id": "s1", "subgraph": "w"}, {"id": "s2", "subgraph": "w"}], subgraphs={"w": wrong})
    assert told(canvas) == [("UNKNOWN_OPERATOR", "s1/x")]
    assert told(canvas_of([], [], subgraphs={"w": wrong})) == [("UNKNOWN_OPERATOR", "w/x")]


def test_input_that_the_body_feeds_is_not_missing() -> None:
    body = {
        "canvas": {"nodes": [{"id": "b", "operator": "both"}]},
        "inputs": [{"name": "l", "node": "b", "port": "left"}],
    }
    canvas = canvas_of([{"id": "s", "subgraph": "w"}], subgraphs={"w": body})
    assert sorted((p.reason.value, p.node, p.port) for p in problems_of(canvas)) == [
        ("MISSING_INPUT", "s", "l"),
        ("MISSING_INPUT", "s/b", "right"),
    ]


def test_subgraph_that_contains_itself_is_told_with_its_chain() -> None:
    def holding(name: str) -> dict[str, Any]:
        return {"canvas": {"nodes": [{"id": "x", "subgraph": name}]}}

    canvas = canvas_of([{"id": "s", "subgraph": "a"}], subgraphs={"a": holding("b"), "b": holding("a")})
    [problem] = problems_of(canvas)
    assert (problem.reason, problem.nodes) == (Reason.RECURSIVE_SUBGRAPH, ("a", "b"))
    chain = {f"s{number}": holding(f"s{number + 1}") for number in range(40)} | {"s40": {"canvas": {}}}
    assert told(canvas_of([{"id": "s", "subgraph": "s0"}], subgraphs=chain)) == [("TOO_DEEP", "")]


def test_ports_of_a_body_lead_somewhere() -> None:
    body = {
        **BODY,
        "inputs": [{"name": "in", "node": "gone"}, {"name": "b/d", "node": "x"}],
        "outputs": [{"name": "out", "node": "y", "port": "nope"}, {"name": "out", "node": "y"}],
    }
    reasons = {reason for reason, _ in told(canvas_of([], [], subgraphs={"w": body}))}
    assert reasons == {"DANGLING_EDGE", "BAD_ID", "UNKNOWN_PORT", "DUPLICATE_PORT"}


def test_report_is_bounded() -> None:
    found = problems_of(canvas_of([{"id": f"n{number}", "operator": "gone"} for number in range(3_000)]))
    assert len(found) == PROBLEMS_MOST + 1
    assert found[-1].reason is Reason.TOO_MANY_PROBLEMS
