"""Any graph, any delays: the committed log is the same for both starts on 1, 2 and 4 workers (S1.4, S1.6–S1.10)."""

import random

import pytest

from services.graph.model import OnError, Order, Trigger
from services.graph.runs.state import Start
from tests.support.graph_runs import planned, simulate, spec, sum_work

SEEDS = range(40)


def random_graph(seed: int, order: Order):
    chance = random.Random(seed)
    names = [f"n{i}" for i in range(chance.randint(1, 30))]
    edges, waits = [], []
    for later in range(1, len(names)):
        for earlier in chance.sample(range(later), min(later, chance.choice((0, 1, 1, 2, 3)))):
            policy = chance.choices(list(OnError), (6, 2, 1))[0]
            pair = (names[earlier], names[later])
            (edges if chance.random() < 0.85 else waits).append(
                (*pair, policy) if chance.random() < 0.85 else pair
            )
    dragged = chance.sample(names, len(names))
    graph = planned(
        dragged,
        edges,
        order,
        effects=[name for name in names if chance.random() < 0.2],
        record=[name for name in names if chance.random() < 0.2],
        triggers={name: chance.choices(list(Trigger), (5, 1, 1))[0] for name in names},
        order_edges=[edge[:2] for edge in waits],
    )
    fail = frozenset(rank for rank in range(len(names)) if chance.random() < 0.1)
    return graph, fail


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("seed", SEEDS)
def test_log_of_any_graph_is_the_same_however_it_is_run(seed: int, order: Order) -> None:
    graph, fail = random_graph(seed, order)
    logs = [
        simulate(graph, spec(order, start), workers, seed * 31 + workers, sum_work(fail))[0]
        for start in Start
        for workers in (1, 2, 4)
    ]
    assert all(log == logs[0] for log in logs)
    assert len(logs[0]) == len(graph.nodes)


@pytest.mark.parametrize("seed", SEEDS)
def test_strict_levels_start_no_level_before_the_one_above_has_ended(seed: int) -> None:  # S1.4, S1.10
    graph, fail = random_graph(seed, Order.LEVELS)
    _, started = simulate(graph, spec(Order.LEVELS, Start.STRICT), 3, seed, sum_work(fail))
    levels = [graph.nodes[place[0]].gradient for place in started]
    assert levels == sorted(levels)


@pytest.mark.parametrize("seed", SEEDS)
def test_strict_branches_start_in_the_total_order(seed: int) -> None:  # S1.9
    graph, fail = random_graph(seed, Order.BRANCHES)
    _, started = simulate(graph, spec(Order.BRANCHES, Start.STRICT), 4, seed, sum_work(fail))
    assert started == sorted(started)


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("seed", SEEDS)
def test_effects_happen_in_the_total_order(seed: int, order: Order) -> None:
    graph, fail = random_graph(seed, order)
    _, started = simulate(graph, spec(order), 4, seed, sum_work(fail))
    effects = [place for place in started if graph.nodes[place[0]].has_effects]
    assert effects == sorted(effects)
