"""What steps of runs owe to other services: who is told of what, what is referred to, what is cancelled (S1.6)."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from services.chassis.clock import SystemClock
from services.chassis.steps.errands import Errands
from services.chassis.storage.sqlite import Database, load_migrations, load_queries
from services.graph.model import GateControl, Graph
from services.graph.model import Kind as NodeKind
from services.graph.records.owing import Kind, Notice, Reference, owed
from services.graph.runs.effects import DropBatch, Effects, InsertErrand, KeepArtifacts, RecordTasks, Tell
from services.graph.runs.events import CancelAsked, GateDecided, RunRecovered, TasksAccepted
from services.graph.runs.state import Run, State
from services.graph.runs.values import Detail, End, Output
from tests.support.graph_runs import Table, done, failure, planned, spec

SQL = load_queries("services.graph")


def told(table: Table) -> list[Tell]:
    return [wish for wish in table.effects.wishes if isinstance(wish, Tell)]


def with_gate(message: str = "go on?") -> Graph:
    graph = planned(["a", "ask"], [("a", "ask")])
    nodes = list(graph.nodes)
    nodes[1] = msgspec.structs.replace(
        nodes[1], kind=NodeKind.GATE, control=GateControl(message, ()), identity="", outputs=("value",)
    )
    return msgspec.structs.replace(graph, nodes=tuple(nodes))


def test_end_of_a_run_is_told_in_the_step_that_commits_its_last_node() -> None:  # S1.6
    table = Table()
    table.ask(planned(["a", "b"], [("a", "b")]))
    table.end("a", done())
    assert told(table) == []
    table.end("b", done())
    assert told(table) == [Tell(1, "ann")]


def test_end_of_a_failed_run_names_the_first_node_in_error() -> None:  # S1.6
    table = Table()
    table.ask(planned(["a", "b", "c", "d"], [("a", "d"), ("b", "d"), ("c", "d")]))
    for name in ("c", "b"):
        table.end(name, failure())
    table.end("a", done())
    table.end("d", done())
    assert told(table) == [Tell(1, "ann", failed_node="b")]


def test_silent_run_tells_nobody_of_anything() -> None:  # S1.6
    table = Table()
    table.ask(with_gate(), msgspec.structs.replace(spec(), is_silent=True))
    table.end("a", done())
    assert told(table) == []
    table.do(CancelAsked(2, 1, "enough"))
    assert not table.state.runs and told(table) == []


def test_gate_is_told_of_when_it_begins_to_wait_and_not_again_after_a_restart() -> None:  # S1.6
    table = Table()
    run = table.ask(with_gate())
    table.end("a", done())
    assert told(table) == [Tell(1, "ann", gate="ask", asks="go on?")]
    # As recovery makes it: what is committed is committed, the gate has its record.
    later = Table(State(next_run=1))
    again = Run(msgspec.structs.replace(run.spec, number=1), run.graph)
    again.gates.update(run.gates)
    later.graph = run.graph
    later.do(RunRecovered(again, ()))
    later.end("a", done())
    assert told(later) == []
    table.do(GateDecided(2, 1, (1,), "ann", is_admin=False, is_approved=True, comment=""))
    assert told(table) == [Tell(1, "ann")]


def test_answer_for_a_run_that_has_ended_cancels_its_tasks_and_lets_go_of_the_batch() -> None:
    table = Table()
    table.ask(planned(["a"], []))
    table.do(CancelAsked(2, 1, ""))
    effects = table.do(TasksAccepted("ann", 7, 1, ((0,),), ("t-1",)))
    assert table.cancelled == ["t-1"]
    assert [row for row in effects.rows if isinstance(row, DropBatch | RecordTasks)] == [DropBatch(7)]


def test_artefacts_of_a_cache_entry_are_referred_to_for_its_account_alone() -> None:
    holders = set()
    for account in ("ann", "bob"):
        table = Table()
        table.ask(planned(["a"], []), msgspec.structs.replace(spec(), account=account))
        artefact = Output("result", "", "ab" * 32, 5)
        table.end("a", End(Detail.COMPUTED, (artefact,)))
        holders |= {
            wish.holder for wish in table.effects.wishes
            if isinstance(wish, KeepArtifacts) and wish.holder.startswith("cache:")
        }  # fmt: skip
    assert len(holders) == 2, "else one account's entry would let go of the other's artefacts"
    assert all(len(holder) <= 200 for holder in holders)


@pytest.mark.asyncio
async def test_wishes_of_a_step_become_one_errand_for_what_belongs_together(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "g.db", load_migrations("services.graph"))
    try:
        errands = Errands(database, SQL, SystemClock())
        await errands.open()
        effects = Effects()
        effects.wishes = [
            KeepArtifacts("ann", "run:r-1", ("a",)), KeepArtifacts("ann", "cache:x", ("a",)),
            KeepArtifacts("ann", "run:r-1", ("b", "c")), KeepArtifacts("ann", "cache:x", ()),
            KeepArtifacts("ann", "cache:x", ("d",)), KeepArtifacts("bob", "run:r-1", ("e",)),
            Tell(1, "ann", failed_node="n"),
        ]  # fmt: skip
        made = owed(effects, errands)
        contents = [
            msgspec.msgpack.decode(each.content, type=Notice if each.kind is Kind.NOTICE else Reference)
            for each in made
        ]
        assert contents == [
            Reference("run:r-1", ("a", "b", "c")), Reference("cache:x", ("a",)), Reference("cache:x", ()),
            Reference("cache:x", ("d",)), Reference("run:r-1", ("e",)), Notice(1, failed_node="n"),
        ]  # fmt: skip
        assert [row.number for row in effects.rows if isinstance(row, InsertErrand)] == [1, 2, 3, 4, 5, 6]
        nothing = Effects()
        assert owed(nothing, errands) == [] and nothing.rows == []
    finally:
        await database.close()
