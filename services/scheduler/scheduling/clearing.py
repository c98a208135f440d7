"""Whether a task that waits, with its gang, would be placed at once if others had ended. Pure.

For controllers that may have some of their own work make way: they ask before they do it. Placement itself answers, on
the cluster as it would be; afterwards it is as it was. Holds, gates and quotas count as they are now: what those keep
from starting nobody is to make way for.
"""

from collections.abc import Iterable

from services.scheduler.placement.cluster import Cluster, Node
from services.scheduler.placement.placement import Candidates
from services.scheduler.placement.seating import Wish, find_seats, give_up
from services.scheduler.state.gangs import Phase
from services.scheduler.state.members import cast_of, muster, obstacle
from services.scheduler.state.state import State
from services.scheduler.state.task import Task


def would_fit(state: State, task: Task, ended: Iterable[int]) -> bool:
    """Whether it would start now without tasks of these keys; those that are on no node change nothing."""
    if task.node:
        return False
    wishes = _wishes(state, task)
    if not wishes:
        return False
    left = _take_out(state, ended)
    seats = find_seats(state.cluster, wishes)
    if seats is not None:
        give_up(state.cluster, seats, is_gain=False)
    _put_back(state.cluster, left)
    return seats is not None


class _Before:
    """What a node held."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._tasks, self._left = dict(node.tasks), list(node.devices.left)
        self._reserved, self._capacity = dict(node.reserved), dict(node.capacity)

    def restore(self) -> None:
        node = self.node
        node.tasks, node.devices.left = self._tasks, self._left
        node.reserved, node.capacity = self._reserved, self._capacity


def _wishes(state: State, task: Task) -> list[Wish]:
    """Room for all that must start together; none: something else keeps them."""
    gang = state.gangs.of(task.key)
    if gang is None or gang.phase is Phase.LOOSE:
        return [Wish(Candidates(task.queue.shape), 1)]
    found = muster(state, gang)
    if gang.phase is not Phase.WAITING or found.unready:
        return []
    cast = cast_of(state, found)
    if obstacle(cast):
        return []
    candidates = {part.queue.shape: Candidates(part.queue.shape) for part in cast}
    return [
        Wish(candidates[part.queue.shape], 1, gang.key if part.queue.shape.is_distinct else 0)
        for part in cast
    ]


def _take_out(state: State, keys: Iterable[int]) -> list[_Before]:
    cluster, gained = state.cluster, dict(state.cluster.gained)
    before: dict[str, _Before] = {}
    for key in keys:
        task = state.tasks.get(key)
        if task is not None and task.node:
            node = cluster.nodes[task.node]
            before.setdefault(node.id, _Before(node))
            cluster.free(node, key, task.devices)
    # Nobody is to try again for room that is not there.
    cluster.gained = gained
    return list(before.values())


def _put_back(cluster: Cluster, left: Iterable[_Before]) -> None:
    for one in left:
        one.restore()
        cluster.touch(one.node)
