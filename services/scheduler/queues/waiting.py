"""What waits: one queue for each shape of task, and the order among them.

Queues of higher priority go first; then whoever is within a guarantee; then, by weight, the queue and the account that
hold and held the least; and of one account the higher priority, where waiting makes up for lack of it, then the older.
A shape for which no node fits is set aside until a node changes for the better; one that a quota keeps back until the
holder of that quota holds less. Pure.
"""

import heapq
from bisect import bisect
from typing import Any, Protocol

from services.scheduler.model import Now, Shape
from services.scheduler.placement.cluster import Cluster, Node
from services.scheduler.queues.aside import Aside
from services.scheduler.queues.tenants import TICKETS_PER_MS, Cap, Holder, Queue, ShapeQueue, Tenancy, Tenant
from services.scheduler.queues.turns import Turns

# Who has waited so long for a part of a limit has it kept from those who ask for less.
CLAIM_MS = 60_000


class Waiter(Protocol):
    """A task, as far as those who share the machines are concerned."""

    # Whether its amounts count as held.
    holds_share: bool

    @property
    def key(self) -> int: ...

    @property
    def queue(self) -> ShapeQueue: ...

    @property
    def tally(self) -> object | None:
        """Something, if it is an array."""


class Waiting:
    """All queues by shape, whose turn it is, and what those who share the machines hold."""

    def __init__(self, tenancy: Tenancy | None = None) -> None:
        self.tenancy = tenancy or Tenancy()
        self.queues: dict[Shape, ShapeQueue] = {}
        # Queues of whose shapes one may have something to place.
        self.turns: Turns[Queue] = Turns()
        # Shapes for which no node has room.
        self.aside = Aside(self.list)
        self.ticket = 0
        self.made = 0
        # What a ticket of now is at least.
        self.clock = 0
        self.untold: dict[ShapeQueue, None] = {}
        self.totals_due_ms = 0

    def advance(self, now: Now, cluster: Cluster) -> None:
        """A step begins: tickets and shares are as of now."""
        self.tell()
        self.clock = now.wall_ms * TICKETS_PER_MS
        measure = self.tenancy.measure
        measure.now_ms = max(measure.now_ms, now.monotonic_ms)
        if cluster.is_resized and now.monotonic_ms >= self.totals_due_ms:
            cluster.is_resized = False
            self.totals_due_ms = now.monotonic_ms + len(cluster.nodes) // 10
            measure.totals = cluster.totals()

    def queue(self, shape: Shape) -> ShapeQueue:
        found = self.queues.get(shape)
        if found is None:
            self.made += 1
            tenant = self.tenancy.tenant(shape.queue, shape.account)
            caps = tuple((self.tenancy.cap(shape.account, key), most) for key, most in shape.caps)
            found = self.queues[shape] = ShapeQueue(shape, self.made, tenant, caps)
            tenant.shapes[found] = None
        return found

    def glimpse(self, shape: Shape) -> ShapeQueue:
        """The queue that a task of this shape would wait in; nothing is made for good."""
        found = self.queues.get(shape)
        if found is None:
            tenant = self.tenancy.glimpse(shape.queue, shape.account)
            caps = tuple(
                (self.tenancy.caps.get((shape.account, key)) or Cap(key), most) for key, most in shape.caps
            )
            found = ShapeQueue(shape, 0, tenant, caps)
        return found

    def remove(self, holder: Queue) -> None:
        """Ends a queue in which there is no task."""
        for tenant in holder.tenants:
            for queue in tenant.shapes:
                self._forget(queue)
        self.tenancy.remove(holder)

    def enter(self, task: Waiter) -> None:
        """Counts a task that was made; it waits only once it is appended."""
        task.queue.live_count += 1
        if task.tally is not None:
            task.queue.tenant.arrays.add(task.key)

    def leave(self, task: Waiter) -> None:
        """The task has ended, or goes to another queue."""
        queue = task.queue
        queue.live_count -= 1
        if not queue.live_count:
            queue.keys.clear()
        if task.tally is not None:
            queue.tenant.arrays.discard(task.key)

    # --- what is held

    def take(self, task: Waiter, *, is_fact: bool = False) -> None:
        """A node has promised the task its room. A fact is not measured by quotas. Saying it again changes nothing."""
        if task.holds_share:
            return
        task.holds_share = True
        queue = task.queue
        queue.untold += 1
        self.untold[queue] = None
        if queue.is_limited:
            self.tell()
            if is_fact:
                queue.tenant.queue.tolerate()
                queue.tenant.account.tolerate()

    def give(self, task: Waiter) -> None:
        """The task has left its node: whoever waited for its part may try again."""
        if not task.holds_share:
            return
        task.holds_share = False
        queue = task.queue
        queue.untold -= 1
        self.untold[queue] = None
        if queue.is_limited:
            self.tell()
            for holder in (queue.tenant.queue, queue.tenant.account, *(cap for cap, _ in queue.caps)):
                self.open(holder)

    def tell(self) -> None:
        """Lets those who hold know what was taken and given; nobody is told of each task where nobody asks."""
        for queue in self.untold:
            count, queue.untold = queue.untold, 0
            if count:
                tenant, amounts = queue.tenant, queue.shape.amounts
                tenant.settle()
                tenant.queue.settle()
                for holder in (tenant, tenant.queue, tenant.account):
                    holder.take(amounts, count)
                for cap, _ in queue.caps:
                    cap.running_count += count
                self.touch(tenant)
        self.untold.clear()

    def touch(self, tenant: Tenant) -> None:
        """Its place may have changed."""
        self.turns.touch(tenant.queue)
        tenant.queue.turns.touch(tenant)
        if tenant.account.quota.guaranteed:
            for other in tenant.account.tenants:
                self.turns.touch(other.queue)
                other.queue.turns.touch(other)

    # --- whose turn it is

    def append(self, queue: ShapeQueue, key: int, since_ms: int = 0) -> int:
        """Puts a task at the end; its ticket. ``since_ms`` says from when its age counts, if not from now."""
        self.ticket = max(self.ticket + 1, since_ms * TICKETS_PER_MS if since_ms else self.clock)
        queue.keys.append((self.ticket, key))
        if len(queue.keys) == 1:
            self.aside.reseat(queue)
        self.list(queue)
        return self.ticket

    def put_back(self, queue: ShapeQueue, key: int) -> int:
        """Puts a task that had its turn already before all others of its shape; its ticket."""
        first = queue.keys[0][0] - 1 if queue.keys else self.ticket
        queue.keys.appendleft((first, key))
        self._seat_anew(queue)
        return first

    def insert(self, queue: ShapeQueue, ticket: int, key: int) -> None:
        """Puts a task that comes from another queue where it would stand had it always been in this one."""
        if not queue.keys or queue.keys[-1][0] <= ticket:
            queue.keys.append((ticket, key))
        else:
            queue.keys.insert(bisect(queue.keys, (ticket, key)), (ticket, key))
        self._seat_anew(queue)

    def _seat_anew(self, queue: ShapeQueue) -> None:
        """The first task of a queue may be another one, which goes before the one that it was listed with."""
        self.aside.reseat(queue)
        if queue.is_listed:
            self._order_anew(queue.tenant)
        else:
            self.list(queue)

    def next(self) -> ShapeQueue | None:
        """The queue whose turn it is; it must be listed again if it still has tasks."""
        turns = self.turns
        while turns.listed:
            if self.untold and self.has_rivals:
                self.tell()
            first = turns.first()
            assert first is not None
            tenant = first.turns.first()
            assert tenant is not None
            found = heapq.heappop(tenant.order)[-1]
            found.is_listed = False
            if not tenant.order:
                first.turns.remove(tenant)
                if not first.turns.listed:
                    turns.remove(first)
            if found.keys and not found.is_blocked:
                return found
            # Its tasks have ended since it was listed: whoever stood behind it may try.
            self.aside.wake(tenant)
        return None

    @property
    def has_rivals(self) -> bool:
        """Whether more than one account may have something to place."""
        listed = self.turns.listed
        return len(listed) > 1 or any(len(queue.turns.listed) > 1 for queue in listed)

    def set_aside(self, queue: ShapeQueue, gate: Holder | None = None) -> None:
        """No node has room for the queue, or ``gate`` holds too much."""
        queue.is_blocked = True
        queue.gate = gate
        if gate is not None:
            gate.gated.append(queue)
            self._claim(queue, gate)
        else:
            self.aside.add(queue)

    def _claim(self, queue: ShapeQueue, gate: Holder) -> None:
        """A stream of small tasks must not keep a large one from ever having its part of a limit."""
        if queue.shape.gang:
            # A gang needs room for all of it, which one shape does not know.
            return
        limits = dict(gate.quota.limit)
        has_waited = self.clock - queue.keys[0][0] >= CLAIM_MS * TICKETS_PER_MS
        if has_waited and all(amount <= limits.get(name, amount) for name, amount in queue.shape.amounts):
            before = gate.claim
            if before is None or before.gate is not gate or not before.live_count:
                gate.claim = queue

    def open(self, gate: Holder) -> None:
        """Less is held, or more is allowed: whoever was set aside for that may try again."""
        if not gate.gated:
            return
        for queue in gate.gated:
            queue.is_blocked = False
            queue.gate = None
            self.list(queue)
        gate.gated.clear()

    def reorder(self, holder: Queue) -> None:
        """The settings of a queue have changed: the order of what waits in it is made anew."""
        for tenant in holder.tenants:
            self._order_anew(tenant)
            seated = [queue for queue in tenant.shapes if queue.aside is not None]
            for queue in seated:
                self.aside.remove(queue)
            for queue in seated:
                self.aside.add(queue)
            self.touch(tenant)

    def _order_anew(self, tenant: Tenant) -> None:
        """Also of shapes whose tasks are gone: they are listed until their turn comes."""
        tenant.order = [
            (*queue.key(queue.keys[0][0] if queue.keys else 0), queue.ordinal, queue)
            for *_, queue in tenant.order
        ]
        heapq.heapify(tenant.order)

    # --- the order as a whole

    def place(self, queue: ShapeQueue, ticket: int | None = None) -> tuple[Any, ...]:
        """Where a task of the queue (its first, which it must have, or the one with the ticket) stands among all."""
        self.tell()
        tenant = queue.tenant
        own = queue.key(queue.keys[0][0] if ticket is None else ticket)
        return (tenant.queue.place(), tenant.place(), own, queue.ordinal)

    def goes_before(self, queue: ShapeQueue, other: ShapeQueue) -> bool:
        """Whether the first task of a queue has its turn before that of another; both have one."""
        return self.place(queue) < self.place(other)

    def goes_first(self, queue: ShapeQueue, node: Node) -> bool:
        """Whether no other queue whose tasks could run on the node has its turn before this one, which has tasks.

        To be asked when all turns have been given: by then whoever has tasks is set aside, or is kept back by a quota.
        """
        mine = self.place(queue)
        for tenant in self.aside.tenants:
            standing = (tenant.queue.place(), tenant.place())
            if standing > mine[:2]:
                continue
            own = mine[2:] if standing == mine[:2] else None
            for rival in self.aside.before(tenant, own):
                if rival is queue or not rival.keys:
                    continue
                place = (*standing, rival.key(rival.keys[0][0]), rival.ordinal)
                if place < mine and node.matches(rival.shape):
                    return False
        return True

    def forget_idle(self, most: int) -> None:
        """Drops empty queues beyond ``most``, oldest first."""
        if len(self.queues) > most:
            idle = [s for s, q in self.queues.items() if not q.live_count and not q.is_listed]
            for shape in idle[: len(self.queues) - most]:
                queue = self.queues[shape]
                del queue.tenant.shapes[queue]
                self._forget(queue)

    def _forget(self, queue: ShapeQueue) -> None:
        del self.queues[queue.shape]
        self.aside.remove(queue)
        if queue.gate is not None:
            queue.gate.gated.remove(queue)

    def list(self, queue: ShapeQueue) -> None:
        """Makes sure that the queue gets its turn, unless it is set aside."""
        if queue.keys and not queue.is_listed and not queue.is_blocked:
            queue.is_listed = True
            tenant = queue.tenant
            if not tenant.order:
                self.turns.add(tenant.queue)
                tenant.queue.turns.add(tenant)
            heapq.heappush(tenant.order, (*queue.key(queue.keys[0][0]), queue.ordinal, queue))
