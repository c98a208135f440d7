"""What explain predicts: the critical path, and what strictness costs (S1.3, S1.10)."""

from __future__ import annotations

import pytest

from services.graph.explain import critical_path, ready_makespan_s, strict_makespan_s
from services.graph.model import Order
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
