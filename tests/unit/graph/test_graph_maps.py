"""Maps, one event at a time: what runs when, what the lists are, when it fails (issue 4, point 7)."""

from __future__ import annotations

from typing import Any

import pytest

from services.graph.model import Order
from services.graph.runs import bodies, maps
from services.graph.runs.effects import CommitNode, DropBelow, ReadValues, StoreValues
from services.graph.runs.events import CancelAsked, TasksAccepted, ValuesRead, ValuesStored
from services.graph.runs.results import artifact_output
from services.graph.runs.state import Start
from services.graph.runs.values import Detail, End, Failure
from tests.support.canvases import canvas_of, planned
from tests.support.graph_runs import Table, done, failure, spec

DIGEST, OTHER = "ab" * 32, "cd" * 32


def body(*nodes: Any, edges: Any = (), **more: Any) -> dict[str, Any]:
    """A body whose first node takes "x" and whose last gives "y"."""
    made = [{"id": node, "operator": "noop"} if isinstance(node, str) else node for node in nodes]
    ends = [dict(zip(("source", "target"), edge.split("->"), strict=True)) if isinstance(edge, str) else edge
            for edge in edges]  # fmt: skip
    return {
        "canvas": {"nodes": made, "edges": ends},
        "inputs": [{"name": "x", "node": made[0]["id"], "port": "value"}],
        "outputs": [{"name": "y", "node": made[-1]["id"], "port": "result"}],
        **more,
    }


def mapped(items: str, template: dict[str, Any] | None = None, wish: Any = None, **work: Any) -> Table:
    """s → m → z; m maps over what s gave."""
    node = {"id": "m", "map": {"subgraph": "b", **work}}
    edges = [{"source": "s", "target": "m", "target_port": "items"}, "m->z"]
    table = Table()
    table.ask(planned(canvas_of(["s", node, "z"], edges, subgraphs={"b": template or body("p")})), wish)
    table.end("s", done(items))
    assert table.submitted.pop(0) == "s"
    return table


def value_of(table: Table, name: str) -> str:
    [row] = [row for row in table.log if row.place == table.place(name)]
    return row.end.outputs[0].value


def end_of(table: Table, name: str) -> End:
    [row] = [row for row in table.log if row.place == table.place(name)]
    return row.end


def test_items_run_side_by_side_and_the_list_stands_in_their_order() -> None:
    table = mapped('["a", 2, {"c": 3}]')
    assert table.taken() == ["m/0/p", "m/1/p", "m/2/p"]
    for name in ("m/2/p", "m/0/p", "m/1/p"):
        table.end(name, done(f'"{name[2]}"'))
    assert value_of(table, "m") == '["0","1","2"]' and table.taken() == ["z"]
    assert [name for name, _ in table.committed()] == ["s", "m/0/p", "m/1/p", "m/2/p", "m"]
    assert end_of(table, "m").note == "3 items"


def test_values_of_the_bodies_go_with_the_commit_of_the_map() -> None:
    table = mapped("[1]")
    effects = table.end("m/0/p", done())
    assert [row.place for row in effects.rows if isinstance(row, DropBelow)] == [table.place("m")]


@pytest.mark.parametrize("items", ["[]", "null"])
def test_map_of_nothing_gives_an_empty_list(items: str) -> None:
    table = mapped(items)
    assert (value_of(table, "m"), table.taken()) == ("[]", ["z"])


@pytest.mark.parametrize("items", ["3", '"abc"', '{"a":1}'])
def test_map_of_what_is_no_list_fails(items: str) -> None:
    table = mapped(items)
    assert "not a list" in end_of(table, "m").failure.message  # type: ignore[union-attr]


def test_more_items_than_there_may_be_fail_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "ITEMS_MOST", 3)
    table = mapped("[1,2,3,4]")
    assert "4 items are more than 3" in end_of(table, "m").failure.message  # type: ignore[union-attr]


def test_no_more_items_are_open_than_max_parallel() -> None:
    table = mapped("[1,2,3,4]", body("p", "q", edges=["p->q"]), max_parallel=2)
    assert table.taken() == ["m/0/p", "m/1/p"]
    table.end("m/0/p", done())
    assert table.taken() == ["m/0/q"]
    table.end("m/0/q", done())
    assert table.taken() == ["m/2/p"]


@pytest.mark.parametrize("ends", [("m/1/p", "m/3/p", "m/0/p", "m/2/p"), ("m/3/p", "m/2/p", "m/1/p", "m/0/p")])
def test_failure_is_that_of_the_first_item_whatever_ended_first(ends: tuple[str, ...]) -> None:
    table = mapped("[1,2,3,4]")
    table.do(
        TasksAccepted("ann", 1, 1, tuple(map(table.place, ends)), tuple(f"t-{name[2]}" for name in ends))
    )
    for name in ends:
        number = int(name[2])
        cause = End(Detail.FAILED, failure=Failure(6, f"item {number}"))
        table.end(name, cause if number in (1, 3) else done())
    failed = end_of(table, "m").failure
    assert failed is not None and failed.message == "1 of 4 items failed where none may, first 1/p: item 1"
    # What stands behind it was not committed, and was cancelled if it still ran.
    assert [name for name, _ in table.committed()][1:4] == ["m/0/p", "m/1/p", "m"]


def test_items_behind_the_one_that_fails_the_map_are_cancelled() -> None:
    table = mapped("[1,2,3]")
    places = tuple(map(table.place, ("m/0/p", "m/1/p", "m/2/p")))
    table.do(TasksAccepted("ann", 1, 1, places, ("t-0", "t-1", "t-2")))
    table.end("m/0/p", failure())
    assert table.cancelled == ["t-1", "t-2"] and table.state.runs[1].running == {table.place("z")}


def test_as_many_items_may_fail_as_are_allowed_and_give_null() -> None:
    table = mapped("[1,2,3,4]", min_success_ratio=0.5)
    for number, end in enumerate((failure(), done("7"), failure(), done("8"))):
        table.end(f"m/{number}/p", end)
    assert (value_of(table, "m"), end_of(table, "m").note) == ("[null,7,null,8]", "4 items, 2 of them failed")
    table = mapped("[1,2,3,4]", min_success_ratio=0.5)
    for number in range(3):
        table.end(f"m/{number}/p", failure())
    assert "3 of 4 items failed where at most 2 may" in end_of(table, "m").failure.message  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("total", "ratio", "allowed"),
    [(10, 1.0, 0), (10, 0.9, 1), (10, 0.0, 10), (3, 0.5, 1), (10, 0.7, 3), (7, 0.3, 4)],
)
def test_allowed_failures_are_what_the_ratio_leaves(total: int, ratio: float, allowed: int) -> None:
    assert maps.allowed_failures(total, ratio) == allowed


def test_batches_get_lists_and_give_lists() -> None:
    table = mapped("[1,2,3]", batch_size=2)
    assert table.taken() == ["m/0/p", "m/1/p"]
    table.end("m/0/p", done("[10,20]"))
    table.end("m/1/p", done("[30]"))
    assert (value_of(table, "m"), end_of(table, "m").note) == ("[10,20,30]", "3 items")


@pytest.mark.parametrize("given", ["[1]", "[1,2,3]", "7", '"ab"'])
def test_batch_that_gives_another_number_fails(given: str) -> None:
    table = mapped("[1,2]", batch_size=2)
    table.end("m/0/p", done(given))
    assert "is no list of 2" in end_of(table, "m").failure.message  # type: ignore[union-attr]


def test_batch_whose_list_lies_in_the_store_is_read_before_it_is_let_go_of() -> None:
    table = mapped("[1,2]", batch_size=2)
    effects = table.end("m/0/p", End(Detail.COMPUTED, (artifact_output("result", DIGEST, 9),)))
    [wish] = [wish for wish in effects.wishes if isinstance(wish, ReadValues)]
    table.do(ValuesRead(1, wish.place, {"y": "[5,6]"}))
    assert value_of(table, "m") == "[5,6]"


def test_batch_whose_list_cannot_be_read_fails_the_map() -> None:
    table = mapped("[1,2]", batch_size=2)
    table.end("m/0/p", End(Detail.COMPUTED, (artifact_output("result", DIGEST, 9),)))
    table.do(ValuesRead(1, table.place("m/0"), {}, Failure(7, "it is gone")))
    assert end_of(table, "m").detail is Detail.FAILED


def test_list_of_artefacts_travels_by_their_digests() -> None:
    table = mapped("[1,2]")
    table.end("m/0/p", End(Detail.COMPUTED, (artifact_output("result", DIGEST, 9),)))
    table.end("m/1/p", done("3"))
    [output] = end_of(table, "m").outputs
    assert [(piece.digest, piece.value) for piece in output.items] == [(DIGEST, ""), ("", "3")]


def test_items_that_are_artefacts_come_one_by_one() -> None:
    table = mapped("[1,2]")
    table.end("m/0/p", End(Detail.COMPUTED, (artifact_output("result", DIGEST, 9),)))
    table.end("m/1/p", End(Detail.COMPUTED, (artifact_output("result", OTHER, 9),)))
    table = Table()
    nodes = [{"id": name, "map": {"subgraph": "b"}} for name in ("m", "n")]
    edges = [
        {"source": "s", "target": "m", "target_port": "items"},
        {"source": "m", "target": "n", "target_port": "items"},
    ]
    run = table.ask(planned(canvas_of(["s", *nodes], edges, subgraphs={"b": body("p")})))
    table.end("s", done("[1]"))
    table.end("m/0/p", End(Detail.COMPUTED, (artifact_output("result", DIGEST, 9),)))
    assert table.taken()[-1] == "n/0/p"
    scope = run.scope_at(table.place("n/0/p"))
    assert scope is not None and scope.inputs["x"].pieces[0].digest == DIGEST


def test_list_of_items_that_lies_in_the_store_is_read() -> None:
    table = Table()
    edges = [{"source": "s", "target": "m", "target_port": "items"}]
    table.ask(
        planned(canvas_of(["s", {"id": "m", "map": {"subgraph": "b"}}], edges, subgraphs={"b": body("p")}))
    )
    effects = table.end("s", End(Detail.COMPUTED, (artifact_output("result", DIGEST, 9),)))
    assert [wish.digests for wish in effects.wishes if isinstance(wish, ReadValues)] == [{"items": DIGEST}]
    table.taken()
    table.do(ValuesRead(1, (1,), {"items": "[1,2]"}))
    assert table.taken() == ["m/0/p", "m/1/p"]


def test_list_too_large_to_travel_lies_in_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "INLINE_BYTES_MOST", 8)
    table = mapped("[1,2]")
    table.end("m/0/p", done('"aaaa"'))
    effects = table.end("m/1/p", done('"bbbb"'))
    [wish] = [wish for wish in effects.wishes if isinstance(wish, StoreValues)]
    assert wish.values == {"y": '["aaaa","bbbb"]'}
    table.do(ValuesStored(1, wish.place, {"y": (DIGEST, 15)}))
    assert end_of(table, "m").outputs[0].digest == DIGEST and table.taken()[-1] == "z"


def test_list_that_cannot_be_kept_fails_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "INLINE_BYTES_MOST", 8)
    table = mapped("[1,2]")
    table.end("m/0/p", done('"aaaa"'))
    table.end("m/1/p", done('"bbbb"'))
    table.do(ValuesStored(1, table.place("m"), {}, Failure(7, "full")))
    assert end_of(table, "m").failure == Failure(7, "full")


def test_effects_of_an_item_come_before_those_of_the_next() -> None:
    effect = {"id": "e", "operator": "noop", "has_effects": True}
    table = mapped("[1,2,3]", body("p", effect, "q", edges=["p->e", "e->q"]))
    table.taken()
    for name in ("m/2/p", "m/1/p"):
        table.end(name, done())
    assert table.taken() == []
    table.end("m/0/p", done())
    assert table.taken() == ["m/0/e"]
    table.end("m/0/e", failure())
    assert table.taken() == ["m/0/q", "m/1/e"]


def test_item_whose_effect_is_skipped_gives_the_turn_on() -> None:
    effect = {"id": "e", "operator": "noop", "has_effects": True}
    edge = {"source": "p", "target": "e", "on_error": "skip"}
    table = mapped("[1,2]", body("p", effect, edges=[edge]), min_success_ratio=0)
    table.taken()
    table.end("m/1/p", done())
    table.end("m/0/p", failure())
    assert table.taken() == ["m/1/e"]


def test_no_more_executions_are_kept_than_memory_is_given_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "UNCOMMITTED_MOST", 3)
    table = mapped("[0,1,2,3,4,5]")
    assert table.taken() == ["m/0/p", "m/1/p", "m/2/p"]
    table.end("m/1/p", done())
    assert table.taken() == []  # m/0 is not committed
    table.end("m/0/p", done())
    assert table.taken() == ["m/3/p", "m/4/p"]
    for number in (2, 3, 4):
        table.end(f"m/{number}/p", done())
    table.end("m/5/p", done())
    assert end_of(table, "m").note == "6 items"


def test_what_happens_to_items_that_were_let_go_of_changes_nothing() -> None:
    table = mapped("[1,2]")
    table.end("m/0/p", failure())
    rows = table.end("m/1/p", done()).rows
    assert [row for row in rows if isinstance(row, CommitNode)] == []


def test_cancelled_run_commits_what_had_begun_and_nothing_hangs() -> None:
    table = mapped("[1,2,3]", max_parallel=2)
    table.end("m/0/p", done())
    table.do(CancelAsked(3, 1, "enough"))
    assert table.state.runs == {} and dict(table.committed())["m"] == "cancelled"
    assert [name for name, _ in table.committed()][-3:] == ["m/2/p", "m", "z"]


@pytest.mark.parametrize("order", Order)
def test_strict_map_starts_within_its_place_in_the_order(order: Order) -> None:  # S1.9 S1.10
    table = mapped("[1,2]", body("p", "q", edges=["p->q"]), spec(order, Start.STRICT))
    started: list[str] = []
    while table.submitted:
        names = table.taken()
        started += names
        for name in reversed(names):
            table.end(name, done())
    in_levels = ["m/0/p", "m/1/p", "m/1/q", "m/0/q", "z"]
    one_by_one = ["m/0/p", "m/0/q", "m/1/p", "m/1/q", "z"]
    assert sorted(started) == sorted(one_by_one)
    assert started == (one_by_one if order is Order.BRANCHES else in_levels) or order is Order.LEVELS


def test_map_within_a_map_gives_lists_of_lists() -> None:
    inner = {"id": "k", "map": {"subgraph": "c"}}
    outer = {
        "canvas": {"nodes": [inner]}, "inputs": [{"name": "x", "node": "k", "port": "items"}],
        "outputs": [{"name": "y", "node": "k", "port": "y"}],
    }  # fmt: skip
    edges = [{"source": "s", "target": "m", "target_port": "items"}]
    table = Table()
    node = {"id": "m", "map": {"subgraph": "b"}}
    table.ask(planned(canvas_of(["s", node], edges, subgraphs={"b": outer, "c": body("p")})))
    table.end("s", done("[[1,2],[],[3]]"))
    assert table.taken() == ["s", "m/0/k/0/p", "m/0/k/1/p", "m/2/k/0/p"]
    for name in ("m/2/k/0/p", "m/0/k/1/p", "m/0/k/0/p"):
        table.end(name, done(f'"{name}"'))
    assert value_of(table, "m") == '[["m/0/k/0/p","m/0/k/1/p"],[],["m/2/k/0/p"]]'
    assert [name for name, _ in table.committed()] == [
        "s", "m/0/k/0/p", "m/0/k/1/p", "m/0/k", "m/1/k", "m/2/k/0/p", "m/2/k", "m",
    ]  # fmt: skip
