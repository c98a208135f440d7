"""Everything the scheduler knows while it runs: unfinished tasks, what waits, the nodes. Pure data.

Ended tasks are in the database only. `invariants` says what must hold between any two steps.
"""

from collections import OrderedDict, deque

from services.scheduler.model import Spec
from services.scheduler.notification import KnownContact
from services.scheduler.placement.cluster import Cluster
from services.scheduler.placement.quote_book import QuoteBook
from services.scheduler.queues.shares import HALF_LIFE_MS
from services.scheduler.queues.tenants import ShapeQueue, Tenancy
from services.scheduler.queues.waiting import Waiting
from services.scheduler.state.dependents import Dependents
from services.scheduler.state.gangs import Gangs
from services.scheduler.state.preemption import Preemption
from services.scheduler.state.task import Task

REMEMBERED_REQUESTS = 100_000
REMEMBERED_CHANGES = 100_000


class State:
    """The machine's state; changed by `machine` alone."""

    def __init__(self, epoch: int, next_number: int, revision: int, half_life_ms: int = HALF_LIFE_MS) -> None:
        self.epoch = epoch
        self.next_number = next_number
        self.revision = revision
        self.tasks: dict[int, Task] = {}
        self.specs: dict[tuple[str, bytes], Spec] = {}
        self.next_spec = 1
        self.cluster = Cluster()
        self.waiting = Waiting(Tenancy(half_life_ms))
        # When what was held is written down again, monotonic.
        self.use_due_ms = 0
        self.quotes = QuoteBook()
        self.gangs = Gangs()
        # By the task that is to have the room.
        self.preemptions: dict[int, Preemption] = {}
        # Nodes that are kept for somebody, and since when, by the monotonic clock, the first of a shape finds no room.
        self.held_nodes: frozenset[str] = frozenset()
        self.blocked_since: dict[ShapeQueue, tuple[int, int]] = {}
        # By gang or array, how many tasks that must keep apart are on each node.
        self.apart: dict[int, dict[str, int]] = {}
        # (account, request_id) -> (content, first key, count).
        self.requests: OrderedDict[tuple[str, str], tuple[bytes, int, int]] = OrderedDict()
        # Then only the database knows whether a request came before.
        self.has_forgotten_requests = False
        # Deleted since the start: streams that their tokens opened may still be there for a moment.
        self.closed_accounts: set[str] = set()
        # By account and name. An account without contacts is not in it: nobody is to be told how its tasks end.
        self.contacts: dict[str, dict[str, KnownContact]] = {}
        # Newest changes, (revision, key, account), for watchers.
        self.changes: deque[tuple[int, int, str]] = deque(maxlen=REMEMBERED_CHANGES)
        # Every change after this revision is in ``changes``.
        self.compacted_revision = revision
        # Keys whose retry waits for its back-off; (deadline, key) heap of limited queue times, wall clock; keys that
        # wait in an agent's queue, oldest first, since when by the monotonic clock.
        self.backing_off: set[int] = set()
        self.queue_deadlines: list[tuple[int, int]] = []
        self.prefilled: dict[int, int] = {}
        # Lost nodes with tasks that are waited for; tasks with an attempt that may come back with its node.
        self.absent: set[str] = set()
        self.originals: set[int] = set()
        # Arrays whose elements have all been made and ended, and those of which too many failed.
        self.complete_arrays: set[int] = set()
        self.dependents = Dependents()
        self.last_tick_ms = 0
        # How many reports came with a token that is not current.
        self.stale_reports = 0
        # Since when, by the monotonic clock, node losses are not believed; 0: they are.
        self.brake_since_ms = 0

    def remember_request(self, account: str, request_id: str, content: bytes, first: int, count: int) -> None:
        self.requests[(account, request_id)] = (content, first, count)
        if len(self.requests) > REMEMBERED_REQUESTS:
            self.requests.popitem(last=False)
            self.has_forgotten_requests = True
