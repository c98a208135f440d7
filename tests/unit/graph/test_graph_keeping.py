"""What a run that continues another keeps of it, of its bodies too (S1.7; issue 4, point 8)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.graph.model import Graph
from services.graph.records import keeping
from services.graph.records.keeping import NodeUnknown, demanded
from services.graph.runs.effects import FetchKept
from services.graph.runs.events import BodyKept
from services.graph.runs.state import Spec
from tests.support.canvases import canvas_of, planned
from tests.support.graph_disk import Disk
from tests.support.graph_runs import Table, done, failure, spec
from tests.support.memory_database import finish

BODY = {
    "canvas": {
        "nodes": [{"id": "p", "operator": "noop"}, {"id": "q", "operator": "noop"}],
        "edges": [{"source": "p", "target": "q"}],
    },
    "inputs": [{"name": "x", "node": "p", "port": "value"}],
    "outputs": [{"name": "y", "node": "q", "port": "result"}],
}


def graph_of(**more: Any) -> Graph:
    """a → b → m, a map; c stands alone."""
    kept = {"id": "a", "operator": "noop", "record": True}
    nodes = [kept, {"id": "b", "operator": "noop", **more}, "c", {"id": "m", "map": {"subgraph": "s"}}]
    edges: list[Any] = ["a->b", {"source": "b", "target": "m", "target_port": "items"}]
    return planned(canvas_of(nodes, edges, subgraphs={"s": BODY}))


def continued(table: Table, graph: Graph, *again: str) -> list[str]:
    """Ids of what starts of a run that continues run 1; what it keeps of bodies is read at once."""
    assert table.disk is not None
    store = table.disk.store()
    old = finish(store.run(1))
    assert old is not None
    # A cache would know the same.
    table.state.cache._entries.clear()
    kept = finish(keeping.of_run(store, old, graph, again))
    wish: Spec = demanded(msgspec.structs.replace(spec(), continued_from=1), graph, again)
    table.taken()
    table.log.clear()
    run = table.ask(graph, wish, kept=kept)
    more = [wish for wish in table.effects.wishes if isinstance(wish, FetchKept)]
    for wanted in more:
        found = finish(keeping.of_bodies(store, run, wanted.place[:-1], [wanted.place[-1]]))
        table.do(BodyKept(wanted.run, wanted.place, found.get(wanted.place[-1], {})))
    return table.taken()


@pytest.fixture
def failed() -> Table:
    """Run 1: item 1 of the map has failed at q."""
    table = Table(disk=Disk())
    table.ask(graph_of())
    table.end("a", done("1"))
    table.end("c", done("2"))
    table.end("b", done("[10,20]"))
    for name in ("m/0/p", "m/1/p", "m/0/q"):
        table.end(name, done(f'"{name}"'))
    table.end("m/1/q", failure())
    assert table.state.runs == {}
    return table


def test_only_what_failed_runs_again(failed: Table) -> None:
    assert continued(failed, graph_of()) == ["m/1/q"]
    failed.end("m/1/q", done('"new"'), run=2)
    reasons = {name: row.end.reason for row, (name, _) in zip(failed.log, failed.committed(), strict=True)}
    assert reasons["a"] == reasons["m/0/p"] == reasons["m/0/q"] == "kept from r-1"
    assert failed.log[-1].end.outputs[0].value == '["m/0/q","new"]'


def test_what_was_named_runs_again_with_all_that_depends_on_it(failed: Table) -> None:
    assert continued(failed, graph_of(), "a") == ["a"]
    failed.end("a", done("1"), run=2)
    assert failed.taken() == ["b"]


def test_node_of_a_body_that_was_named_runs_again_there_with_what_it_lacks(failed: Table) -> None:
    # What m/0/p gave went when m/0/q was committed; that of m/1/p is there, for its consumer failed.
    assert continued(failed, graph_of(), "m/0/q") == ["m/0/p", "m/1/q"]


def test_whole_execution_that_was_named_runs_again(failed: Table) -> None:
    assert continued(failed, graph_of(), "m") == ["m/0/p", "m/1/p"]


def test_changed_node_runs_again_and_equal_bytes_keep_what_follows(failed: Table) -> None:
    changed = graph_of(initial_params={"n": 1})
    assert continued(failed, changed) == ["b"]
    failed.end("b", done("[10,20]"), run=2)
    assert failed.state.runs[2].aside == {failed.place("m/0"), failed.place("m/1")}


def test_run_that_succeeded_is_kept_whole(failed: Table) -> None:
    assert continued(failed, graph_of()) == ["m/1/q"]
    failed.end("m/1/q", done("9"), run=2)
    assert failed.state.runs == {}


def test_node_that_there_is_not_is_refused() -> None:
    with pytest.raises(NodeUnknown):
        demanded(spec(), graph_of(), ["nobody"])


def test_continued_run_keeps_the_same_after_a_restart(failed: Table) -> None:
    assert continued(failed, graph_of()) == ["m/1/q"]
    effects = failed.restart()
    assert not [wish for wish in effects.wishes if isinstance(wish, FetchKept) and wish.run != 2]
    assert failed.taken() == []
    assert failed.disk is not None
    store, run = failed.disk.store(), failed.state.runs[2]
    for wanted in [wish for wish in effects.wishes if isinstance(wish, FetchKept)]:
        found = finish(keeping.of_bodies(store, run, wanted.place[:-1], [wanted.place[-1]]))
        failed.do(BodyKept(2, wanted.place, found.get(wanted.place[-1], {})))
    assert failed.taken() == []
    failed.end("m/1/q", done("9"), run=2)
    assert failed.state.runs == {}
