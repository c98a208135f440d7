"""Gradients and orders of random graphs against networkx, which knows nothing of ours (S1.1, S1.3, S1.4, S1.9)."""

from __future__ import annotations

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.graph.canvases.circles import depth
from services.graph.canvases.levels import branch_order, find_cycle, gradients, total_order
from services.graph.model import Order
from services.graph.runs.places import body_at
from tests.simulation.runs.canvases import random_graph
from tests.support.canvases import canvas_of, planned

Edges = list[tuple[int, int]]


@st.composite
def acyclic(draw: st.DrawFn) -> tuple[int, Edges, list[int]]:
    """Count, edges between shuffled nodes, and a drag-in time of each (some are equal)."""
    count = draw(st.integers(1, 25))
    names = draw(st.permutations(range(count)))
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    edges = [
        (names[min(pair)], names[max(pair)])
        for pair in draw(st.lists(pairs, max_size=60))
        if pair[0] != pair[1]
    ]
    return count, edges, draw(st.lists(st.integers(0, 5), min_size=count, max_size=count))


def successors_of(count: int, edges: Edges) -> list[list[int]]:
    successors: list[list[int]] = [[] for _ in range(count)]
    for source, target in edges:
        successors[source].append(target)
    return successors


def oracle(count: int, edges: Edges) -> networkx.DiGraph:
    graph = networkx.DiGraph(edges)
    graph.add_nodes_from(range(count))
    return graph


@given(acyclic())
def test_gradients_are_the_generations_of_networkx(made: tuple[int, Edges, list[int]]) -> None:  # S1.1
    count, edges, _ = made
    generations = networkx.topological_generations(oracle(count, edges))
    expected = {node: level for level, nodes in enumerate(generations) for node in nodes}
    assert dict(enumerate(gradients(successors_of(count, edges)))) == expected
    assert depth(successors_of(count, edges)) == max(expected.values()) + 1


@given(acyclic())
def test_levels_are_the_lexicographic_order_by_generation_and_drag_in_time(
    made: tuple[int, Edges, list[int]],
) -> None:  # S1.4, S1.9
    count, edges, times = made
    graph = oracle(count, edges)
    level = {
        node: number for number, nodes in enumerate(networkx.topological_generations(graph)) for node in nodes
    }
    expected = sorted(graph, key=lambda node: (level[node], times[node], node))
    keys, successors = [(times[node], node) for node in range(count)], successors_of(count, edges)
    assert total_order(Order.LEVELS, gradients(successors), successors, keys) == expected


@given(acyclic())
def test_branches_go_on_with_the_latest_opened_branch_that_was_dragged_in_first(
    made: tuple[int, Edges, list[int]],
) -> None:  # S1.9
    """By definition: always among what is ready, the deepest branching's; within it the earliest."""
    count, edges, times = made
    graph = oracle(count, edges)
    keys = [(times[node], node) for node in range(count)]
    ordered = branch_order(successors_of(count, edges), keys)
    place = {node: number for number, node in enumerate(ordered)}
    assert all(place[source] < place[target] for source, target in edges)
    opened = {node: max((place[before] for before in graph.predecessors(node)), default=-1) for node in graph}
    for number, node in enumerate(ordered):
        ready = [other for other in graph if place[other] >= number and opened[other] < number]
        assert node == min(ready, key=lambda other: (-opened[other], keys[other]))


@given(st.integers(1, 15), st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=40))
def test_cycle_is_found_exactly_where_networkx_finds_one(count: int, pairs: Edges) -> None:
    edges = [(source % count, target % count) for source, target in pairs]
    cycle = find_cycle(successors_of(count, edges))
    graph = oracle(count, edges)
    assert bool(cycle) != networkx.is_directed_acyclic_graph(graph)
    assert all(graph.has_edge(a, b) for a, b in zip(cycle, [*cycle[1:], *cycle[:1]], strict=True))
    assert len(set(cycle)) == len(cycle)


@settings(deadline=None)
@given(acyclic(), st.sampled_from(Order))
def test_planned_graph_agrees_with_its_topology(
    made: tuple[int, Edges, list[int]], order: Order
) -> None:  # S1.3
    count, edges, times = made
    edges = sorted(set(edges))
    nodes = [
        {"id": f"n{node}", "operator": "noop", "drag_in_time": f"2026-01-01T00:00:0{times[node]}Z"}
        for node in range(count)
    ]
    graph = planned(canvas_of(nodes, [f"n{source}->n{target}" for source, target in edges]), order)
    level = {
        f"n{n}": g for g, ns in enumerate(networkx.topological_generations(oracle(count, edges))) for n in ns
    }
    assert {node.id: node.gradient for node in graph.nodes} == level
    for node in graph.nodes:
        before = [graph.nodes[edge.source].id for edge in node.inputs]
        assert sorted(before) == sorted(f"n{source}" for source, target in edges if f"n{target}" == node.id)
        assert all(edge.source < node.rank for edge in node.inputs)
        assert [edge.source for edge in node.inputs] == sorted(edge.source for edge in node.inputs)
        assert list(node.successors) == sorted(set(node.successors)) and all(
            rank > node.rank for rank in node.successors
        )


@pytest.mark.parametrize("seed", range(60))
def test_levels_of_any_canvas_and_of_its_bodies_are_the_generations_of_networkx(
    seed: int,
) -> None:  # S1.1, S1.4
    graphs = [random_graph(seed, list(Order)[seed % 2])]
    while graphs:
        graph = graphs.pop()
        drawn = networkx.DiGraph((edge.source, node.rank) for node in graph.nodes for edge in node.inputs)
        drawn.add_nodes_from(range(len(graph.nodes)))
        generations = enumerate(networkx.topological_generations(drawn))
        assert {node.rank: node.gradient for node in graph.nodes} == {
            rank: level for level, ranks in generations for rank in ranks
        }
        graphs += [body.graph for node in graph.nodes if (body := body_at(node)) is not None]
