"""The machine of runs, one event at a time: what starts, what waits, what is committed, what is given up."""

import pytest

from services.graph.model import OnError, Order, Trigger
from services.graph.runs.effects import (
    CommitNode,
    DropOutputs,
    FetchCached,
    KeepNode,
    PutCached,
    RecordRunState,
    Submit,
)
from services.graph.runs.events import (
    BatchRefused,
    CacheAnswered,
    CancelAsked,
    NodeEnded,
    NodeModified,
    PauseAsked,
    ResumeAsked,
    TasksAccepted,
)
from services.graph.runs.state import RunState, Start
from services.graph.runs.values import Failure, Kept
from tests.support.canvases import canvas_of
from tests.support.canvases import planned as from_canvas
from tests.support.graph_runs import Table, done, failure, planned, spec

DIAMOND = (("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"))


def test_node_with_two_inputs_starts_when_both_are_there() -> None:  # S1.8
    table = Table()
    table.ask(planned("abcd", DIAMOND))
    assert table.taken() == ["a"]
    table.end("a", done())
    assert table.taken() == ["b", "c"]
    table.end("c", done())
    assert table.taken() == []
    table.end("b", done())
    assert table.taken() == ["d"]


def test_commits_follow_the_order_however_nodes_end() -> None:  # S1.4, S1.9
    table = Table()
    table.ask(planned("abcd", DIAMOND))
    table.end("a", done())
    table.end("c", done())
    assert table.committed() == [("a", "computed")]
    table.end("b", done())
    assert table.committed() == [("a", "computed"), ("b", "computed"), ("c", "computed")]
    assert [row.sequence for row in table.log] == [1, 2, 3]


def test_run_ends_with_its_last_commit_and_says_how() -> None:  # S1.6
    table = Table()
    table.ask(planned("ab", [("a", "b")]))
    table.end("a", failure())
    assert table.taken() == ["a", "b"]
    effects = table.end("b", done())
    [end] = [row for row in effects.rows if isinstance(row, RecordRunState)]
    assert (end.state, end.done, end.error) == (RunState.FAILED, 1, 1)
    assert table.state.runs == {}


def test_failed_node_has_no_outputs(  # S1.7
) -> None:
    table = Table()
    table.ask(planned("a", []))
    table.end("a", failure())
    assert table.log[0].end.outputs == ()


def test_values_are_dropped_once_consumers_are_committed_unless_recorded() -> None:  # S1.7
    table = Table()
    table.ask(planned("abcd", DIAMOND, record=["b"]))
    for name in "abc":
        table.end(name, done())
    effects = table.end("d", done())
    dropped = [row.place for row in effects.rows if isinstance(row, DropOutputs)]
    assert dropped == [(2,)]  # c; a was dropped before, b is recorded, d is a sink
    [left] = [row.outputs for row in effects.rows if isinstance(row, DropOutputs)]
    assert left[0].is_dropped and left[0].content


def test_values_stay_as_long_as_a_consumer_failed() -> None:
    table = Table()
    table.ask(planned("ab", [("a", "b")]))
    table.end("a", done())
    effects = table.end("b", failure())
    assert not any(isinstance(row, DropOutputs) for row in effects.rows)


def test_skip_edge_skips_the_target_and_what_hangs_on_it_alone() -> None:
    table = Table()
    table.ask(planned("abcx", [("a", "b", OnError.SKIP), ("b", "c"), ("x", "c")]))
    table.end("a", failure())
    table.end("x", done())
    assert "b" not in table.submitted
    table.end("c", done())
    assert dict(table.committed())["b"] == "skipped"
    assert dict(table.committed())["c"] == "computed"


def test_fail_run_edge_cancels_all_behind_it_in_the_order_finished_or_not() -> None:
    table = Table()
    graph = planned("abcd", [("a", "d", OnError.FAIL_RUN)])
    table.ask(graph)
    table.do(TasksAccepted("ann", 1, 1, ((0,), (1,), (2,)), ("t-1", "t-2", "t-3")))
    table.end("b", done())
    table.end("a", failure())
    assert table.cancelled == ["t-3"]
    assert table.committed() == [("a", "failed"), ("b", "cancelled"), ("c", "cancelled"), ("d", "cancelled")]


@pytest.mark.parametrize(
    ("trigger", "word"), [(Trigger.ALL_DONE, "skipped"), (Trigger.ALL_ENDED, "computed")]
)
def test_trigger_says_what_a_failed_predecessor_means(trigger: Trigger, word: str) -> None:
    table = Table()
    table.ask(planned("abc", [("a", "c"), ("b", "c")], triggers={"c": trigger}))
    table.end("a", failure())
    table.end("b", done())
    if word == "computed":
        table.end("c", done())
    assert dict(table.committed())["c"] == word


def test_any_done_takes_the_first_in_the_order_that_is_done() -> None:
    table = Table()
    table.ask(planned("abc", [("a", "c"), ("b", "c")], triggers={"c": Trigger.ANY_DONE}))
    table.taken()
    table.end("b", done())
    assert table.taken() == []  # a may still be done, and stands before
    table.end("a", failure())
    assert table.taken() == ["c"]


def test_strict_levels_open_a_level_when_the_one_above_has_ended() -> None:  # S1.10
    table = Table()
    table.ask(planned("abc", [("a", "c")]), spec(Order.LEVELS, Start.STRICT))
    table.taken()
    table.end("a", done())
    assert table.taken() == []
    table.end("b", done())
    assert table.taken() == ["c"]


def test_strict_level_that_ends_as_it_opens_starts_those_behind_it_once() -> None:  # S1.10
    branch = {"id": "b", "branch": {"cases": [{"port": "yes", "condition": {"comparison": "exists"}}]}}
    late = {"id": "l", "operator": "noop", "trigger": "any_done"}
    edges = [
        {"source": "a", "target": "b", "target_port": "value"},
        "a->l",
        {"source": "b", "target": "l", "kind": "order"},
    ]
    table = Table()
    table.ask(from_canvas(canvas_of(["a", "x", branch, late], edges)), spec(Order.LEVELS, Start.STRICT))
    table.end("a", done())
    assert table.taken() == ["a", "x"]
    table.end("x", done())
    assert table.taken() == ["l"]


def test_strict_branches_run_one_node_at_a_time_branch_by_branch() -> None:  # S1.9
    table = Table()
    edges = [("a", "b"), ("a", "c"), ("b", "d")]
    table.ask(planned("abcd", edges, Order.BRANCHES), spec(Order.BRANCHES, Start.STRICT))
    started = []
    for _ in range(4):
        [name] = table.taken()
        started.append(name)
        table.end(name, done())
    assert started == ["a", "b", "d", "c"]


def test_effects_wait_for_earlier_effects_and_pure_nodes_do_not() -> None:
    table = Table()
    table.ask(planned("abc", [], effects=["a", "c"]))
    assert table.taken() == ["a", "b"]
    table.end("a", done())
    assert table.taken() == ["c"]


def test_no_more_than_max_parallel_are_under_way() -> None:
    table = Table()
    table.ask(planned("abc", []), spec(max_parallel=2))
    assert table.taken() == ["a", "b"]
    table.end("b", done())
    assert table.taken() == ["c"]


def test_paused_run_starts_nothing_and_commits_what_ends() -> None:
    table = Table()
    table.ask(planned("ab", [("a", "b")]))
    table.do(PauseAsked(2, 1))
    table.taken()
    table.end("a", done())
    assert (table.taken(), table.committed()) == ([], [("a", "computed")])
    table.do(ResumeAsked(3, 1))
    assert table.taken() == ["b"]


def test_cancelled_run_ends_at_once_and_asks_its_tasks_to_end() -> None:
    table = Table()
    table.ask(planned("abc", [("a", "b"), ("a", "c")]))
    table.do(TasksAccepted("ann", 1, 1, ((0,),), ("t-9",)))
    rows = table.do(CancelAsked(2, 1, "enough")).rows
    assert table.cancelled == ["t-9"]
    assert {word for _, word in table.committed()} == {"cancelled"}
    # What it wrote until then is still found by its task.
    assert [row.end.task for row in rows if isinstance(row, CommitNode)] == ["t-9", "", ""]
    assert table.do(NodeEnded(1, 0, done())).rows == []


def test_tasks_that_were_taken_after_the_run_was_cancelled_are_cancelled_too() -> None:
    table = Table()
    table.ask(planned("a", []))
    table.do(CancelAsked(2, 1, ""))
    table.do(TasksAccepted("ann", 1, 1, ((0,),), ("t-9",)))
    assert table.cancelled == ["t-9"]


def test_refused_batch_is_tried_node_by_node_and_only_the_faulty_one_fails() -> None:
    table = Table()
    table.ask(planned("ab", []))
    refusal = Failure(7, "b is wrong")
    effects = table.do(BatchRefused(1, 1, ((0,), (1,)), refusal))
    assert [wish.places for wish in effects.wishes if isinstance(wish, Submit)] == [((0,),), ((1,),)]
    table.do(BatchRefused(3, 1, ((1,),), refusal))
    table.end("a", done())
    assert table.committed() == [("a", "computed"), ("b", "failed")]


def test_refused_batch_of_which_something_has_ended_within_the_step_is_tried_without_it() -> None:
    table = Table()
    table.ask(planned("abc", []))
    refusal = Failure(7, "one of them is wrong")
    effects = table.do(BatchRefused(1, 1, ((0,), (1,), (2,)), refusal), NodeEnded(1, (1,), done()))
    assert [wish.places for wish in effects.wishes if isinstance(wish, Submit)] == [((0,),), ((2,),)]


def test_modified_node_gets_the_parameters_and_a_started_one_is_refused() -> None:
    table = Table()
    run = table.ask(planned("ab", [("a", "b")], params={"b": '{"x":1,"y":2}'}))
    table.do(NodeModified(2, 1, (1,), '{"y":3}'))
    table.end("a", done())
    assert run.root.nodes[1].params == '{"x":1,"y":3}'
    [answer] = table.do(NodeModified(3, 1, (1,), '{"y":4}')).answers
    assert answer.error is not None and answer.error.reason == "NODE_HAS_STARTED"


def test_missing_run_parameter_fails_the_node_and_says_which() -> None:
    table = Table()
    table.ask(planned("a", [], params={"a": '{"x":{"$param":"lang"}}'}))
    assert "'lang'" in table.log[0].end.failure.message  # type: ignore[union-attr]


def test_second_run_asks_the_cache_and_equal_bytes_cut_a_change_off() -> None:
    table = Table()
    table.ask(planned("ab", [("a", "b")]))
    table.end("a", done("5"))
    put = table.end("b", done("6")).rows
    assert any(isinstance(row, PutCached) for row in put)
    # Another parameter of a that gives the same bytes: b is known.
    run = table.ask(planned("ab", [("a", "b")], params={"a": '{"n":1}'}))
    table.taken()
    effects = table.do(NodeEnded(2, (0,), done("5")))
    [wish] = [wish for wish in effects.wishes if isinstance(wish, FetchCached)]
    assert (wish.place, table.taken()) == ((1,), [])
    table.do(CacheAnswered(2, (1,), done("6").outputs, "computed by b of r-1"))
    assert run.root.nodes[1].end is not None and run.root.nodes[1].end.detail.value == "cached"


def test_entry_that_the_cache_has_let_go_of_is_computed() -> None:
    table = Table()
    table.ask(planned("a", []))
    table.end("a", done())
    table.ask(planned("a", []))
    table.taken()
    table.do(CacheAnswered(2, (0,), None))
    assert table.taken() == ["a"]


def test_kept_node_is_committed_without_running_while_its_key_is_the_same() -> None:
    table = Table()
    graph = planned("ab", [("a", "b")])
    table.ask(graph)
    table.end("a", done("5"))
    table.end("b", failure())
    kept = {0: Kept(1, table.log[0].end)}
    table.taken()
    table.ask(graph, None, kept=kept)
    assert table.taken() == ["b"]
    assert any(isinstance(row, KeepNode) for row in table.effects.rows)
    table.ask(planned("ab", [("a", "b")], params={"a": '{"n":2}'}), None, kept=kept)
    assert table.taken() == ["a"]  # its key is another
