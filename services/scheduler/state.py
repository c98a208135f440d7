"""Everything the scheduler knows while it runs: unfinished tasks, what waits, the nodes. Pure data.

Ended tasks are in the database only. `check_invariants` says what must hold between any two steps.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence

from services.chassis.errors import InvariantViolation
from services.scheduler.census import wrong_with_shares
from services.scheduler.cluster import Cluster, Node
from services.scheduler.dependents import Dependents
from services.scheduler.gangs import Gangs
from services.scheduler.gangs import wrong_with as wrong_with_gangs
from services.scheduler.model import (
    ON_NODE,
    TERMINAL,
    Dependency,
    NodeState,
    Original,
    PendingChange,
    Spec,
    TaskState,
    format_task_id,
    index_of,
)
from services.scheduler.notify.model import KnownContact
from services.scheduler.placement import Entry
from services.scheduler.preempting import Preemption
from services.scheduler.quotes import Quotes
from services.scheduler.resources import GPU, SCALE, Amounts
from services.scheduler.tally import Tally
from services.scheduler.tenants import HALF_LIFE_MS, Tenancy
from services.scheduler.waiting import ShapeQueue, Waiting

REMEMBERED_REQUESTS = 100_000
REMEMBERED_CHANGES = 100_000


class Task:
    """An unfinished task. An array's own record has a `Tally`; its elements become tasks when they are placed."""

    __slots__ = (
        "account", "assign_ms", "attempt", "attempts", "awaits", "command", "considered", "counterparts", "devices",
        "epoch",
        "failures", "has_started", "holds_share", "is_prefilled", "key", "limit_revision", "node",
        "not_before_ms", "original", "params", "pending", "progress", "queue", "queued_ms", "reason", "recorded",
        "resource_revision", "revision", "spec", "start_ms", "state", "stop", "submit_ms", "tally", "ticket",
    )  # fmt: skip

    def __init__(
        self,
        key: int,
        spec: Spec,
        queue: ShapeQueue,
        account: str,
        params: str,
        submit_ms: int,
        revision: int,
    ) -> None:
        self.key = key
        self.spec = spec
        self.queue = queue
        self.account = account
        self.params = params
        self.submit_ms = submit_ms
        # From when the queue timeout counts: submission, or the last release.
        self.queued_ms = submit_ms
        # That of its latest change, and of the latest that was recorded: progress is shown only.
        self.revision = self.recorded = revision
        self.state = TaskState.QUEUED
        self.reason = ""
        # (epoch, attempt) is the token of the current attempt.
        self.attempt = 0
        # How many were begun: the number of the next one is a new one, whichever is current.
        self.attempts = 0
        self.original: Original | None = None
        self.epoch = 0
        self.failures = 0
        self.node = ""
        self.devices: tuple[int, ...] = ()
        # Of the present attempt: the node that was chosen and others that fitted, as placement ranked them.
        self.considered: Sequence[Entry] = ()
        self.is_prefilled = False
        # Whether its amounts count as held by those who share the machines.
        self.holds_share = False
        self.assign_ms = 0
        self.start_ms = 0
        # Wall clock before which a retry does not start.
        self.not_before_ms = 0
        # (grace_ms, comment) once somebody asked for its end.
        self.stop: tuple[int, str] | None = None
        self.progress: tuple[float, str] | None = None
        # Its place among the waiting ones, once it had one.
        self.ticket = 0
        # Changes that its agent is yet to take in, oldest first: one at a time is under way.
        self.pending: tuple[PendingChange, ...] = ()
        # The modification that gave the present attempt another run timeout than it started with; 0: none.
        self.limit_revision = 0
        # Number of the command that started the present attempt, while its agent may not have heard it; 0: it has.
        self.command = 0
        # The same of its resources.
        self.resource_revision = 0
        # In an attempt that is over, too.
        self.has_started = False
        # What must happen before it may start, other than element by element: while there is any it is in no queue.
        self.awaits: tuple[Dependency, ...] = ()
        # Of an array: what its elements wait for, each for its own.
        self.counterparts: tuple[Dependency, ...] = ()
        self.tally: Tally | None = None
        if spec.array_size and index_of(key) < 0:
            bits = sum(dependency.is_element_wise for dependency in spec.dependencies)
            self.tally = Tally(spec.array_size, spec.array_indexes, (1 << bits) - 1, spec.max_running)

    @property
    def is_element(self) -> bool:
        return index_of(self.key) >= 0

    @property
    def holding(self) -> Amounts:
        """What its node holds for it: by its specification, and by what its agent has yet to give up."""
        held = self.spec.shape.amounts
        for change in self.pending:
            if change.amounts:
                most = dict(held)
                for name, amount in change.amounts:
                    most[name] = max(most.get(name, 0), amount)
                held = tuple(sorted(most.items()))
        return held

    @property
    def wants_suspension(self) -> bool:
        """Whether somebody wants it stopped where it is, and nobody its end; its rows say so by their reason."""
        return self.reason.startswith("SUSPEND") and self.stop is None


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
        self.quotes = Quotes()
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


def check_invariants(state: State) -> None:
    """Raises `InvariantViolation` with what is wrong (reliability.md, promises 1, 2 and 5)."""
    for node in state.cluster.nodes.values():
        for name, held in node.reserved.items():
            _require(0 <= held <= node.capacity.get(name, 0), f"{node.id}: {held} of {name} reserved")
            kept = [room.amounts for room in node.rooms.values()]
            total = sum(dict(amounts).get(name, 0) for amounts in (*node.tasks.values(), *kept))
            _require(total == held, f"{node.id}: {name} adds up to {total}, not {held}")
        _check_devices(state, node)
        _require(node.pool == node.labels.get("pool", ""), f"{node.id}: pool {node.pool!r} is not its label")
        for key in (*node.tasks, *node.prefilled):
            task = state.tasks.get(key)
            _require(
                task is not None and task.node == node.id,
                f"{node.id} holds {format_task_id(key)}, which is not its",
            )
    wrong = state.quotes.wrong_with(state.cluster) or wrong_with_gangs(state)
    _require(not wrong, wrong)
    for account, contacts in state.contacts.items():
        _require(bool(contacts), f"{account} is among those with contacts and has none")
    for task in state.tasks.values():
        _check_task(state, task)
    _check_absent(state)
    _check_held_back(state)
    shares = wrong_with_shares(state.waiting.tenancy, state.tasks.values())
    _require(not shares, shares)


def _check_devices(state: State, node: Node) -> None:
    left = [SCALE] * len(node.devices.names)
    for key, amounts in node.tasks.items():
        share = min(dict(amounts).get(GPU, 0), SCALE)
        for index in state.tasks[key].devices:
            left[index] -= share
    for room in node.rooms.values():
        share = min(dict(room.amounts).get(GPU, 0), SCALE)
        for index in room.devices:
            left[index] -= share
    _require(left == node.devices.left, f"{node.id}: its devices have {node.devices.left} left, not {left}")
    _require(all(share >= 0 for share in left), f"{node.id}: a device is oversubscribed")


def _check_held_back(state: State) -> None:
    for node in state.cluster.nodes.values():
        is_held = node.state is NodeState.HELD_BACK
        _require(not is_held or node.held_until_ms > 0, f"{node.id} is held back for no time")


def _check_absent(state: State) -> None:
    for name in state.absent:
        node = state.cluster.nodes[name]
        _require(node.state is NodeState.LOST and not node.session, f"{name} is waited for and not lost")
    kept = {key for key, task in state.tasks.items() if task.original is not None}
    _require(
        kept == state.originals, f"originals of {kept ^ state.originals} are not listed, or too many are"
    )


def _check_task(state: State, task: Task) -> None:
    wrong = _wrong_with(state, task)
    if wrong:
        raise InvariantViolation(f"{format_task_id(task.key)} {wrong}")


def _wrong_with(state: State, task: Task) -> str:
    """What contradicts itself about a task; empty where nothing does. Called for each task at each step of a test."""
    if task.state in TERMINAL:
        return "has ended and is still here"
    if task.tally is not None:
        tally = task.tally
        passed = tally.total - tally.left
        if 0 < tally.most_active < tally.active:
            return f"has {tally.active} elements under way, more than {tally.most_active}"
        return "" if tally.made == passed else f"counts {tally.made} elements, {passed} were made"
    if task.spec.is_at_most_once and task.has_started and task.state is TaskState.QUEUED:
        return "is started at most once, has started, and waits again"
    if task.awaits and (task.node or task.attempt):
        return "waits for what it depends on, and was started"
    if task.state not in ON_NODE:
        if task.pending:
            return f"is {task.state.name} and waits for an agent to take in a change"
        return f"is {task.state.name} and on {task.node}" if task.node else ""
    node = state.cluster.nodes.get(task.node)
    if node is None:
        return f"is on unknown node {task.node!r}"
    if not (task.key in node.tasks or task.key in node.expected or task.key in node.prefilled):
        return f"is {task.state.name} and {task.node} does not hold it"
    if task.original is not None and task.original.attempt == task.attempt:
        return f"is its own original, attempt {task.attempt}"
    return "" if 0 < task.attempt <= task.attempts else f"is {task.state.name} in attempt {task.attempt}"


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise InvariantViolation(otherwise)
