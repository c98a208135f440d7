"""What a run would do, before anything runs (S1.3): the critical path, and what either way to start would take. Pure.

Times are given per node in seconds; 0: not known, and counted as nothing.
"""

import heapq
from collections.abc import Sequence

from services.graph.model import Graph, Order


def critical_path(graph: Graph, seconds: Sequence[float]) -> list[int]:
    """The ranks along the longest way through the graph, by time, then by number of nodes."""
    longest = [(0.0, 0)] * len(graph.nodes)
    before = [-1] * len(graph.nodes)
    for node in graph.nodes:
        best = (0.0, 0)
        for edge in node.inputs:
            if longest[edge.source] > best:
                best, before[node.rank] = longest[edge.source], edge.source
        longest[node.rank] = (best[0] + seconds[node.rank], best[1] + 1)
    if not longest:
        return []
    last = max(range(len(longest)), key=lambda rank: (longest[rank], -rank))
    path = []
    while last >= 0:
        path.append(last)
        last = before[last]
    return path[::-1]


def ready_makespan_s(graph: Graph, seconds: Sequence[float], slots: int) -> float:
    """Seconds until the end when a node starts as soon as its inputs are there and a slot is free, in the order O."""
    unmet = [len({edge.source for edge in node.inputs}) for node in graph.nodes]
    ready = [rank for rank, count in enumerate(unmet) if not count]
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < slots:
            rank = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds[rank], rank))
        now, ended = heapq.heappop(running)
        for successor in graph.nodes[ended].successors:
            unmet[successor] -= 1
            if not unmet[successor]:
                heapq.heappush(ready, successor)
    return now


def strict_makespan_s(graph: Graph, seconds: Sequence[float], slots: int, order: Order) -> float:
    """The same when nothing starts before all that precedes it by the order: a level, or in branches a node."""
    if order is Order.BRANCHES:
        return sum(seconds)
    levels: dict[int, list[float]] = {}
    for node in graph.nodes:
        levels.setdefault(node.gradient, []).append(seconds[node.rank])
    return sum(_side_by_side_s(times, slots) for times in levels.values())


def _side_by_side_s(times: Sequence[float], slots: int) -> float:
    """Seconds until all have ended that are independent of each other, begun in this order."""
    free = [0.0] * min(slots, len(times))
    for seconds in times:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free, default=0.0)
