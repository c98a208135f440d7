"""Gates and branches, one event at a time (S1.9; issue 4, point 7)."""

from __future__ import annotations

from typing import Any

import pytest

from services.graph.model import Graph
from services.graph.runs.effects import PutGate, ReadValues, RecordRunState
from services.graph.runs.events import CancelAsked, GateDecided, NodeEnded, TimePassed, ValuesRead
from services.graph.runs.results import artifact_output
from services.graph.runs.state import RunState
from services.graph.runs.values import Detail, End, Failure
from tests.support.canvases import canvas_of, planned
from tests.support.graph_runs import Table, done, failure

DIGEST = "ab" * 32


def gated(**fields: Any) -> Graph:
    """a → g → b."""
    work: dict[str, Any] = {"message": "good?", "approvers": fields.pop("approvers", [])}
    gate = {"id": "g", "gate": work, **fields}
    return planned(
        canvas_of(["a", gate, "b"], [{"source": "a", "target": "g", "target_port": "value"}, "g->b"])
    )


def decide(table: Table, account: str = "ann", *, approves: bool = True, is_admin: bool = False) -> str:
    """The reason of the refusal; "": there was none."""
    event = GateDecided(7, 1, table.place("g"), account, is_admin, approves, "ok")
    [answer] = table.do(event).answers
    return answer.error.reason if answer.error is not None else ""


def waiting(**fields: Any) -> Table:
    table = Table()
    table.ask(gated(**fields))
    table.end("a", done("5"))
    table.taken()
    return table


def test_approved_gate_passes_its_value_on_and_notes_who() -> None:
    table = waiting()
    assert [row.record.is_approved for row in table.effects.rows if isinstance(row, PutGate)] == [None]
    assert decide(table) == ""
    assert table.taken() == ["b"]
    end = table.log[-1].end
    assert (end.outputs[0].value, end.note) == ("5", "approved by ann: ok")


def test_rejected_gate_fails_and_its_edge_says_what_follows() -> None:
    table = waiting()
    assert decide(table, approves=False) == ""
    assert table.log[-1].end.failure == Failure(6, "rejected by ann: ok")
    assert table.taken() == ["b"]


def test_same_decision_again_changes_nothing_and_another_is_refused() -> None:
    table = waiting()
    decide(table)
    assert decide(table, "bob") == "" and table.effects.rows == []
    assert decide(table, approves=False) == "GATE_NOT_WAITING"
    assert table.state.runs[1].gates[table.place("g")].account == "ann"


def test_only_approvers_and_administrators_decide() -> None:
    table = waiting(approvers=["eve"])
    assert decide(table, "ann") == "GATE_FORBIDDEN"
    assert decide(table, "ann", is_admin=True) == ""
    table = waiting(approvers=["eve"])
    assert decide(table, "eve") == ""


def test_gate_that_was_not_reached_and_what_is_no_gate_are_refused() -> None:
    table = Table()
    table.ask(gated())
    assert decide(table) == "GATE_NOT_WAITING"
    [answer] = table.do(GateDecided(7, 1, table.place("a"), "ann", True, True, "")).answers
    assert answer.error is not None and answer.error.reason == "NO_GATE"


def test_gate_times_out_when_its_time_has_passed_and_not_before() -> None:
    table = waiting(timeout_s=2)
    table.now = 2_000
    table.do(TimePassed())
    assert table.taken() == [] and table.state.deadlines
    table.now = 2_001
    table.do(TimePassed())
    assert table.log[-1].end.detail is Detail.TIMED_OUT
    assert table.state.deadlines == {} and table.taken() == ["b"]
    assert decide(table) == "GATE_NOT_WAITING"


def test_decided_gate_times_out_no_more() -> None:
    table = waiting(timeout_s=2)
    decide(table)
    table.now = 9_000
    assert table.do(TimePassed()).rows == []


def test_gate_of_a_cancelled_run_is_forgotten_with_its_time() -> None:
    table = waiting(timeout_s=2)
    effects = table.do(CancelAsked(3, 1, "enough"))
    assert [row.state for row in effects.rows if isinstance(row, RecordRunState)] == [RunState.CANCELLED]
    assert table.state.deadlines == {}
    [answer] = table.do(GateDecided(7, 1, (1,), "ann", False, True, "")).answers
    assert answer.error is not None and answer.error.reason == "RUN_HAS_ENDED"


def test_gate_behind_a_failure_that_all_fails_with_waits_no_more() -> None:
    edges = [{"source": "a", "target": "c", "on_error": "fail_run"}]
    table = Table()
    table.ask(planned(canvas_of(["a", "c", {"id": "g", "gate": {"message": "?"}, "timeout_s": 9}], edges)))
    assert table.state.deadlines
    table.end("a", failure())
    assert table.state.deadlines == {} and table.state.runs == {}
    assert dict(table.committed())["g"] == "cancelled"


def test_gates_that_time_out_together_end_a_run_that_fails_with_the_first() -> None:
    gates = [{"id": name, "gate": {"message": "?"}, "timeout_s": 1} for name in ("g", "h")]
    table = Table()
    table.ask(planned(canvas_of([*gates, "x"], [{"source": "g", "target": "x", "on_error": "fail_run"}])))
    table.now = 2_000
    table.do(TimePassed())
    assert table.committed() == [("g", "timed_out"), ("h", "cancelled"), ("x", "cancelled")]
    assert table.state.deadlines == {}


def branched(value: str | None, comparison: str = "less", wanted: Any = 10, **edge: Any) -> Table:
    """a → b, whose port "low" leads to l and "else" to e; j joins them."""
    condition = {"comparison": comparison, **({"value": wanted} if comparison != "exists" else {})}
    branch = {"id": "b", "branch": {"cases": [{"port": "low", "condition": condition}]}}
    edges = [
        {"source": "a", "target": "b", "target_port": "value", **edge},
        {"source": "b", "source_port": "low", "target": "l"},
        {"source": "b", "source_port": "else", "target": "e"},
        "l->j", "e->j",
    ]  # fmt: skip
    table = Table()
    table.ask(planned(canvas_of(["a", branch, "l", "e", "j"], edges)))
    table.end("a", failure() if value is None else done(value))
    table.taken()
    return table


@pytest.mark.parametrize(("value", "taken", "skipped"), [("3", "l", "e"), ("30", "e", "l")])
def test_branch_takes_the_first_case_that_holds_and_skips_the_others(
    value: str, taken: str, skipped: str
) -> None:
    table = branched(value)
    table.end(taken, done())
    table.end("j", done())
    words = dict(table.committed())
    assert (words[taken], words[skipped], words["j"]) == ("computed", "skipped", "computed")
    [row] = [row for row in table.log if row.place == table.place("b")]
    assert row.end.note == f"took '{'low' if taken == 'l' else 'else'}'" and row.end.outputs[0].value == value
    [row] = [row for row in table.log if row.place == table.place(skipped)]
    assert row.end.note == "nothing comes from b"


def test_branch_of_a_failed_source_looks_at_null() -> None:
    table = branched(None, "equal", None)
    table.end("l", done())
    assert dict(table.committed())["b"] == "computed"


def test_branch_that_cannot_compare_fails_and_says_why() -> None:
    table = branched('"text"')
    [row] = [row for row in table.log if row.place == table.place("b")]
    assert row.end.failure is not None and "the value is a text" in row.end.failure.message


def test_branch_reads_an_artefact_before_it_decides_and_passes_it_on() -> None:
    table = branched("1")
    table.ask(planned(canvas_of(["a", {"id": "b", "branch": {"cases": [
        {"port": "low", "condition": {"comparison": "exists"}}]}}],
        [{"source": "a", "target": "b", "target_port": "value"}])))  # fmt: skip
    end = End(Detail.COMPUTED, (artifact_output("result", DIGEST, 9),))
    effects = table.do(NodeEnded(2, (0,), end))
    [wish] = [wish for wish in effects.wishes if isinstance(wish, ReadValues)]
    assert (wish.place, wish.digests) == ((1,), {"value": DIGEST})
    table.do(ValuesRead(2, (1,), {"value": "7"}))
    assert table.log[-1].end.outputs[0].digest == DIGEST and table.log[-1].end.outputs[0].port == "low"


@pytest.mark.parametrize("values", [{"value": "{"}, {}])
def test_branch_whose_value_cannot_be_read_fails(values: dict[str, str]) -> None:
    table = Table()
    branch = {"id": "b", "branch": {"cases": [{"port": "low", "condition": {"comparison": "exists"}}]}}
    table.ask(planned(canvas_of(["a", branch], [{"source": "a", "target": "b", "target_port": "value"}])))
    table.end("a", End(Detail.COMPUTED, (artifact_output("result", DIGEST, 9),)))
    table.do(ValuesRead(1, (1,), values, None if values else Failure(7, "it is gone")))
    assert table.log[-1].end.failure is not None
