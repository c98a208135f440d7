"""Places: as text in the total order, there and back; ids of nodes and of executions."""

from __future__ import annotations

import random

import pytest

from services.graph.model import Graph, Order
from services.graph.runs.places import Place, body_at, find, id_at, node_at, place_of, text_of
from tests.simulation.runs.canvases import random_graph


def some_place(graph: Graph, chance: random.Random) -> Place:
    """Of a node at any depth, or of an execution of a body."""
    place: Place = ()
    while True:
        node = chance.choice(graph.nodes)
        place = (*place, node.rank)
        body = body_at(node)
        if body is None or chance.random() < 0.3:
            return place
        place = (*place, chance.choice((0, 1, 9, 10, 99_999, 999_999)))
        if chance.random() < 0.2:
            return place
        graph = body.graph


@pytest.mark.parametrize("seed", range(40))
def test_text_of_places_stands_in_the_order_of_places(seed: int) -> None:
    chance = random.Random(seed)
    graph = random_graph(seed, chance.choice(list(Order)))
    places = [some_place(graph, chance) for _ in range(100)]
    assert [place_of(text_of(place)) for place in places] == places
    assert sorted(places, key=text_of) == sorted(places)


@pytest.mark.parametrize("seed", range(40))
def test_every_place_is_found_by_its_id(seed: int) -> None:
    chance = random.Random(seed)
    graph = random_graph(seed, chance.choice(list(Order)))
    for place in [some_place(graph, chance) for _ in range(100)]:
        assert find(graph, id_at(graph, place)) == place
        if len(place) % 2:
            assert id_at(graph, place).split("/")[-1] == node_at(graph, place).id.split("/")[-1]


@pytest.mark.parametrize(
    "name", ["", "/", "n0/", "n0/x", "n0/00", "n0/-1", "n0/1/2/3/4", "n0/٣", "n0/1.5", "n0//n1", "x" * 5_000]
)
def test_what_names_nothing_is_not_found(name: str) -> None:
    for seed in range(20):
        graph = random_graph(seed, Order.LEVELS)
        found = find(graph, name)
        assert found is None or id_at(graph, found) == name
