"""Runs that go on in another process: from the rows of a real store, at any point (issue 4, points 7 and 8)."""

from __future__ import annotations

from typing import Any

from services.graph.model import Graph
from services.graph.runs.events import GateDecided, NodeEnded, PauseAsked, ResumeAsked, TimePassed
from services.graph.runs.state import RunState
from tests.support.canvases import canvas_of, planned
from tests.support.graph_disk import Disk
from tests.support.graph_runs import Table, done, failure, spec

GATE_BODY = {
    "canvas": {"nodes": [{"id": "g", "gate": {"message": "?"}}]},
    "inputs": [{"name": "x", "node": "g", "port": "value"}],
    "outputs": [{"name": "x", "node": "g", "port": "value"}],
}


def gated(timeout_s: float = 0.0) -> Graph:
    """a is slow and stands before the gate g, which b waits for."""
    gate: dict[str, Any] = {
        "id": "g",
        "gate": {"message": "?"},
        **({"timeout_s": timeout_s} if timeout_s else {}),
    }
    return planned(canvas_of(["a", gate, "b"], [{"source": "g", "target": "b"}]))


def decided(table: Table, name: str, *, approves: bool = True) -> Any:
    """The refusal, or None."""
    [answer] = table.do(GateDecided(5, 1, table.place(name), "ann", False, approves, "")).answers
    return answer.error


def test_committed_nodes_are_done_and_what_had_left_is_followed() -> None:
    table = Table(disk=Disk())
    table.ask(planned(canvas_of(["a", "b", "c"], ["a->b"])))
    table.end("a", done())
    assert table.taken() == ["a", "c", "b"]
    table.restart()
    run = table.state.runs[1]
    assert (table.taken(), run.running, run.root.committed) == ([], {table.place("b"), table.place("c")}, 1)
    table.end("b", done())
    table.end("c", done())
    assert [word for _, word in table.committed()] == ["computed"] * 3


def test_node_that_ends_after_a_restart_tells_the_same_reason() -> None:
    reasons = []
    for restarts in (0, 1):
        table = Table(disk=Disk())
        table.ask(planned(canvas_of(["a"])))
        for _ in range(restarts):
            table.restart()
        table.end("a", done())
        reasons.append(table.log[-1].end.reason)
    assert reasons[0] == reasons[1] != ""


def test_what_had_left_counts_among_those_that_run_at_a_time() -> None:
    table = Table(disk=Disk())
    gate = {"id": "b", "gate": {"message": "?"}}
    table.ask(
        planned(canvas_of(["a", gate, "c", "d", "e", "f"], ["c->d", "c->e", "a->f"])), spec(max_parallel=2)
    )
    table.end("c", done())
    table.end("a", done())
    assert table.taken() == ["a", "c", "d", "e"]
    table.restart()
    # c has ended and is not committed: d and e, which wait for it, have not come up again.
    assert (table.taken(), set(table.state.runs[1].expected)) == ([], {table.place("d"), table.place("e")})
    table.end("d", done())
    assert table.taken() == []
    table.end("c", done())
    assert table.taken() == ["f"]


def test_gate_that_timed_out_before_a_restart_is_not_decided_after_it() -> None:
    table = Table(disk=Disk())
    table.ask(gated(timeout_s=1))
    table.now = 2_000
    table.do(TimePassed())
    assert table.taken()[-1] == "b"  # the edge passes the empty set on
    table.restart()
    assert decided(table, "g").reason == "GATE_NOT_WAITING"
    table.end("a", done())
    table.end("b", done())
    assert dict(table.committed())["g"] == "timed_out"


def test_gate_of_a_paused_run_is_decided_after_a_restart_and_stays_so() -> None:
    table = Table(disk=Disk())
    nodes = ["a", {"id": "m", "map": {"subgraph": "s"}}]
    edges = [{"source": "a", "target": "m", "target_port": "items"}]
    table.ask(planned(canvas_of(nodes, edges, subgraphs={"s": GATE_BODY})))
    table.end("a", done("[7]"))
    table.do(PauseAsked(2, 1))
    table.restart()
    assert table.state.runs[1].state is RunState.PAUSED
    assert decided(table, "m/0/g") is None
    table.restart()
    assert decided(table, "m/0/g") is None, "the same again changes nothing"
    assert decided(table, "m/0/g", approves=False).reason == "GATE_NOT_WAITING"
    table.do(ResumeAsked(3, 1))
    assert table.committed()[-1] == ("m", "computed")
    assert table.log[-1].end.outputs[0].value == "[7]"


def test_gate_that_nobody_decided_in_time_waits_no_more() -> None:
    table = Table(disk=Disk())
    table.ask(gated(timeout_s=1))
    assert [record.is_approved for record in table.state.runs[1].gates.values()] == [None]
    table.now = 2_000
    table.do(TimePassed())
    assert table.state.runs[1].gates == {}
    table.end("a", done())
    table.restart()
    assert table.state.runs[1].gates == {}


def test_outcome_that_is_told_early_frees_its_place() -> None:
    table = Table(disk=Disk())
    nodes = ["a", {"id": "l", "loop": {"subgraph": "s", "max_iterations": 2}}, "z"]
    body = {
        "canvas": {
            "nodes": [{"id": "p", "operator": "noop"}, {"id": "q", "operator": "noop"}],
            "edges": [{"source": "p", "target": "q"}],
        },
        "inputs": [{"name": "x", "node": "p", "port": "value"}],
        "outputs": [{"name": "x", "node": "q", "port": "result"}],
    }
    edges = [{"source": "a", "target": "l", "target_port": "x"}]
    table.ask(planned(canvas_of(nodes, edges, subgraphs={"s": body})), spec(max_parallel=1))
    table.end("a", done())
    table.end("z", done())
    table.end("l/0/p", done())
    assert table.taken()[-1] == "l/0/q"
    table.restart()
    table.do(NodeEnded(1, table.place("l/0/q"), done()))
    assert table.taken() == ["l/1/p"]


def test_failure_behind_which_all_fails_is_the_same_after_a_restart() -> None:
    table = Table(disk=Disk())
    edges = [{"source": "b", "target": "c", "on_error": "fail_run"}]
    table.ask(planned(canvas_of(["a", "b", "x", "c"], edges)))
    table.end("b", failure())
    table.restart()
    table.end("b", failure())
    table.end("x", done())
    table.end("a", done())
    assert table.committed() == [("a", "computed"), ("b", "failed"), ("x", "cancelled"), ("c", "cancelled")]


def test_effects_of_the_next_item_do_not_wait_for_an_item_that_is_through_with_its_own() -> None:
    body = {
        "canvas": {
            "nodes": [{"id": "e", "operator": "noop", "has_effects": True}, {"id": "q", "operator": "noop"}],
            "edges": [{"source": "e", "target": "q"}],
        },
        "inputs": [{"name": "x", "node": "e", "port": "value"}],
        "outputs": [{"name": "y", "node": "q", "port": "result"}],
    }
    table = Table(disk=Disk())
    edges = [{"source": "a", "target": "m", "target_port": "items"}]
    node = {"id": "m", "map": {"subgraph": "s", "max_parallel": 2}}
    table.ask(planned(canvas_of(["a", node], edges, subgraphs={"s": body})))
    table.end("a", done("[1,2,3]"))
    table.end("m/0/e", done())
    table.end("m/1/e", done())
    table.end("m/1/q", done())
    assert table.taken()[-1] == "m/2/e"
    table.restart()
    table.end("m/1/e", done())
    table.end("m/1/q", done())
    table.end("m/2/e", done())
    # m/0/q, which was on its way all the time, holds nobody up.
    assert table.taken() == ["m/2/q"]
