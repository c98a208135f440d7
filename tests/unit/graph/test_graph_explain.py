"""What explain predicts: the critical path, and what strictness costs (S1.3, S1.10)."""

from __future__ import annotations

import pytest

from services.graph.model import Order
from services.graph.runs.values import Detail, End
from services.graph.telling.makespans import critical_path, ready_makespan_s, strict_makespan_s
from services.graph.telling.measured import UNKNOWN, measures
from tests.support.canvases import canvas_of, planned

EDGES = ["a->b", "b->c", "a->d", "d->e"]
TIMES = {"a": 1.0, "b": 5.0, "c": 1.0, "d": 1.0, "e": 5.0}


def test_critical_path_is_the_longest_by_time_then_by_nodes() -> None:
    graph = planned(canvas_of("abcde", EDGES))
    names = [node.id for node in graph.nodes]
    assert [names[rank] for rank in critical_path(graph, [TIMES[name] for name in names])] == ["a", "b", "c"]
    assert len(critical_path(graph, [0.0] * 5)) == 3
    assert critical_path(planned(canvas_of()), []) == []


@pytest.mark.parametrize(("slots", "ready", "strict"), [(2, 7.0, 11.0), (1, 13.0, 13.0), (9, 7.0, 11.0)])
def test_barrier_between_levels_costs_what_is_predicted(slots: int, ready: float, strict: float) -> None:
    graph = planned(canvas_of("abcde", EDGES))
    seconds = [TIMES[node.id] for node in graph.nodes]
    assert ready_makespan_s(graph, seconds, slots) == ready
    assert strict_makespan_s(graph, seconds, slots, Order.LEVELS) == strict
    branches = planned(canvas_of("abcde", EDGES), Order.BRANCHES)
    assert strict_makespan_s(branches, [TIMES[n.id] for n in branches.nodes], slots, Order.BRANCHES) == 13.0


def ended(task: str, run_ms: int, detail: Detail = Detail.COMPUTED) -> End:
    """How a node ended that had waited for a minute."""
    return End(detail, task=task, start_ms=1_000, end_ms=61_000, run_ms=run_ms)


def test_times_are_medians_of_the_latest_runs_that_computed_the_node() -> None:
    graph = planned(canvas_of("ab"))
    past = [
        (9, graph, [(0, ended("t-9", 4_000)), (1, ended("t-90", 0, Detail.CACHED))]),
        (8, graph, [(0, ended("t-9", 4_000))]),  # kept by the run that continues it: measured once
        (7, graph, [(0, ended("t-7", 1_000)), (1, ended("t-70", 500, Detail.FAILED))]),
        (6, graph, [(0, ended("t-6", 2_000)), (1, ended("t-60", 0))]),
        *((number, graph, [(0, ended(f"t-{number}", 60_000))]) for number in (5, 4, 3)),
    ]
    first, second = measures(graph, past)
    assert (first.seconds, first.runs) == (4.0, (9, 7, 6, 5, 4))
    assert (second.seconds, second.runs) == (60.0, (6,))  # from its start to its end: nothing else is known
    assert measures(graph, []) == [UNKNOWN, UNKNOWN]


def test_times_of_a_node_that_does_other_work_now_do_not_count() -> None:
    before, now = planned(canvas_of("ab")), planned(canvas_of([{"id": "a", "operator": "load"}, "b"]))
    past = [(1, before, [(0, ended("t-1", 1_000)), (1, ended("t-2", 2_000))])]
    assert sorted(measure.seconds for measure in measures(now, past)) == [0.0, 2.0]
