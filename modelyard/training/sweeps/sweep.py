"""A sweep as frozen values: what trial n has, and its job file. The same seed always gives the same. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Any

import msgspec

from modelyard.documents.yaml_text import Node
from modelyard.training.sweeps.binding import bound
from modelyard.training.sweeps.space import Parameter, Value
from modelyard.training.sweeps.writing import written

TRIALS_MOST = 10_000
NAME_MOST = 63


class SearchKind(Enum):
    GRID = "grid"
    RANDOM = "random"
    ASHA = "asha"


class Resource(Enum):
    """What rungs are counted in, as programs report it."""

    STEP = "step"
    EPOCH = "epoch"


class Pick(Enum):
    """Which of a trial's values it is compared by in the end."""

    BEST = "best"
    LATEST = "latest"


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """By which trials are compared."""

    name: str
    is_max: bool = False
    role: str = ""
    """Whose reports count; empty: everybody's."""
    pick: Pick = Pick.BEST

    def is_better(self, value: float, other: float) -> bool:
        """Strictly."""
        return value > other if self.is_max else value < other


class Asha(msgspec.Struct, frozen=True, kw_only=True):
    """Asynchronous successive halving, by stopping: see the controller's `rungs`."""

    most: float
    """Of the resource; who goes beyond it is stopped."""
    reduction: int = 3
    grace: float = 1
    """Before so much nobody is stopped."""
    brackets: int = 1
    """Trial n is in bracket (n − 1) mod this; the first rung of bracket b is grace × reduction^b."""
    by: Resource = Resource.STEP

    def levels(self, bracket: int) -> tuple[float, ...]:
        """Where trials of a bracket are compared, lowest first."""
        found, level = [], self.grace * self.reduction**bracket
        while level < self.most:
            found.append(level)
            level *= self.reduction
        return tuple(found)


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """In which order values are tried, and how many."""

    kind: SearchKind
    trials: int
    seed: int | None = None
    """None: not said; whoever begins the sweep chooses one."""
    asha: Asha | None = None


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """One sweep file. Trials are counted from 1."""

    name: str
    space: tuple[Parameter, ...]
    search: Search
    metric: Metric | None = None
    parallel: int = 1
    failures_most: int = 5
    """More trials that fail end the sweep; −1: never."""
    target: float | None = None
    """A trial that reports it, or better, ends the sweep."""
    queue: str = ""
    """Instead of the job's."""
    job: Node
    """As it stands in the file, with ${sweep.…} in it."""
    frameworks: tuple[Node, ...] = ()
    """Definitions of the same text."""

    def values(self, number: int, seed: int) -> dict[str, Value]:
        """Of a trial, by parameter."""
        size = combinations(self.space)
        if self.search.kind is SearchKind.GRID:
            return self._combination(number - 1)
        if size is not None and size <= TRIALS_MOST:
            return self._combination(_shuffled(size, seed)[number - 1])
        chance = random.Random(f"{seed}:{number}")
        return {one.name: one.drawn(chance.random()) for one in self.space}

    def _combination(self, index: int) -> dict[str, Value]:
        """The last parameter changes first."""
        found: dict[str, Value] = {}
        for one in reversed(self.space):
            size = one.size
            assert size is not None
            index, place = divmod(index, size)
            found[one.name] = one.at(place)
        return {one.name: found[one.name] for one in self.space}

    def document(self, number: int, values: Mapping[str, Value], labels: Mapping[str, str]) -> str:
        """The job file of a trial: an ordinary one, which can be run again by itself."""
        job: dict[str, Any] = {"kind": "Job", **bound(self.job, values).plain()}
        job["name"] = trial_name(self.name, number)
        job["labels"] = {**(job.get("labels") or {}), **labels}
        if self.queue:
            job["queue"] = self.queue
        return written([*(node.plain() for node in self.frameworks), job])


def trial_name(name: str, number: int) -> str:
    """Names of jobs stand in host names: they are short."""
    tail = f"-{number}"
    return f"{name[: NAME_MOST - len(tail)].rstrip('-')}{tail}"


def combinations(space: tuple[Parameter, ...]) -> int | None:
    """How many there are; None: without end."""
    sizes = [one.size for one in space]
    return None if None in sizes else math.prod(size for size in sizes if size is not None)


@lru_cache(maxsize=16)
def _shuffled(size: int, seed: int) -> tuple[int, ...]:
    """All combinations, each once, in an order that the seed decides (Fisher and Yates)."""
    chance, found = random.Random(f"{seed}"), list(range(size))
    for last in range(size - 1, 0, -1):
        other = int(chance.random() * (last + 1))
        found[last], found[other] = found[other], found[last]
    return tuple(found)
