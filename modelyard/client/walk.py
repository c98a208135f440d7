"""A walk along lineage: from thing to thing, nearer ones first, each once, as far as it is let.

Knows links, not services: what a thing's links are is asked of whoever starts it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeAlias

from modelyard.v1 import lineage_pb2 as pb

UP, DOWN, BESIDE = pb.LINK_DIRECTION_UP, pb.LINK_DIRECTION_DOWN, pb.LINK_DIRECTION_BESIDE
Direction: TypeAlias = pb.LinkDirection.ValueType
Key: TypeAlias = tuple[int, str]


class Answer(NamedTuple):
    """What is known of a thing: `subject` None: its service does not know it; `is_away`: or did not answer."""

    subject: pb.Thing | None
    links: Sequence[pb.Link]
    is_away: bool = False


AskMany: TypeAlias = Callable[[Sequence[pb.Thing], Direction], Awaitable[list[Answer]]]


class Walk:
    """One walk, in one direction after the other. `most`: things, `depth`: links from the subject."""

    def __init__(self, ask: AskMany, *, depth: int, most: int) -> None:
        self._ask = ask
        self._depth = depth
        self._most = most
        self._things: dict[Key, pb.Thing] = {}
        self._renamed: dict[Key, Key] = {}
        self._edges: dict[tuple[Key, Key, str, bool], None] = {}
        self._dropped: set[Key] = set()
        self.cuts: dict[str, None] = {}
        """Limits that were reached, in words."""

    async def go(self, subject: pb.Thing, direction: Direction) -> None:
        """Everything up from there, or down."""
        self._things.setdefault(key_of(subject), subject)
        seen: set[Key] = set()
        frontier = [key_of(subject)]
        for depth in range(self._depth + 1):
            # What lies beside is as near as what it lies beside of.
            further: list[Key] = []
            while frontier:
                asked = [key for key in dict.fromkeys(frontier) if key not in seen and self._is_askable(key)]
                seen.update(asked)
                is_last = depth == self._depth
                frontier = []
                for key, answer in zip(asked, await self._answers(asked, direction), strict=True):
                    here = self._learn(key, answer)
                    if here is None or (here != key and here in seen):
                        continue
                    seen.add(here)
                    beside, beyond = self._follow(here, answer.links, is_last=is_last)
                    frontier += beside
                    further += beyond
            frontier = further

    async def _answers(self, keys: Sequence[Key], direction: Direction) -> list[Answer]:
        return await self._ask([self._things[key] for key in keys], direction) if keys else []

    def _is_askable(self, key: Key) -> bool:
        thing = self._things.get(key)
        return thing is not None and not thing.is_hidden

    def _learn(self, key: Key, answer: Answer) -> Key | None:
        """The thing as its own service tells it; the key that it has then, None: there is no such thing after all."""
        thing = self._things[key]
        if answer.subject is None:
            if not answer.is_away:
                if "@" in thing.id and thing.kind == pb.THING_KIND_NODE:
                    # It was named by a task that says so itself: nobody knows of it.
                    self._dropped.add(key)
                    del self._things[key]
                    return None
                thing.is_hidden = True
            return key
        here = key_of(answer.subject)
        if here != key:
            self._renamed[key] = here
            self._things = {self._renamed.get(one, one): known for one, known in self._things.items()}
        self._things[here] = answer.subject
        return here

    def _follow(self, here: Key, links: Sequence[pb.Link], *, is_last: bool) -> tuple[list[Key], list[Key]]:
        """Takes links in; what lies beside, and what lies beyond."""
        beside, beyond = list[Key](), list[Key]()
        for link in links:
            if is_last and link.direction != BESIDE:
                self.cuts[f"the walk ends {self._depth} links from the subject: --depth goes further"] = None
                continue
            there = self._other(link.thing)
            if there is None:
                self.cuts[f"the walk ends with {self._most} things: ask from nearer to what you look for"] = (
                    None
                )
                continue
            (beside if link.direction == BESIDE else beyond).append(there)
            self._edge(here, there, link)
        return beside, beyond

    def _other(self, thing: pb.Thing) -> Key | None:
        """The key of what a link names; None: there is no room for it."""
        if thing.is_hidden and not thing.id:
            thing.id = f"hidden-{sum(one.is_hidden for one in self._things.values()) + 1}"
        key = key_of(thing)
        key = self._renamed.get(key, key)
        known = self._things.get(key)
        if known is None:
            if len(self._things) >= self._most:
                return None
            self._things[key] = thing
        elif not known.name and thing.name:
            known.name = thing.name
        return key

    def _edge(self, here: Key, there: Key, link: pb.Link) -> None:
        if link.direction == BESIDE:
            source, target = sorted((here, there))
            # Both tell of it, each in its own words.
            if not any(edge[:2] == (source, target) for edge in self._edges if edge[3]):
                self._edges[source, target, link.relation, True] = None
            return
        source, target = (there, here) if link.direction == UP else (here, there)
        self._edges[source, target, link.relation, False] = None

    def graph(self, subject: pb.Thing) -> pb.LineageGraph:
        """What was met."""
        root = self._renamed.get(key_of(subject), key_of(subject))
        made = pb.LineageGraph(subject=self._things[root], things=[self._things[root]])
        made.things.extend(thing for key, thing in self._things.items() if key != root)
        told: set[tuple[Key, Key, bool]] = set()
        for source, target, relation, is_beside in self._edges:
            if source in self._dropped or target in self._dropped:
                continue
            first, last = self._renamed.get(source, source), self._renamed.get(target, target)
            # Whoever asks both ends of a link is told of it twice.
            if first == last or (first, last, is_beside) in told:
                continue
            told.add((first, last, is_beside))
            made.edges.add(
                source=_named(first), target=_named(last), relation=relation, is_beside=is_beside,
            )  # fmt: skip
        made.gaps.extend(self.cuts)
        return made


def key_of(thing: pb.Thing) -> Key:
    """What tells it from others."""
    return thing.kind, thing.id


def _named(key: Key) -> pb.Thing:
    return pb.Thing(kind=pb.ThingKind.ValueType(key[0]), id=key[1])
