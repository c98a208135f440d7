"""What waits: one queue for each shape of task, and the order among queues.

Within a queue tasks go first come, first served; among queues the higher priority goes first, then the older
head. A queue for which no node fits is set aside until a node changes for the better. Pure.
"""

import heapq
from bisect import bisect
from collections import deque

from services.scheduler.cluster import Node
from services.scheduler.model import Shape
from services.scheduler.placement import Candidates

# How much work, by measured run time, may wait in an agent's own queue for each task that it can run at a time.
PREFILL_WORK_MS = 40.0
MOST_PREFILL = 512


class ShapeQueue:
    """The waiting tasks of one shape. Keys that left the queue by other ways are skipped when they surface."""

    __slots__ = (
        "candidates",
        "is_blocked",
        "is_listed",
        "keys",
        "live_count",
        "mean_run_ms",
        "ordinal",
        "shape",
    )

    def __init__(self, shape: Shape, ordinal: int) -> None:
        self.shape = shape
        # Settles ties, so that the same events give the same order.
        self.ordinal = ordinal
        # (submission order, key).
        self.keys: deque[tuple[int, int]] = deque()
        self.candidates = Candidates(shape)
        self.is_blocked = False
        self.is_listed = False
        # Unfinished tasks of this shape, waiting or not.
        self.live_count = 0
        # Moving mean over ended tasks; None until one has ended.
        self.mean_run_ms: float | None = None

    def learn(self, run_ms: float) -> None:
        """Takes in how long a task of this shape ran."""
        mean = self.mean_run_ms
        self.mean_run_ms = run_ms if mean is None else mean + 0.1 * (run_ms - mean)

    def prefill_depth(self, slots: int) -> int:
        """How many tasks may wait at an agent that runs ``slots`` of them at a time; 0 while unknown or long."""
        if self.mean_run_ms is None or self.mean_run_ms > PREFILL_WORK_MS:
            return 0
        return min(MOST_PREFILL, int(slots * PREFILL_WORK_MS / max(self.mean_run_ms, 0.05)))


class Waiting:
    """All queues by shape, and a heap of those that may have something to place."""

    def __init__(self) -> None:
        self.queues: dict[Shape, ShapeQueue] = {}
        self.order: list[tuple[int, int, int, ShapeQueue]] = []
        self.ticket = 0
        self.made = 0

    def queue(self, shape: Shape) -> ShapeQueue:
        found = self.queues.get(shape)
        if found is None:
            self.made += 1
            found = self.queues[shape] = ShapeQueue(shape, self.made)
        return found

    def append(self, queue: ShapeQueue, key: int) -> int:
        """Puts a task at the end; its place in the order of all."""
        self.ticket += 1
        queue.keys.append((self.ticket, key))
        self.list(queue)
        return self.ticket

    def put_back(self, queue: ShapeQueue, key: int) -> int:
        """Puts a task that had its turn already before all others of its shape; its place in the order of all."""
        first = queue.keys[0][0] - 1 if queue.keys else self.ticket
        queue.keys.appendleft((first, key))
        self.list(queue)
        return first

    def insert(self, queue: ShapeQueue, ticket: int, key: int) -> None:
        """Puts a task that comes from another queue where it would stand had it always been in this one."""
        if not queue.keys or queue.keys[-1][0] <= ticket:
            queue.keys.append((ticket, key))
        else:
            queue.keys.insert(bisect(queue.keys, (ticket, key)), (ticket, key))
        self.list(queue)

    def list(self, queue: ShapeQueue) -> None:
        """Makes sure that the queue gets its turn, unless it is set aside."""
        if queue.keys and not queue.is_listed and not queue.is_blocked:
            queue.is_listed = True
            heapq.heappush(self.order, (-queue.shape.priority, queue.keys[0][0], queue.ordinal, queue))

    def next(self) -> ShapeQueue | None:
        """The queue whose turn it is; it must be listed again if it still has tasks."""
        while self.order:
            queue = heapq.heappop(self.order)[3]
            queue.is_listed = False
            if queue.keys and not queue.is_blocked:
                return queue
        return None

    def unblock_all(self) -> None:
        """A node changed for the better: whoever was set aside may try again."""
        for queue in self.queues.values():
            if queue.is_blocked:
                queue.is_blocked = False
                self.list(queue)

    def goes_first(self, queue: ShapeQueue, node: Node) -> bool:
        """Whether no other queue whose tasks could run on the node has its turn before this one, which has tasks."""
        mine = (-queue.shape.priority, queue.keys[0][0])
        return not any(
            other.keys and (-other.shape.priority, other.keys[0][0]) < mine and node.matches(other.shape)
            for other in self.queues.values()
        )

    def forget_idle(self, most: int) -> None:
        """Drops empty queues beyond ``most``, oldest first."""
        if len(self.queues) > most:
            idle = [s for s, q in self.queues.items() if not q.live_count and not q.is_listed]
            for shape in idle[: len(self.queues) - most]:
                del self.queues[shape]
