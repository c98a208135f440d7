"""What submissions depend on: drawn from what came before, looked up as `scheduler.intake.prerequisites` does."""

from __future__ import annotations

import random

from services.scheduler.model import Condition, Dependency, Spec, array_of, element_key, index_of, task_key
from services.scheduler.state.events import EndedTask
from services.scheduler.state.state import State
from tests.simulation.disk import Disk
from tests.simulation.workload import restate

# Key of an acknowledged task, and its array's size, 0 if it is none.
Known = tuple[int, int]


def draw_dependencies(rng: random.Random, spec: Spec, number: int, known: list[Known]) -> Spec:
    """Item ``number`` of a submission, waiting for earlier items and for tasks of its account (at most three)."""
    found: list[Dependency] = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        condition = rng.choices(tuple(Condition), (6, 3, 1, 3))[0]
        if number and rng.random() < 0.5:
            found.append(Dependency(0, condition, item=rng.randrange(number)))
            continue
        if not known:
            continue
        key, size = rng.choice(known)
        if size and spec.array_size and rng.random() < 0.7:
            if all(not one.is_element_wise for one in found):
                spec = restate(spec, array_size=size, array_indexes=())
            if size == spec.array_size:
                found.append(Dependency(key, condition, is_element_wise=True))
        elif size and rng.random() < 0.5:
            found.append(Dependency(element_key(key, rng.randrange(size)), condition))
        else:
            found.append(Dependency(key, condition))
    return restate(spec, dependencies=tuple(dict.fromkeys(found)))


def known_of(first: int, specs: tuple[Spec, ...], items: tuple[tuple[int, str], ...]) -> list[Known]:
    return [(task_key(number), specs[index].array_size) for number, (index, _) in enumerate(items, first)]


def look_up(disk: Disk, state: State, specs: tuple[Spec, ...]) -> dict[int, EndedTask]:
    """What the database knows of tasks that are not live; what has ended and is not there yet is left out."""
    found = {}
    for spec in specs:
        for one in spec.dependencies:
            ended = _look(disk, state, one) if one.on else None
            if ended is not None:
                found[one.on] = ended
    return found


def _look(disk: Disk, state: State, one: Dependency) -> EndedTask | None:
    key, live = one.on, state.tasks.get(one.on) or state.tasks.get(array_of(one.on))
    if live is None:
        is_there = disk.ended(array_of(key)).state is not None
        return disk.ended(key, with_elements=one.is_element_wise) if is_there else None
    if live.tally is None or not live.tally.is_partial:
        return None
    if one.is_element_wise:
        return disk.ended(key, with_elements=True)
    if live.key == key or live.tally.is_left(index_of(key)):
        return None
    ended = disk.ended(key)
    return ended if ended.state is not None else None
