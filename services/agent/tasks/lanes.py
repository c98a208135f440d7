"""The waiting tasks of an agent, in lanes of one shape, so that a decision never scans the queue.

Owns the order: direct starts before prefilled ones, then first come, first served. Pure.
"""

from __future__ import annotations

import heapq
from collections import deque

import msgspec

from services.agent.tasks.model import LimitSet, Phase, Pool, Resources, Task

LaneKey = tuple[bool, Pool, Resources, LimitSet]
Head = tuple[bool, int, "Lane"]


class Lane(msgspec.Struct, order=False, eq=False):
    """Tasks that any worker of one pool can take one after the other."""

    prefill: bool
    tasks: deque[Task] = msgspec.field(default_factory=deque)

    def head(self) -> Task | None:
        """The next task; those that left the queue otherwise are dropped on the way."""
        tasks = self.tasks
        while tasks and tasks[0].phase is not Phase.WAITING:
            tasks.popleft()
        return tasks[0] if tasks else None


class Lanes:
    """All lanes, by shape."""

    def __init__(self) -> None:
        self._lanes: dict[LaneKey, Lane] = {}

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def append(self, task: Task) -> None:
        """Puts a task behind the others of its shape."""
        self._lane(task).tasks.append(task)

    def put_back(self, task: Task) -> None:
        """Puts a task in front of the others of its shape: it had been handed out before them."""
        self._lane(task).tasks.appendleft(task)

    def heads(self) -> list[Head]:
        """A heap of the lanes by their next task. Empty lanes are removed."""
        heap: list[Head] = []
        for key, lane in list(self._lanes.items()):
            task = lane.head()
            if task is None:
                del self._lanes[key]
            else:
                heap.append((lane.prefill, task.rank, lane))
        heapq.heapify(heap)
        return heap

    def _lane(self, task: Task) -> Lane:
        key = (task.prefill, task.pool, task.body.resources, task.body.limits)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(task.prefill)
        return lane
