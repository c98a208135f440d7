"""Nodes that are kept for those who go first and do not fit yet; others fill the gap meanwhile (backfill). Pure.

Without a hold a task that needs a whole node would wait for ever behind a stream of small ones. On ticks the first few
who have been waiting get the node where they are expected to fit earliest. Until then a task is admitted to it only if
it fits beside them, if it is expected to have ended by then, or if it goes before them anyway. Holds are made anew on
each tick and rest on estimates only; where nothing is known of the ends of what runs, nothing is held.
"""

import heapq

import msgspec

from services.scheduler.model import Now, Shape, TaskState, array_of, format_task_id
from services.scheduler.placement.cluster import Node
from services.scheduler.queues.tenants import ShapeQueue
from services.scheduler.queues.waiting import Waiting
from services.scheduler.resources import Amounts
from services.scheduler.scheduling import estimates
from services.scheduler.state import members
from services.scheduler.state.gangs import Phase
from services.scheduler.state.preemption import Preemption
from services.scheduler.state.state import State
from services.scheduler.state.task import Task

# Between two looks; `timers` sets the pace.
TICK_MS = 500
# How many who wait get a node kept, and from when on.
MOST_HEADS = 4
WAIT_MS = 2_000
# Beyond so many nodes only the first are looked at.
MOST_NODES = 1_000


class Hold(msgspec.Struct, frozen=True):
    """A node is kept for the task ``key`` and those of its shape; it is expected to start there at ``start_ms``, wall
    clock. What it admits changes with the node alone: the indexes notice."""

    key: int
    shape: Shape
    amounts: Amounts
    start_ms: int
    now_ms: int
    # Tasks on the node that are expected to have ended by then.
    leaving: frozenset[int]
    # Shapes whose turn comes before, or which are expected to end before.
    others: frozenset[Shape]

    def admits(self, node: Node, shape: Shape) -> bool:
        """Whether a task of this shape may start there all the same."""
        if shape == self.shape or shape in self.others or self._is_urgent(shape):
            return True
        return self._fits_beside(node, shape.amounts)

    def _is_urgent(self, shape: Shape) -> bool:
        """What came since goes before it, too, if it is of higher priority."""
        mine = self.shape
        same = (shape.account, shape.queue) == (mine.account, mine.queue)
        return same and shape.priority > mine.priority

    def _fits_beside(self, node: Node, amounts: Amounts) -> bool:
        held = dict(self.amounts)
        free = {name: total - node.reserved.get(name, 0) for name, total in node.capacity.items()}
        for key in self.leaving:
            for name, amount in node.tasks.get(key, ()):
                free[name] = free.get(name, 0) + amount
        return all(free.get(name, 0) - held.get(name, 0) >= amount for name, amount in amounts)

    def words(self) -> str:
        """For people."""
        left_s = max(self.start_ms - self.now_ms, 0) / 1000
        return f"kept for {format_task_id(self.key)}, which goes first and is expected to start in {left_s:.0f} s"


def renew(state: State, now: Now) -> None:
    """Keeps nodes for the first of those who wait, as things are now."""
    wanted = _wanted(state, now) if state.waiting.aside.has_entries or state.preemptions else {}
    for name in [*wanted, *(name for name in state.held_nodes if name not in wanted)]:
        node = state.cluster.nodes.get(name)
        if node is not None:
            node.hold = wanted.get(name)
            # Who may go there changes with time, even where nothing else does.
            state.cluster.touch(node, is_gain=True)
    state.held_nodes = frozenset(wanted)


def _wanted(state: State, now: Now) -> dict[str, Hold]:
    found: dict[str, Hold] = {}
    for key, one in state.preemptions.items():
        _hold_for_preemption(state, key, one, now, found)
    since: dict[ShapeQueue, tuple[int, int]] = {}
    for queue, task in heads(state):
        known = state.blocked_since.get(queue)
        began = known[1] if known is not None and known[0] == task.key else now.monotonic_ms
        since[queue] = (task.key, began)
        if now.monotonic_ms - began >= WAIT_MS and task.key not in state.preemptions:
            _hold_for(state, queue, task, now, found)
    state.blocked_since = since
    return found


def _hold_for_preemption(state: State, key: int, one: Preemption, now: Now, found: dict[str, Hold]) -> None:
    """What is left by those who make room is for nobody else."""
    head = state.tasks[key]
    leaving = frozenset(victim for victim, _ in one.victims)
    others = _admitted(state.waiting, head.queue, 0)
    shape = head.queue.shape
    found[one.node] = Hold(key, shape, shape.amounts, one.end_ms, now.wall_ms, leaving, others)


def heads(state: State) -> list[tuple[ShapeQueue, Task]]:
    """The first few who wait for want of room, in order, each with the queue that it is first of."""
    waiting = state.waiting
    blocked = [queue for queue in waiting.queues.values() if queue.aside is not None and queue.keys]
    found = []
    for queue in heapq.nsmallest(MOST_HEADS, blocked, key=waiting.place):
        task = state.tasks.get(queue.keys[0][1])
        if task is not None and task.queue is queue and not task.node and task.state is not TaskState.HELD:
            found.append((queue, task))
    return found


def _hold_for(state: State, queue: ShapeQueue, task: Task, now: Now, found: dict[str, Hold]) -> None:
    gang = state.gangs.of(task.key) if queue.shape.gang else None
    if gang is None or gang.phase is not Phase.WAITING:
        _hold_nodes(state, queue, task, queue.shape, 1, now, found)
        return
    counts: dict[Shape, int] = {}
    for part in members.cast_of(state, members.muster(state, gang)):
        counts[part.queue.shape] = counts.get(part.queue.shape, 0) + 1
    # Whatever is kept for one of them is kept for all.
    together = frozenset(counts)
    for shape, count in counts.items():
        _hold_nodes(state, queue, task, shape, count, now, found, together)


def _hold_nodes(
    state: State,
    queue: ShapeQueue,
    task: Task,
    shape: Shape,
    count: int,
    now: Now,
    found: dict[str, Hold],
    together: frozenset[Shape] = frozenset(),
) -> None:
    """Keeps the nodes where ``count`` tasks of a shape are expected to fit earliest."""
    offers = []
    for node in list(state.cluster.nodes.values())[:MOST_NODES]:
        if node.id in found or not node.takes_work() or not node.matches(shape):
            continue
        slots = min((node.capacity[name] // amount for name, amount in shape.amounts), default=1)
        seats = 1 if shape.is_distinct else min(slots, count)
        amounts = tuple((name, amount * seats) for name, amount in shape.amounts)
        start_ms = estimates.room_ms(state, node, amounts, now)
        if start_ms is not None:
            offers.append((start_ms, node.id not in state.held_nodes, node.ordinal, seats, amounts, node))
    for start_ms, _, _, seats, amounts, node in sorted(offers, key=lambda offer: offer[:3]):
        if count <= 0:
            return
        count -= seats
        leaving = frozenset(key for key in node.tasks if _ends_by(state, key, start_ms, now))
        others = together | _admitted(state.waiting, queue, start_ms - now.wall_ms - TICK_MS)
        found[node.id] = Hold(task.key, shape, amounts, int(start_ms), now.wall_ms, leaving, others)


def _admitted(waiting: Waiting, head: ShapeQueue, left_ms: float) -> frozenset[Shape]:
    """Who goes before the head, or is expected to run for less than the time that is left."""
    return frozenset(
        queue.shape
        for queue in waiting.queues.values()
        if (queue.mean_run_ms is not None and queue.mean_run_ms <= left_ms)
        or (queue.keys and head.keys and queue is not head and waiting.goes_before(queue, head))
    )


def release(state: State, key: int) -> None:
    """Who had nodes kept has been placed."""
    for name in state.held_nodes:
        node = state.cluster.nodes.get(name)
        if node is not None and isinstance(node.hold, Hold) and node.hold.key in (key, array_of(key)):
            node.hold = None
            state.cluster.touch(node, is_gain=True)


def _ends_by(state: State, key: int, moment_ms: float, now: Now) -> bool:
    task = state.tasks.get(key)
    end_ms = estimates.end_ms(task, now) if task is not None else None
    return end_ms is not None and end_ms <= moment_ms
