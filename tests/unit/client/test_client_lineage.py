"""The walk along lineage, and what a reference may mean (issue 7.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from modelyard.client.lineage import candidates
from modelyard.client.walk import BESIDE, DOWN, UP, Answer, Direction, Walk
from modelyard.v1 import lineage_pb2 as pb

TASK, ARTIFACT, NODE = pb.THING_KIND_TASK, pb.THING_KIND_ARTIFACT, pb.THING_KIND_NODE


def task(id: str) -> pb.Thing:
    return pb.Thing(kind=TASK, id=id)


class Yard:
    """Tasks that follow each other: links by id, "b" after "a"."""

    def __init__(self, *pairs: tuple[str, str], beside: Sequence[tuple[str, str]] = ()) -> None:
        self.links: dict[str, list[pb.Link]] = {}
        self.asked: list[str] = []
        self.away: set[str] = set()
        self.gone: set[str] = set()
        for source, target in pairs:
            self._link(source, pb.Link(direction=DOWN, thing=task(target), relation="to"))
            self._link(target, pb.Link(direction=UP, thing=task(source), relation="from"))
        for one, other in beside:
            self._link(one, pb.Link(direction=BESIDE, thing=task(other)))
            self._link(other, pb.Link(direction=BESIDE, thing=task(one)))

    def _link(self, of: str, link: pb.Link) -> None:
        self.links.setdefault(of, []).append(link)

    async def ask(self, things: Sequence[pb.Thing], direction: Direction) -> list[Answer]:
        return [self._answer(thing, direction) for thing in things]

    def _answer(self, thing: pb.Thing, direction: Direction) -> Answer:
        self.asked.append(thing.id)
        if thing.id in self.away | self.gone:
            return Answer(None, [], thing.id in self.away)
        found = self.links.get(thing.id, [])
        return Answer(task(thing.id), [one for one in found if one.direction in (direction, BESIDE)])

    async def walk(
        self, start: str, *directions: Direction, depth: int = 50, most: int = 50
    ) -> pb.LineageGraph:
        walk = Walk(self.ask, depth=depth, most=most)
        for direction in directions:
            await walk.go(task(start), direction)
        return walk.graph(task(start))


def edges(graph: pb.LineageGraph) -> set[str]:
    return {f"{one.source.id}{'=' if one.is_beside else '→'}{one.target.id}" for one in graph.edges}


def ids(graph: pb.LineageGraph) -> set[str]:
    return {one.id for one in graph.things}


@pytest.mark.asyncio
async def test_walk_up_and_down_leaves_siblings_out_and_tells_each_link_once() -> None:
    yard = Yard(("a", "b"), ("b", "c"), ("a", "x"), ("y", "c"))
    both = await yard.walk("b", UP, DOWN)
    assert ids(both) == {"a", "b", "c"} and edges(both) == {"a→b", "b→c"}
    assert ids(await yard.walk("b", UP)) == {"a", "b"}
    assert edges(await yard.walk("a", DOWN)) == {"a→b", "b→c", "a→x"}


@pytest.mark.asyncio
async def test_walk_in_a_circle_ends_and_asks_each_thing_once() -> None:
    yard = Yard(("a", "b"), ("b", "c"), ("c", "a"))
    found = await yard.walk("a", DOWN)
    assert edges(found) == {"a→b", "b→c", "c→a"} and sorted(yard.asked) == ["a", "b", "c"]


@pytest.mark.asyncio
async def test_walk_goes_along_what_lies_beside_without_going_further_off() -> None:
    yard = Yard(("data", "t1"), ("n1", "n2"), beside=[("t1", "n1"), ("n2", "t2")])
    found = await yard.walk("data", DOWN, depth=2)
    assert ids(found) == {"data", "t1", "n1", "n2", "t2"} and not found.gaps
    assert "n1=t1" in edges(found)


@pytest.mark.asyncio
async def test_walk_that_reaches_its_depth_or_its_most_things_says_so() -> None:
    chain = Yard(*[(f"t{number}", f"t{number + 1}") for number in range(30)])
    near = await chain.walk("t0", DOWN, depth=3)
    assert ids(near) == {"t0", "t1", "t2", "t3"} and "--depth" in near.gaps[0]
    star = Yard(*[("hub", f"leaf{number}") for number in range(30)])
    few = await star.walk("hub", DOWN, most=10)
    assert len(few.things) == 10 and "10 things" in few.gaps[0]
    assert all(one.target.id in ids(few) for one in few.edges)


@pytest.mark.asyncio
async def test_thing_that_its_service_does_not_tell_is_hidden_unless_the_service_is_away() -> None:
    yard = Yard(("a", "b"), ("b", "c"), ("b", "d"))
    yard.gone, yard.away = {"c"}, {"d"}
    found = await yard.walk("a", DOWN)
    assert {one.id: one.is_hidden for one in found.things} == {"a": False, "b": False, "c": True, "d": False}


@pytest.mark.asyncio
async def test_node_that_was_named_by_its_task_has_its_own_name_in_the_end() -> None:
    node, known = pb.Thing(kind=NODE, id="r-1@t-1"), pb.Thing(kind=NODE, id="r-1/a", name="load")
    forged = pb.Thing(kind=NODE, id="r-9@t-1")

    async def ask(things: Sequence[pb.Thing], direction: Direction) -> list[Answer]:
        answers = {
            "t-1": Answer(task("t-1"), [pb.Link(direction=BESIDE, thing=one) for one in (node, forged)]),
            "r-1@t-1": Answer(known, [pb.Link(direction=BESIDE, thing=task("t-1"), relation="ran as")]),
            "r-9@t-1": Answer(None, []),
        }
        return [answers[thing.id] for thing in things]

    walk = Walk(ask, depth=5, most=50)
    await walk.go(task("t-1"), UP)
    found = walk.graph(task("t-1"))
    assert ids(found) == {"t-1", "r-1/a"} and len(found.edges) == 1


@pytest.mark.parametrize(
    ("reference", "kind", "id"),
    [
        ("t-7", "TASK", "t-7"),
        ("t-7.3", "TASK", "t-7.3"),
        ("r-3", "RUN", "r-3"),
        ("r-3/n5/0/n1", "NODE", "r-3/n5/0/n1"),
        ("p-1:4", "CANVAS", "p-1:4"),
        ("j-5", "JOB", "j-5"),
        ("s-2", "SWEEP", "s-2"),
        ("f-4", "FRAME", "f-4"),
        (f"sha256:{'a' * 64}", "ARTIFACT", "a" * 64),
        ("iris@champion", "ALIAS", "iris@champion"),
        ("iris:3", "MODEL_VERSION", "iris:3"),
        ("iris", "MODEL_VERSION", "iris"),
    ],
)
def test_reference_means_what_it_looks_like(reference: str, kind: str, id: str) -> None:
    first = candidates(reference)[0]
    assert (pb.ThingKind.Name(first.kind), first.id) == (f"THING_KIND_{kind}", id)


def test_file_is_known_by_its_contents_and_nonsense_by_nothing(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text("1,2")
    [found, *_] = candidates(str(file))
    assert (found.kind, found.id) == (ARTIFACT, hashlib.sha256(b"1,2").hexdigest())
    assert candidates("") == [] and candidates("no/such/file") == []
