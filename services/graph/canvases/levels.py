"""Gradients and the two total orders of a graph (S1.3, S1.4, S1.9).

Nodes are indices 0 … n-1; `successors[i]` are those that depend on i, in any order, repeats allowed. A key is what
orders nodes that the topology leaves open: (drag-in time, drag sequence, id); keys differ. Pure, without recursion,
O((nodes + edges) · log nodes).
"""

from collections.abc import Sequence
from typing import Any, Protocol

from services.graph.model import CycleFound, Order

Successors = Sequence[Sequence[int]]


class Key(Protocol):
    """Anything that sorts."""

    def __lt__(self, other: Any, /) -> bool: ...


def gradients(successors: Successors) -> list[int]:
    """The level of each node: 0 without predecessors, else one more than the greatest of them (S1.1).

    Raises `CycleFound`.
    """
    unmet = _in_degrees(successors)
    levels = [0] * len(successors)
    ready = [node for node, count in enumerate(unmet) if not count]
    for node in ready:
        beneath = levels[node] + 1
        for successor in successors[node]:
            if levels[successor] < beneath:
                levels[successor] = beneath
            unmet[successor] -= 1
            if not unmet[successor]:
                ready.append(successor)
    if len(ready) < len(successors):
        raise CycleFound(find_cycle(successors))
    return levels


def total_order(
    order: Order, levels: Sequence[int], successors: Successors, keys: Sequence[Key]
) -> list[int]:
    """The nodes in the order O of the version. `levels`: their gradients. Raises `CycleFound`."""
    if order is Order.LEVELS:
        return level_order(levels, keys)
    return branch_order(successors, keys)


def level_order(levels: Sequence[int], keys: Sequence[Key]) -> list[int]:
    """Level by level; within a level by key."""
    by_key = sorted(range(len(levels)), key=keys.__getitem__)
    return sorted(by_key, key=levels.__getitem__)


def branch_order(successors: Successors, keys: Sequence[Key]) -> list[int]:
    """Depth first: where a node branches, the branch whose first node was dragged in first goes first, with all of its
    successors that are ready; then the next. A join waits for the last of its branches and follows it.

    Raises `CycleFound`.
    """
    places = _places(keys)
    unmet = _in_degrees(successors)
    waiting = sorted((n for n, count in enumerate(unmet) if not count), key=places.__getitem__, reverse=True)
    ordered: list[int] = []
    while waiting:
        node = waiting.pop()
        ordered.append(node)
        opened = []
        for successor in successors[node]:
            unmet[successor] -= 1
            if not unmet[successor]:
                opened.append(successor)
        if len(opened) > 1:
            opened.sort(key=places.__getitem__, reverse=True)
        waiting += opened
    if len(ordered) < len(successors):
        raise CycleFound(find_cycle(successors))
    return ordered


def find_cycle(successors: Successors) -> list[int]:
    """The nodes along one cycle, beginning with the one of the smallest index; empty: there is none."""
    done = bytearray(len(successors))
    for start in range(len(successors)):
        cycle = _cycle_from(start, successors, done)
        if cycle:
            least = cycle.index(min(cycle))
            return cycle[least:] + cycle[:least]
    return []


def _cycle_from(start: int, successors: Successors, done: bytearray) -> list[int]:
    """A cycle that can be reached from `start`. `done`: 1 on the path, 2 leads to no cycle."""
    if done[start]:
        return []
    path, turns = [start], [iter(successors[start])]
    done[start] = 1
    while path:
        for successor in turns[-1]:
            if done[successor] == 1:
                return path[path.index(successor) :]
            if not done[successor]:
                done[successor] = 1
                path.append(successor)
                turns.append(iter(successors[successor]))
                break
        else:
            done[path.pop()] = 2
            turns.pop()
    return []


def _in_degrees(successors: Successors) -> list[int]:
    degrees = [0] * len(successors)
    for after in successors:
        for successor in after:
            degrees[successor] += 1
    return degrees


def _places(keys: Sequence[Key]) -> list[int]:
    """By node, its place among the sorted keys: integers compare faster than keys."""
    places = [0] * len(keys)
    for place, node in enumerate(sorted(range(len(keys)), key=keys.__getitem__)):
        places[node] = place
    return places
