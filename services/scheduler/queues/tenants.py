"""Who shares the machines, and what they hold and are due: queues, accounts, their parts of queues, and shapes. Pure.

An amount counts from when a node has promised it to a task until the task has left the node. Tasks of one shape wait
in one `ShapeQueue`, which belongs to an account's part of a queue.
"""

import math
from collections import deque

from services.scheduler.model import MAIN_QUEUE, Quota, Shape
from services.scheduler.placement.placement import Candidates
from services.scheduler.queues.shares import HALF_LIFE_MS, AccountSettings, Measure, QueueSettings
from services.scheduler.queues.turns import Turns
from services.scheduler.resources import Amounts

# How much work, by measured run time, may wait in an agent's own queue for each task that it can run at a time.
PREFILL_WORK_MS = 40.0
MOST_PREFILL = 512
# A ticket is a time in these parts of a millisecond, so that age and priority add up and no two are equal.
TICKETS_PER_MS = 1 << 20
RECENT_MS = 5 * 60_000
RECENT_WEIGHT = 16


class Holder:
    """Somebody whose tasks hold amounts, and what may be held."""

    __slots__ = ("claim", "gated", "held", "quota", "running_count", "tolerated", "tolerated_count")

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.held: dict[str, int] = {}
        self.running_count = 0
        # Shapes that wait for this one to hold less.
        self.gated: list[ShapeQueue] = []
        # One of them that has waited long: what becomes free of the limit is kept for it.
        self.claim: ShapeQueue | None = None
        # What it holds beyond its limit because the limit, or the scheduler, came later.
        self.tolerated: dict[str, int] = {}
        self.tolerated_count = 0

    def take(self, amounts: Amounts, count: int) -> None:
        """So many tasks of these amounts more; or less, where the count is negative."""
        self.running_count += count
        held = self.held
        for name, amount in amounts:
            held[name] = held.get(name, 0) + count * amount
        if self.tolerated:
            self.tolerated = {name: min(most, held.get(name, 0)) for name, most in self.tolerated.items()}
        if self.tolerated_count:
            self.tolerated_count = min(self.tolerated_count, self.running_count)

    def tolerate(self) -> None:
        """What is held now is a fact, whatever the quota says."""
        self.tolerated = {name: self.held.get(name, 0) for name, _ in self.quota.limit}
        self.tolerated_count = self.running_count

    def is_kept_from(self, queue: "ShapeQueue") -> bool:
        """Whether what is left of a limit that the shape asks of is kept for another."""
        claim = self.claim
        if claim is None or claim is queue or claim.gate is not self or not claim.live_count:
            return False
        asked, claimed = dict(queue.shape.amounts), dict(claim.shape.amounts)
        return any(asked.get(name) and claimed.get(name) for name, _ in self.quota.limit)

    @property
    def is_within_guarantee(self) -> bool:
        guaranteed = self.quota.guaranteed
        return bool(guaranteed) and all(self.held.get(name, 0) < amount for name, amount in guaranteed)


class Sharer(Holder):
    """A holder with a past."""

    __slots__ = ("as_of_ms", "decayed", "measure", "recent", "saved", "saved_ms")

    def __init__(self, quota: Quota, measure: Measure) -> None:
        super().__init__(quota)
        self.measure = measure
        # Means of what was held: over the half-life that is configured, and over minutes.
        self.decayed = self.recent = 0.0
        self.as_of_ms = measure.now_ms
        # What the database knows, and as of when.
        self.saved = 0.0
        self.saved_ms = measure.now_ms

    def settle(self) -> None:
        """Takes in the time since the last change; to be called before what is held changes."""
        measure = self.measure
        passed = measure.now_ms - self.as_of_ms
        if passed > 0:
            share = measure.share(self.held)
            self.decayed = share + (self.decayed - share) * math.exp2(-passed / measure.half_life_ms)
            self.recent = share + (self.recent - share) * math.exp2(-passed / RECENT_MS)
            self.as_of_ms = measure.now_ms

    @property
    def is_unsaved(self) -> bool:
        """Whether the database is too far from the truth, by more than 1/2000 of the machines."""
        known = self.measure.faded(self.saved, self.measure.now_ms - self.saved_ms)
        return abs(known - self.decayed) > 0.0005

    def due(self, weight: float) -> float:
        """The smaller, the sooner it goes: half by the long past, half by the present.

        The present is mostly the mean of the last minutes: where few tasks fit at a time, no split of the moment is
        fair, but one that changes is.
        """
        self.settle()
        present = (self.measure.share(self.held) + RECENT_WEIGHT * self.recent) / (1 + RECENT_WEIGHT)
        return (self.decayed + present) / weight


class Account(Holder):
    """An account over all queues."""

    __slots__ = ("name", "settings", "tenants")

    def __init__(self, name: str) -> None:
        super().__init__(Quota())
        self.name = name
        self.settings = AccountSettings()
        self.tenants: list[Tenant] = []


class Cap(Holder):
    """All tasks of an account that carry one key."""

    __slots__ = ("key",)

    def __init__(self, key: str) -> None:
        super().__init__(Quota())
        self.key = key


class Queue(Sharer):
    """Where accounts share by weight."""

    __slots__ = ("name", "ordinal", "settings", "tenants", "turns")

    def __init__(self, name: str, ordinal: int, measure: Measure) -> None:
        super().__init__(Quota(), measure)
        self.name = name
        self.ordinal = ordinal
        self.settings = QueueSettings()
        self.tenants: list[Tenant] = []
        self.turns: Turns[Tenant] = Turns()

    def place(self) -> tuple[int, bool, float, int]:
        first = self.turns.first()
        borrows = not (self.is_within_guarantee or (first is not None and first.account.is_within_guarantee))
        return (-self.settings.priority, borrows, self.due(self.settings.weight), self.ordinal)

    def admits(self, account: str) -> bool:
        return not self.settings.accounts or account in self.settings.accounts


class Tenant(Sharer):
    """An account's part of a queue."""

    __slots__ = ("account", "arrays", "is_limited", "order", "ordinal", "queue", "shapes")

    def __init__(self, queue: Queue, account: Account, ordinal: int) -> None:
        super().__init__(Quota(), queue.measure)
        self.queue = queue
        self.account = account
        self.ordinal = ordinal
        # Those of its shapes whose turn may come, first in line first.
        self.order: list[tuple[int, int, int, ShapeQueue]] = []
        self.shapes: dict[ShapeQueue, None] = {}
        # Keys of unfinished arrays.
        self.arrays: set[int] = set()
        self.is_limited = False
        self.review()

    def place(self) -> tuple[bool, float, int]:
        account = self.account
        return (not account.is_within_guarantee, self.due(account.settings.weight), self.ordinal)

    @property
    def weight(self) -> float:
        """Its part beside all others of queues of the same priority."""
        return self.queue.settings.weight * self.account.settings.weight

    def review(self) -> None:
        """The settings have changed: whether there is anything to ask before a task of its starts."""
        queue, account = self.queue, self.account
        self.is_limited = queue.settings.is_stopped or queue.quota.is_limit or account.quota.is_limit
        for shape in self.shapes:
            shape.is_limited = self.is_limited or bool(shape.caps)


class ShapeQueue:
    """The waiting tasks of one shape. Keys that left the queue by other ways are skipped when they surface."""

    __slots__ = (
        "aside",
        "candidates",
        "caps",
        "gate",
        "is_blocked",
        "is_bound",
        "is_limited",
        "is_listed",
        "keys",
        "live_count",
        "mean_run_ms",
        "ordinal",
        "shape",
        "tenant",
        "untold",
    )

    def __init__(self, shape: Shape, ordinal: int, tenant: Tenant, caps: tuple[tuple[Cap, int], ...]) -> None:
        self.shape = shape
        self.tenant = tenant
        self.caps = caps
        # Where one of its tasks may start depends on where others are.
        self.is_bound = bool(shape.gang or shape.is_distinct)
        # Whether there is anything to ask but the nodes before one of its tasks starts.
        self.is_limited = bool(caps) or tenant.is_limited
        # Settles ties, so that the same events give the same order.
        self.ordinal = ordinal
        # (ticket, key).
        self.keys: deque[tuple[int, int]] = deque()
        self.candidates = Candidates(shape)
        self.is_blocked = False
        # Where it stands among those that were set aside for want of a node.
        self.aside: Entry | None = None
        # Who must hold less before it may try again; None: a node must change, if it is blocked.
        self.gate: Holder | None = None
        self.is_listed = False
        # Unfinished tasks of this shape, waiting or not.
        self.live_count = 0
        # Moving mean over ended tasks; None until one has ended.
        self.mean_run_ms: float | None = None
        # Tasks that got their room since those who hold were last told, less those that gave it back.
        self.untold = 0

    def key(self, ticket: int) -> tuple[int, int]:
        """A task's place among those of its account in its queue; it never changes while it waits."""
        ageing = self.tenant.queue.settings.ageing_ms * TICKETS_PER_MS
        priority = self.shape.priority
        return (0, ticket - priority * ageing) if ageing else (-priority, ticket)

    def learn(self, run_ms: float) -> None:
        """Takes in how long a task of this shape ran."""
        mean = self.mean_run_ms
        self.mean_run_ms = run_ms if mean is None else mean + 0.1 * (run_ms - mean)

    def prefill_depth(self, slots: int) -> int:
        """How many tasks may wait at an agent that runs ``slots`` of them at a time; 0 while unknown or long."""
        if self.mean_run_ms is None or self.mean_run_ms > PREFILL_WORK_MS:
            return 0
        return min(MOST_PREFILL, int(slots * PREFILL_WORK_MS / max(self.mean_run_ms, 0.05)))


# Place among those of the account in the queue, what settles ties, the shape's queue.
Entry = tuple[int, int, int, ShapeQueue]


class Tenancy:
    """All of them, by name."""

    def __init__(self, half_life_ms: int = HALF_LIFE_MS) -> None:
        self.measure = Measure(half_life_ms)
        self.queues: dict[str, Queue] = {}
        self.accounts: dict[str, Account] = {}
        self.tenants: dict[tuple[str, str], Tenant] = {}
        self.caps: dict[tuple[str, str], Cap] = {}
        self.made = 0
        self.add_queue(MAIN_QUEUE)

    def add_queue(self, name: str) -> Queue:
        found = self.queues.get(name)
        if found is None:
            self.made += 1
            found = self.queues[name] = Queue(name, self.made, self.measure)
        return found

    def remove(self, queue: Queue) -> None:
        """Nothing is in it any more."""
        del self.queues[queue.name]
        for tenant in queue.tenants:
            tenant.account.tenants.remove(tenant)
            del self.tenants[(queue.name, tenant.account.name)]

    def account(self, name: str) -> Account:
        found = self.accounts.get(name)
        if found is None:
            found = self.accounts[name] = Account(name)
        return found

    def tenant(self, queue_name: str, account_name: str) -> Tenant:
        found = self.tenants.get((queue_name, account_name))
        if found is None:
            self.made += 1
            queue, account = self.add_queue(queue_name), self.account(account_name)
            found = self.tenants[(queue_name, account_name)] = Tenant(queue, account, self.made)
            queue.tenants.append(found)
            account.tenants.append(found)
        return found

    def glimpse(self, queue_name: str, account_name: str) -> Tenant:
        """That of these names, or what it would be; nothing is made for good."""
        found = self.tenants.get((queue_name, account_name))
        if found is None:
            queue = self.queues.get(queue_name) or Queue(queue_name, self.made + 1, self.measure)
            account = self.accounts.get(account_name) or Account(account_name)
            found = Tenant(queue, account, self.made + 1)
        return found

    def cap(self, account: str, key: str) -> Cap:
        found = self.caps.get((account, key))
        if found is None:
            found = self.caps[(account, key)] = Cap(key)
        return found

    def sharers(self) -> list[tuple[str, str, Sharer]]:
        """(queue, account, who), queues as a whole with an empty account."""
        whole: list[tuple[str, str, Sharer]] = [(name, "", queue) for name, queue in self.queues.items()]
        return whole + [(queue, account, tenant) for (queue, account), tenant in self.tenants.items()]
