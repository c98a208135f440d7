"""When nodes behind branches run: ports as conditions, the first that is done; outputs of code of one's own."""

from __future__ import annotations

from typing import Any

import pytest

from services.graph.runs.results import note_of, outputs_of
from tests.support.canvases import BODY, canvas_of, planned, problems_of
from tests.support.graph_runs import Table, done

CASES = {"cases": [{"port": "yes", "condition": {"comparison": "equal", "value": 1}}], "otherwise": "no"}


def ran(nodes: list[Any], edges: list[Any], value: str = "1", **more: Any) -> list[str]:
    """What was submitted, each node done as soon as it is; `value` is what "s" gives."""
    table = Table()
    table.ask(planned(canvas_of(["s", {"id": "b", "branch": CASES}, *nodes], ["s->b", *edges], **more)))
    started: list[str] = []
    while taken := table.taken():
        started += taken
        for name in taken:
            table.end(name, done(value if name == "s" else "7"))
    assert not table.state.runs, "the run hangs"
    return started


def when(port: str, target: str) -> dict[str, str]:
    return {"source": "b", "source_port": port, "target": target, "kind": "order"}


@pytest.mark.parametrize(("value", "started"), [("1", ["s", "x"]), ("2", ["s", "y"])])
def test_order_edge_out_of_a_branch_port_is_a_condition(value: str, started: list[str]) -> None:  # S1.9
    assert ran(["x", "y"], [when("yes", "x"), when("no", "y")], value) == started


def test_condition_holds_for_a_whole_sub_graph_and_beside_other_inputs() -> None:
    instance = {"id": "g", "subgraph": {"subgraph": "sub"}}
    edges = [when("yes", "g"), {"source": "s", "target": "g", "target_port": "in"}]
    assert ran([instance], edges, subgraphs={"sub": BODY}) == ["s", "g/x", "g/y"]
    assert ran([instance], edges, "2", subgraphs={"sub": BODY}) == ["s"]


def test_all_done_does_not_run_where_nothing_comes_from_a_branch() -> None:
    both = {"id": "j", "operator": "noop", "trigger": "all_done"}
    edges = [{"source": "b", "source_port": "yes", "target": "j"}, "s->j"]
    assert ran([both], edges) == ["s", "j"]
    assert ran([both], edges, "2") == ["s"]


def test_any_done_takes_the_value_of_the_first_alone() -> None:
    nodes = ["x", "y", {"id": "j", "branch": CASES, "trigger": "any_done"}, "z"]
    edges = [
        when("yes", "x"), when("no", "y"), "x->j", "y->j", {"source": "j", "source_port": "no", "target": "z"},
    ]  # fmt: skip
    # A list of two would be compared otherwise: 7 is not 1, and goes on as 7.
    assert ran(nodes, edges, "2") == ["s", "y", "z"]


def test_order_edge_out_of_another_port_is_told() -> None:
    canvas = canvas_of(["s", "x", {"id": "b", "branch": CASES}], ["s->b", when("perhaps", "x")])
    [problem] = problems_of(canvas)
    assert (problem.reason.value, problem.port) == ("UNKNOWN_PORT", "perhaps")
    canvas = canvas_of(["s", "x"], [{"source": "s", "source_port": "result", "target": "x", "kind": "order"}])
    assert [problem.reason.value for problem in problems_of(canvas)] == ["WITHOUT_EFFECT"]


@pytest.mark.parametrize(
    ("ports", "value", "given"),
    [
        ((), "5", {"result": "5"}),
        (("Output",), "5", {"Output": "5"}),
        (("Output",), '{"Output":5,"more":1}', {"Output": "5"}),
        (("low", "high"), '{"low":1,"high":2,"more":3}', {"low": "1", "high": "2"}),
        (("low", "high"), "5", {}),
        (("low", "high"), '{"low":1}', {"low": "1"}),
        (("result",), '{"result":1}', {"result": '{"result":1}'}),
        (("low", "result"), '{"low":1}', {"low": "1", "result": '{"low":1}'}),
    ],
)
def test_outputs_of_own_code_are_what_is_asked_of_it(
    ports: tuple[str, ...], value: str, given: dict[str, str]
) -> None:
    nodes = [{"id": "own", "operator": "mine:make", "bundle_digest": "a" * 64}, *ports]
    edges = [{"source": "own", "source_port": port, "target": port} for port in ports]
    graph = planned(canvas_of(nodes, edges))
    outputs = outputs_of(graph.nodes[0], value, "", ())
    assert {output.port: output.value for output in outputs} == given
    lacking = sorted(set(ports) - set(given))
    said = f"returned no {', '.join(map(repr, lacking))}: nothing comes from there" if lacking else ""
    assert note_of(graph.nodes[0], outputs) == said
