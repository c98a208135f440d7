"""Loops, and control nodes within each other, one event at a time (issue 4, point 7)."""

from __future__ import annotations

from typing import Any

import pytest

from services.graph.runs import bodies
from services.graph.runs.effects import ReadValues
from services.graph.runs.events import GateDecided, PauseAsked, ResumeAsked, ValuesRead
from services.graph.runs.results import artifact_output
from services.graph.runs.values import Detail, End, Failure
from tests.support.canvases import canvas_of, planned
from tests.support.graph_runs import Table, done, failure

DIGEST = "ab" * 32
CHAIN = {
    "canvas": {"nodes": [{"id": "p", "operator": "noop"}]},
    "inputs": [{"name": "x", "node": "p", "port": "value"}],
    "outputs": [{"name": "x", "node": "p", "port": "result"}],
}
UNTIL = {"path": "", "comparison": "less", "value": 10}


def looped(template: dict[str, Any] = CHAIN, more: Any = (), **work: Any) -> Table:
    """s → l → z."""
    node = {"id": "l", "loop": {"subgraph": "b", "max_iterations": 3, **work}}
    edges = [
        {"source": "s", "target": "l", "target_port": "x"},
        {"source": "l", "source_port": "x", "target": "z"},
    ]
    table = Table()
    table.ask(planned(canvas_of(["s", node, "z"], edges, subgraphs={"b": template, **dict(more)})))
    table.end("s", done("0"))
    assert table.submitted.pop(0) == "s"
    return table


def end_of(table: Table, name: str) -> End:
    [row] = [row for row in table.log if row.place == table.place(name)]
    return row.end


def given_to(table: Table, name: str) -> str:
    place = table.place(name)
    scope = table.state.runs[1].scope_at(place)
    assert scope is not None
    return scope.inputs["x"].pieces[0].value


def test_each_round_gets_what_the_one_before_gave() -> None:
    table = looped()
    for number, value in enumerate(("1", "2", "3")):
        assert table.taken() == [f"l/{number}/p"]
        assert given_to(table, f"l/{number}/p") == str(number)
        table.end(f"l/{number}/p", done(value))
    assert (end_of(table, "l").outputs[0].value, end_of(table, "l").note) == ("3", "3 rounds")
    assert [name for name, _ in table.committed()] == ["s", "l/0/p", "l/1/p", "l/2/p", "l"]
    assert table.taken() == ["z"]


def test_loop_ends_with_the_round_of_which_the_condition_holds() -> None:
    table = looped(until=UNTIL)
    table.end("l/0/p", done("50"))
    table.end("l/1/p", done("5"))
    assert (end_of(table, "l").outputs[0].value, end_of(table, "l").note) == (
        "5",
        "2 rounds, the condition holds",
    )


def test_loop_that_never_holds_ends_at_most_then_and_says_so() -> None:
    table = looped(until=UNTIL)
    for number in range(3):
        table.end(f"l/{number}/p", done("50"))
    assert end_of(table, "l").note == "3 rounds, the condition does not hold"


def test_condition_that_cannot_be_compared_fails_the_loop() -> None:
    table = looped(until=UNTIL)
    table.end("l/0/p", done('"text"'))
    assert "a text" in end_of(table, "l").failure.message  # type: ignore[union-attr]


def test_round_that_fails_fails_the_loop_with_its_number() -> None:
    table = looped()
    table.end("l/0/p", done())
    table.end("l/1/p", failure())
    assert end_of(table, "l").failure.message == "1/p: it raised"  # type: ignore[union-attr]


def test_condition_on_an_artefact_is_read_first() -> None:
    table = looped(until=UNTIL)
    effects = table.end("l/0/p", End(Detail.COMPUTED, (artifact_output("result", DIGEST, 9),)))
    [wish] = [wish for wish in effects.wishes if isinstance(wish, ReadValues)]
    table.taken()
    table.do(ValuesRead(1, wish.place, {"until": "70"}))
    assert table.taken() == ["l/1/p"]
    table.end("l/1/p", End(Detail.COMPUTED, (artifact_output("result", DIGEST, 9),)))
    table.do(ValuesRead(1, wish.place, {}, Failure(7, "it is gone")))
    assert end_of(table, "l").failure == Failure(7, "it is gone")


def test_several_values_go_round() -> None:
    nodes = [{"id": "a", "operator": "noop"}, {"id": "b", "operator": "noop"}]
    body = {
        "canvas": {"nodes": nodes},
        "inputs": [{"name": "x", "node": "a", "port": "value"}, {"name": "y", "node": "b", "port": "value"}],
        "outputs": [
            {"name": "x", "node": "b", "port": "result"},
            {"name": "y", "node": "a", "port": "result"},
        ],
    }
    node = {"id": "l", "loop": {"subgraph": "b", "max_iterations": 2, "until_port": "y", "until": UNTIL}}
    edges = [{"source": name, "target": "l", "target_port": port} for name, port in (("s", "x"), ("t", "y"))]
    table = Table()
    run = table.ask(planned(canvas_of(["s", "t", node], edges, subgraphs={"b": body})))
    table.end("s", done("100"))
    table.end("t", done("200"))
    table.end("l/0/a", done("11"))
    table.end("l/0/b", done("22"))
    scope = run.scope_at(table.place("l/1/a"))
    assert scope is not None
    assert {name: port.pieces[0].value for name, port in scope.inputs.items()} == {"x": "22", "y": "11"}
    table.end("l/1/a", done("3"))
    table.end("l/1/b", done("4"))
    assert [output.value for output in end_of(table, "l").outputs] == ["4", "3"]


def test_rounds_are_not_begun_beyond_what_memory_is_given_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "UNCOMMITTED_MOST", 2)
    node = {"id": "y", "loop": {"subgraph": "b", "max_iterations": 5}}
    edges = [{"source": "s", "target": "y", "target_port": "x"}, "t->w"]
    table = Table()
    # w stands before y in the order and has not ended: no round is committed.
    table.ask(planned(canvas_of(["s", "t", "w", node], edges, subgraphs={"b": CHAIN})))
    for name in ("s", "t", "y/0/p", "y/1/p"):
        table.end(name, done())
    assert table.taken()[-1] == "y/1/p"
    table.end("w", done())
    assert table.taken() == ["y/2/p"]


def test_paused_loop_begins_no_round_until_it_is_resumed() -> None:
    table = looped()
    table.taken()
    table.do(PauseAsked(2, 1))
    table.end("l/0/p", done())
    assert table.taken() == []
    table.do(ResumeAsked(3, 1))
    assert table.taken() == ["l/1/p"]


def test_gate_within_a_loop_is_asked_each_round() -> None:
    gate = {
        "canvas": {"nodes": [{"id": "g", "gate": {"message": "again?"}}]},
        "inputs": [{"name": "x", "node": "g", "port": "value"}],
        "outputs": [{"name": "x", "node": "g", "port": "value"}],
    }
    table = looped(gate, max_iterations=2)
    for number in range(2):
        place = table.place(f"l/{number}/g")
        assert table.state.runs[1].waiting_gates() == [place]
        table.do(GateDecided(5, 1, place, "ann", False, True, ""))
    assert [name for name, _ in table.committed()] == ["s", "l/0/g", "l/1/g", "l"]


def test_map_within_a_loop_runs_anew_each_round() -> None:
    outer = {
        "canvas": {"nodes": [{"id": "m", "map": {"subgraph": "c"}}]},
        "inputs": [{"name": "x", "node": "m", "port": "items"}],
        "outputs": [{"name": "x", "node": "m", "port": "y"}],
    }
    inner = {**CHAIN, "outputs": [{"name": "y", "node": "p", "port": "result"}]}
    table = Table()
    node = {"id": "l", "loop": {"subgraph": "b", "max_iterations": 2}}
    edges = [{"source": "s", "target": "l", "target_port": "x"}]
    table.ask(planned(canvas_of(["s", node], edges, subgraphs={"b": outer, "c": inner})))
    table.end("s", done("[1,2]"))
    for name in ("l/0/m/1/p", "l/0/m/0/p", "l/1/m/0/p", "l/1/m/1/p"):
        table.end(name, done(f'"{name}"'))
    assert end_of(table, "l").outputs[0].value == '["l/1/m/0/p","l/1/m/1/p"]'


def test_failure_deep_within_is_told_with_its_way() -> None:
    inner = {**CHAIN, "outputs": [{"name": "y", "node": "p", "port": "result"}]}
    outer = {
        "canvas": {"nodes": [{"id": "m", "map": {"subgraph": "c"}}]},
        "inputs": [{"name": "x", "node": "m", "port": "items"}],
        "outputs": [{"name": "x", "node": "m", "port": "y"}],
    }
    table = Table()
    node = {"id": "l", "loop": {"subgraph": "b", "max_iterations": 2}}
    edges = [{"source": "s", "target": "l", "target_port": "x"}]
    table.ask(planned(canvas_of(["s", node], edges, subgraphs={"b": outer, "c": inner})))
    table.end("s", done("[1]"))
    table.end("l/0/m/0/p", failure())
    assert end_of(table, "l").failure.message == (  # type: ignore[union-attr]
        "0/m: 1 of 1 items failed where none may, first 0/p: it raised"
    )


def test_failure_that_all_fails_with_ends_its_execution_and_no_other() -> None:
    body = {
        "canvas": {
            "nodes": [{"id": name, "operator": "noop"} for name in "pqr"],
            "edges": [{"source": "p", "target": "q", "on_error": "fail_run"}],
        },
        "inputs": [{"name": "x", "node": "p", "port": "value"}],
        "outputs": [{"name": "x", "node": "q", "port": "result"}],
    }
    node = {"id": "m", "map": {"subgraph": "b", "min_success_ratio": 0.0}}
    table = Table()
    edges = [{"source": "s", "target": "m", "target_port": "items"}]
    table.ask(planned(canvas_of(["s", node], edges, subgraphs={"b": body})))
    table.end("s", done("[1,2]"))
    table.end("m/0/p", failure())
    assert table.taken() == ["s", "m/0/p", "m/0/r", "m/1/p", "m/1/r"]
    for name in ("m/1/p", "m/1/r", "m/1/q"):
        table.end(name, done())
    words = dict(table.committed())
    assert (words["m/0/p"], words["m/0/r"], words["m/0/q"]) == ("failed", "cancelled", "cancelled")
    assert (words["m/1/q"], words["m"]) == ("computed", "computed")
