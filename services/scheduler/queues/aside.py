"""Shapes for which no node had room, and who of them tries again when a node has gained some. Pure.

Of each account's part of a queue the first is woken for which a gained node has room, and the next one only when its
turn has come: with a hundred shapes waiting, a node that becomes free costs a question or two, not a hundred. Room
only shrinks while a step places, so who has been asked in vain is not asked again in that step.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from typing import Any

from services.scheduler.placement.cluster import Cluster, Node
from services.scheduler.placement.placement import admits
from services.scheduler.queues.tenants import Entry, ShapeQueue, Tenant
from services.scheduler.resources import CPU


class Aside:
    """``list_again`` puts a shape's queue among those whose turn may come."""

    def __init__(self, list_again: Callable[[ShapeQueue], None]) -> None:
        self._list_again = list_again
        self._entries: dict[Tenant, list[Entry]] = {}
        # How many of a tenant's entries were asked in this step.
        self._asked: dict[Tenant, int] = {}
        # Whose tasks need more than room on a node, and were asked in vain in this step.
        self._in_vain: set[ShapeQueue] = set()
        # No shape here asks for less cpu than this.
        self._least_cpu = 0
        # Nodes that gained before this step, and may still have room for somebody here.
        self.gained: dict[str, Node] = {}

    def add(self, queue: ShapeQueue) -> None:
        """Sets a shape aside that was asked just now."""
        entry = _entry(queue)
        entries = self._entries.setdefault(queue.tenant, [])
        if queue.is_bound:
            self._in_vain.add(queue)
        cpu = next((amount for name, amount in queue.shape.amounts if name == CPU), 0)
        self._least_cpu = min(self._least_cpu, cpu) if len(self._entries) > 1 or entries else cpu
        insort(entries, entry)
        queue.aside = entry
        asked = self._asked.get(queue.tenant, 0)
        if asked and bisect_left(entries, entry) <= asked:
            self._asked[queue.tenant] = asked + 1

    def remove(self, queue: ShapeQueue) -> None:
        """Forgets a shape, if it is here."""
        if queue.aside is None:
            return
        entries = self._entries[queue.tenant]
        index = bisect_left(entries, queue.aside)
        del entries[index]
        queue.aside = None
        if index < self._asked.get(queue.tenant, 0):
            self._asked[queue.tenant] -= 1
        if not entries:
            del self._entries[queue.tenant]
            if not self._entries:
                self.gained.clear()

    @property
    def has_entries(self) -> bool:
        """Whether anybody waits for want of room."""
        return bool(self._entries)

    @property
    def tenants(self) -> Iterable[Tenant]:
        """Whose shapes are here."""
        return self._entries

    def before(self, tenant: Tenant, own: tuple[Any, ...] | None) -> Iterable[ShapeQueue]:
        """The tenant's shapes here that may stand before a place among its own, or all of them; the first ones first.

        An entry may stand further ahead than its shape's first task does, never further behind.
        """
        entries = self._entries[tenant]
        last = len(entries) if own is None else bisect_left(entries, (*own[0], own[1]))
        return (entries[index][-1] for index in range(last))

    def reseat(self, queue: ShapeQueue) -> None:
        """The first task of a shape that is here is another one."""
        if queue.aside is None:
            return
        entries, asked = self._entries[queue.tenant], self._asked.get(queue.tenant, 0)
        before = bisect_left(entries, queue.aside)
        del entries[before]
        queue.aside = _entry(queue)
        after = bisect_left(entries, queue.aside)
        entries.insert(after, queue.aside)
        self._asked[queue.tenant] = min(asked, before, after)

    def begin(self, cluster: Cluster) -> None:
        """A step begins to place: whoever has room on a node that gained may try again."""
        self._asked.clear()
        self._in_vain.clear()
        gained = cluster.take_gained()
        if self._entries:
            self.gained = {name: cluster.nodes[name] for name in gained if name in cluster.nodes}
            for tenant in list(self._entries):
                self.wake(tenant)

    def end(self) -> None:
        """Whoever is here now was asked."""
        self.gained.clear()

    def wake(self, tenant: Tenant) -> None:
        """Lists the tenant's first shape that a gained node has room for, unless a listed one goes before it."""
        entries = self._entries.get(tenant)
        if not entries or not self.gained:
            return
        asked = self._asked.get(tenant, 0)
        while asked < len(entries):
            if tenant.order and tenant.order[0] < entries[asked]:
                break
            queue = entries[asked][-1]
            if not queue.keys:
                # All of its tasks have ended.
                self.remove(queue)
                queue.is_blocked = False
            elif entries[asked][:2] != queue.key(queue.keys[0][0]):
                # Its first task has gone to an agent's own queue since.
                self._asked[tenant] = asked
                self.reseat(queue)
                asked = self._asked[tenant]
            elif self._has_room(queue):
                self._asked[tenant] = asked
                self.remove(queue)
                queue.is_blocked = False
                self._list_again(queue)
                return
            else:
                asked += 1
        self._asked[tenant] = asked

    def _has_room(self, queue: ShapeQueue) -> bool:
        shape = queue.shape
        if queue in self._in_vain:
            return False
        return any(admits(node, shape) for node in self.gained.values())

    def settle(self, node: Node) -> None:
        """Something was placed there: a node with too little left for anybody is not asked again."""
        if node.id in self.gained:
            free = node.capacity.get(CPU, 0) - node.reserved.get(CPU, 0)
            if free < self._least_cpu:
                del self.gained[node.id]


def _entry(queue: ShapeQueue) -> Entry:
    return (*queue.key(queue.keys[0][0] if queue.keys else 0), queue.ordinal, queue)
