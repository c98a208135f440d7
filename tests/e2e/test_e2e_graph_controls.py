"""Control nodes on two agents, through the command line and through the contract by grpcurl (issue 4, point 7)."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.graph_documents import body, bundle, document, node
from tests.support.graph_doors import CommandLine, Contract, Document, GraphDoor
from tests.support.grpcurl import Refused
from tests.support.yard import Yard, new_yard

SKIPPED, COMPUTED, FAILED, TIMED_OUT = (
    f"EXECUTION_DETAIL_{word}" for word in ("SKIPPED", "COMPUTED", "FAILED", "TIMED_OUT")
)
SUCCEEDED = "RUN_STATE_SUCCEEDED"


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard() as made:
        yield made
        assert made.cli("down").code == 0
        assert not made.left_over(), made.left_over()


@pytest.fixture(scope="module")
def digest(yard: Yard) -> str:
    async def put() -> str:
        async with yard.client() as client:
            return await bundle(client)

    return asyncio.run(put())


@pytest.fixture(params=[CommandLine, Contract], ids=["cli", "grpcurl"])
def door(request: pytest.FixtureRequest, yard: Yard) -> GraphDoor:
    made: GraphDoor = request.param(yard)
    return made


class Drawing:
    """Nodes of a canvas whose operators leave marks."""

    def __init__(self, yard: Yard, digest: str) -> None:
        self.marks = Path(yard.state) / f"marks-{uuid.uuid4().hex[:8]}"
        self._digest = digest

    def node(self, name: str, function: str, **fields: Any) -> Document:
        return node(name, function, self.marks, self._digest, **fields)

    def given(self, value: Any) -> Document:
        return self.node("n", "numbers", params={"value": value})

    def marked(self) -> list[str]:
        return self.marks.read_text().split() if self.marks.exists() else []


@pytest.fixture
def drawing(yard: Yard, digest: str) -> Drawing:
    return Drawing(yard, digest)


def saved(door: GraphDoor, text: str) -> tuple[str, int]:
    return door.save(f"control-{uuid.uuid4().hex[:8]}", json.loads(text))


def results(run: Document) -> dict[str, Any]:
    """By "node.port"."""
    return {
        f"{sink['node_id']}.{output['port']}": json.loads(output["value_json"])
        for sink in run["results"]
        for output in sink.get("outputs", [])
    }


def by_id(nodes: list[Document]) -> dict[str, Document]:
    return {each["node_id"]: each for each in nodes}


def branching(drawing: Drawing, value: int) -> str:
    """Three ways with two nodes each, and a join behind them all."""
    cases = [
        {"port": "low", "condition": {"comparison": "less", "value": 10}},
        {"port": "middle", "condition": {"comparison": "in", "value": [10, 11, 12]}},
    ]
    nodes: list[Document] = [
        drawing.given(value),
        {"id": "b", "branch": {"cases": cases, "otherwise": "high"}},
    ]
    edges: list[tuple[str, ...]] = [("n", "b", "value")]
    for way in ("low", "middle", "high"):
        nodes += [drawing.node(f"{way}1", "add"), drawing.node(f"{way}2", "add", params={"plus": 100})]
        edges += [("b", f"{way}1", "values", way), (f"{way}1", f"{way}2"), (f"{way}2", "join")]
    return document([*nodes, drawing.node("join", "add")], edges)


@pytest.mark.parametrize(("value", "taken"), [(3, "low"), (11, "middle"), (50, "high")])
def test_branch_takes_one_way_skips_the_rest_and_the_join_never_hangs(  # S1.8, S1.9
    door: GraphDoor, drawing: Drawing, value: int, taken: str
) -> None:
    project, version = saved(door, branching(drawing, value))
    run = door.run(project, version)
    assert (run["state"], results(run)) == (SUCCEEDED, {"join.result": value + 100})
    nodes = by_id(door.nodes(run["id"]))
    assert nodes["b"]["note"] == f"took '{taken}'"
    skipped = {name for name, each in nodes.items() if each["detail"] == SKIPPED}
    assert skipped == {f"{way}{step}" for way in ("low", "middle", "high") if way != taken for step in (1, 2)}
    assert nodes["middle1" if taken != "middle" else "low1"]["note"] == "nothing comes from b"
    assert sorted(drawing.marked()) == sorted(["n", f"{taken}1", f"{taken}2", "join"])
    assert door.commits(run["id"]) == [each["node_id"] for each in door.nodes(run["id"])]


def test_map_shows_its_items_one_by_one(door: GraphDoor, drawing: Drawing) -> None:  # S1.8
    nodes = [drawing.given([5, 6, 7]), {"id": "m", "map": {"subgraph": "one", "max_parallel": 2}}]
    inner = [drawing.node("s", "step"), drawing.node("t", "add", params={"plus": 1})]
    bodies = {"one": body(inner, [("s", "t")], {"in": "s"}, {"out": "t", "first": "s"})}
    project, version = saved(door, document(nodes, [("n", "m", "items")], subgraphs=bodies))
    run = door.run(project, version)
    assert results(run) == {"m.out": [6, 7, 8], "m.first": [5, 6, 7]}
    assert [each["node_id"] for each in door.nodes(run["id"])] == ["n", "m"]
    below = door.below(run["id"], "m")
    assert [each["node_id"] for each in below] == [f"m/{item}/{name}" for item in range(3) for name in "st"]
    assert [each["node_id"] for each in door.below(run["id"], "m/1")] == ["m/1/s", "m/1/t"]
    [edge] = below[3]["topology"]["inputs"]
    assert edge["node"] == "m/1/s"


@pytest.mark.parametrize(
    ("goal", "most", "rounds", "note"),
    [
        (3, 10, 3, "3 rounds, the condition holds"),
        (99, 4, 4, "4 rounds, the condition does not hold"),
        (None, 2, 2, "2 rounds"),
    ],
)
def test_loop_carries_values_from_round_to_round(  # S1.8
    door: GraphDoor, drawing: Drawing, goal: int | None, most: int, rounds: int, note: str
) -> None:
    until = {} if goal is None else {
        "until_port": "count", "until": {"comparison": "greater_or_equal", "value": goal},
    }  # fmt: skip
    inner = [
        drawing.node("up", "add", params={"plus": 1}, cache="off"),
        drawing.node("double", "add", params={"plus": 10}, cache="off"),
        drawing.node("still", "same", cache="off"),
    ]
    ports = {"count": "up", "total": "double", "fixed": "still"}
    nodes = [
        drawing.given(0), drawing.node("k", "numbers", params={"value": [1, 2]}),
        {"id": "l", "loop": {"subgraph": "round", "max_iterations": most, **until}},
    ]  # fmt: skip
    edges = [("n", "l", "count"), ("n", "l", "total"), ("k", "l", "fixed")]
    text = document(nodes, edges, subgraphs={"round": body(inner, [], ports, ports)})
    project, version = saved(door, text)
    run = door.run(project, version)
    assert results(run) == {"l.count": rounds, "l.total": 10 * rounds, "l.fixed": [1, 2]}
    assert by_id(door.nodes(run["id"]))["l"]["note"] == note
    assert len(door.below(run["id"], "l")) == 3 * rounds
    assert drawing.marked().count("up") == rounds


def test_sub_graphs_lie_five_deep_with_control_nodes_in_them(
    door: GraphDoor, drawing: Drawing
) -> None:  # S1.8
    """Each level passes on to the next; the innermost maps over what it gets, and branches there."""
    cases = [{"port": "even", "condition": {"comparison": "in", "value": [0, 2, 4]}}]
    innermost = body(
        [
            {"id": "b", "branch": {"cases": cases}}, drawing.node("e", "add", params={"plus": 100}),
            drawing.node("o", "add"), drawing.node("j", "add"),
        ],
        [("b", "e", "values", "even"), ("b", "o", "values", "else"), ("e", "j"), ("o", "j")],
        {"in": "b.value"}, {"out": "j"},
    )  # fmt: skip
    bodies = {
        "d0": innermost,
        "d1": body([{"id": "m", "map": {"subgraph": "d0"}}], [], {"in": "m.items"}, {"out": "m.out"}),
    }
    for depth in range(2, 6):
        inner = {"id": "g", "subgraph": {"subgraph": f"d{depth - 1}"}}
        bodies[f"d{depth}"] = body([inner], [], {"in": "g.in"}, {"out": "g.out"})
    nodes = [drawing.given([0, 1, 2]), {"id": "top", "subgraph": {"subgraph": "d5"}}]
    project, version = saved(door, document(nodes, [("n", "top", "in")], subgraphs=bodies))
    run = door.run(project, version)
    assert results(run) == {"top/g/g/g/g/m.out": [100, 1, 102]}
    below = by_id(door.below(run["id"], "top/g/g/g/g/m"))
    assert below["top/g/g/g/g/m/1/e"]["detail"] == SKIPPED
    assert below["top/g/g/g/g/m/1/b"]["note"] == "took 'else'"


def gated(drawing: Drawing, **gate: Any) -> str:
    nodes = [
        drawing.given(5), {"id": "ask", "gate": {"message": "go on?", **gate.pop("gate", {})}, **gate},
        drawing.node("after", "add", params={"plus": 1}),
    ]  # fmt: skip
    text = json.loads(document(nodes, [("n", "ask", "value"), ("ask", "after", "values", "value")]))
    text["edges"][1]["on_error"] = "skip"
    return json.dumps(text)


def test_gate_lets_pass_what_is_approved(door: GraphDoor, drawing: Drawing) -> None:
    project, version = saved(door, gated(drawing))
    run_id = door.begin(project, version)
    [gate] = door.gates(run_id)
    assert (gate["node_id"], gate["gate"]["message"]) == ("ask", "go on?")
    decided = door.decide(run_id, "ask", "approve", "looks well")
    assert decided["gate"]["decision"] == "GATE_DECISION_APPROVED"
    assert door.commits(run_id) == ["n", "ask", "after"]
    nodes = by_id(door.nodes(run_id))
    assert nodes["ask"]["note"].startswith("approved by ") and nodes["ask"]["note"].endswith(": looks well")
    assert nodes["after"]["outputs"][0]["value_json"] == "6"
    # The same again changes nothing, also when the run has ended; the other decision is refused.
    assert door.decide(run_id, "ask", "approve")["gate"]["comment"] == "looks well"
    with pytest.raises(Refused):
        door.decide(run_id, "ask", "reject")


def test_gate_that_is_rejected_is_in_error_and_its_edges_say_what_follows(  # S1.7
    door: GraphDoor, drawing: Drawing
) -> None:
    project, version = saved(door, gated(drawing))
    run_id = door.begin(project, version)
    door.gates(run_id)
    with pytest.raises(Refused, match="is no gate"):
        door.decide(run_id, "after", "approve")
    with pytest.raises(Refused, match="no node"):
        door.decide(run_id, "nobody", "approve")
    door.decide(run_id, "ask", "reject", "not yet")
    door.commits(run_id)
    nodes = by_id(door.nodes(run_id))
    assert nodes["ask"]["detail"] == FAILED
    assert nodes["ask"]["error"]["message"].endswith(": not yet")
    assert nodes["after"]["detail"] == SKIPPED
    assert drawing.marked() == ["n"]


def test_gate_that_nobody_decides_times_out(door: GraphDoor, drawing: Drawing) -> None:
    project, version = saved(door, gated(drawing, timeout_s=0.3))
    run = door.run(project, version)
    assert run["state"] == "RUN_STATE_FAILED"
    assert "nobody decided in time" in run["error"]["message"]
    nodes = by_id(door.nodes(run["id"]))
    assert (nodes["ask"]["detail"], nodes["after"]["detail"]) == (TIMED_OUT, SKIPPED)


def test_gates_in_the_body_of_a_map_are_decided_one_by_one(door: GraphDoor, drawing: Drawing) -> None:
    inner = [{"id": "ask", "gate": {"message": "this one?"}}, drawing.node("s", "step")]
    one = body(inner, [("ask", "s", "values", "value")], {"in": "ask.value"}, {"out": "s"})
    one["canvas"]["edges"][0]["on_error"] = "skip"
    nodes = [drawing.given([7, 8]), {"id": "m", "map": {"subgraph": "one", "min_success_ratio": 0.5}}]
    project, version = saved(door, document(nodes, [("n", "m", "items")], subgraphs={"one": one}))
    run_id = door.begin(project, version)
    assert [gate["node_id"] for gate in door.gates(run_id)][:1] == ["m/0/ask"]
    door.decide(run_id, "m/0/ask", "reject")
    [second] = door.gates(run_id)
    assert second["node_id"] == "m/1/ask"
    door.decide(run_id, "m/1/ask", "approve")
    assert "m" in door.commits(run_id)
    nodes_then = by_id(door.nodes(run_id))
    assert json.loads(nodes_then["m"]["outputs"][0]["value_json"]) == [None, 8]
    assert drawing.marked() == ["n", "s:8"]


def test_run_that_waits_at_a_gate_is_cancelled(door: GraphDoor, drawing: Drawing, yard: Yard) -> None:
    project, version = saved(door, gated(drawing))
    run_id = door.begin(project, version)
    door.gates(run_id)
    assert yard.cli("graph", "cancel", run_id).code == 0
    with pytest.raises(Refused, match="has ended"):
        door.decide(run_id, "ask", "approve")
