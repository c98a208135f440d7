"""The whole state of an agent's machine, and what always holds of it. Pure."""

from __future__ import annotations

import heapq

import msgspec

from services.agent.tasks.lanes import Lanes
from services.agent.tasks.model import Body, Note, NoteKind, Phase, Pool, Resources, Task, Worker
from services.agent.tasks.outbox import Outbox
from services.chassis.errors import InvariantViolation

TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    Phase.PREPARING: frozenset({Phase.WAITING, Phase.ENDED, Phase.GONE}),
    Phase.WAITING: frozenset({Phase.HANDED, Phase.ENDED, Phase.GONE}),
    Phase.HANDED: frozenset({Phase.WAITING, Phase.RUNNING, Phase.STORING, Phase.ENDED, Phase.GONE}),
    Phase.RUNNING: frozenset({Phase.STORING, Phase.ENDED}),
    Phase.STORING: frozenset({Phase.ENDED}),
    Phase.ENDED: frozenset({Phase.GONE}),
    Phase.GONE: frozenset(),
}

AHEAD_MS = 20.0
"""How much work may wait in a worker behind the task that it runs."""
AHEAD_MOST = 32
FORGOTTEN_AFTER = 10_000
"""Labels whose duration is remembered."""


class Settings(msgspec.Struct, frozen=True):
    """What the configuration says to the machine."""

    warm_workers: int = 2
    workers_most: int = 256
    starting_most: int = 4
    idle_worker_ms: int = 60_000
    stop_grace_ms: int = 5_000
    kill_margin_ms: int = 2_000


class Group(msgspec.Struct):
    """The workers of one pool: idle ones by name, newest last, and busy ones."""

    idle: dict[str, Worker] = msgspec.field(default_factory=dict)
    busy: dict[str, Worker] = msgspec.field(default_factory=dict)


class State:
    """Everything that the machine knows. Only the machine changes it."""

    def __init__(self, capacity: dict[str, int], settings: Settings, wall_offset_ms: int = 0) -> None:
        self.settings = settings
        self.capacity = dict(capacity)
        self.free = dict(capacity)
        self.wall_offset_ms = wall_offset_ms
        self.tasks: dict[str, Task] = {}
        self.lanes = Lanes()
        self.outbox = Outbox()
        self.workers: dict[str, Worker] = {}
        self.groups: dict[Pool | None, Group] = {None: Group()}
        self.starting = 0
        self.spawned = 0
        self.rank = 0
        self.last_command = 0
        self.lease_ms = 0
        self.lease_until_ms = -1
        self.fenced: dict[str, None] = {}
        """Tasks that may not outlast the scheduler's silence; ended ones are forgotten when it matters."""
        self.draining = False
        self.drain_message = ""
        self.drain_until_ms = -1
        self.ready_needs: set[str] = set()
        self.pending_needs: dict[str, list[Task]] = {}
        self.timers: list[tuple[int, int, str, Task]] = []
        self.timer_number = 0
        self.mean_ms: dict[str, float] = {}
        self.inherited: dict[str, int] = {}
        """What tasks of an earlier agent process held when this one found them: a fact, even where the
        machine has become smaller."""

    def move(self, task: Task, phase: Phase) -> None:
        """Changes a task's phase along the table."""
        if phase not in TRANSITIONS[task.phase]:
            raise InvariantViolation(f"task {task.key} cannot go from {task.phase} to {phase}")
        task.phase = phase

    def tell(self, task: Task, kind: NoteKind, **detail: object) -> None:
        """Queues an event for the scheduler."""
        self.outbox.add(Note(task, kind, **detail))  # type: ignore[arg-type]

    def may_start(self, now_ms: int) -> bool:
        """Whether the lease allows new starts."""
        return now_ms < self.lease_until_ms and not self.draining

    def fits(self, resources: Resources) -> bool:
        """Whether this much is free."""
        free = self.free
        return all(free.get(name, 0) >= amount for name, amount in resources)

    def ever_fits(self, resources: Resources) -> bool:
        """Whether an empty machine has this much."""
        return all(self.capacity.get(name, 0) >= amount for name, amount in resources)

    @property
    def is_backlogged(self) -> bool:
        """Whether tasks wait behind others in workers."""
        return any(len(worker.queue) > 1 for worker in self.workers.values())

    def reserve(self, worker: Worker, resources: Resources) -> None:
        """Takes a slot for a worker's queue."""
        worker.slot = resources
        for name, amount in resources:
            self.free[name] = self.free.get(name, 0) - amount

    def release(self, worker: Worker) -> None:
        """Gives a worker's slot back."""
        for name, amount in worker.slot or ():
            self.free[name] += amount
        worker.slot = None

    def group(self, pool: Pool | None) -> Group:
        """The workers of a pool."""
        group = self.groups.get(pool)
        if group is None:
            group = self.groups[pool] = Group()
        return group

    def set_timer(self, due_ms: int, kind: str, task: Task) -> None:
        """Lets a later tick look at a task again."""
        self.timer_number += 1
        heapq.heappush(self.timers, (due_ms, self.timer_number, kind, task))

    def pop_timer(self) -> tuple[int, int, str, Task]:
        """The next timer: when, its number, its kind, whose."""
        return heapq.heappop(self.timers)

    def depth(self, body: Body) -> int:
        """How many calls like this may be in a worker's queue, the running one included."""
        mean = self.mean_ms.get(body.label)
        return 1 if mean is None else 1 + min(AHEAD_MOST, int(AHEAD_MS / max(mean, 0.5)))

    def learn(self, body: Body, duration_ms: int) -> None:
        """Remembers how long a call took: slow ones count at once, fast ones slowly."""
        mean = self.mean_ms.get(body.label)
        if mean is None and len(self.mean_ms) >= FORGOTTEN_AFTER:
            self.mean_ms.clear()
        weight = 0.5 if mean is None or duration_ms > mean else 0.125
        self.mean_ms[body.label] = duration_ms if mean is None else mean + weight * (duration_ms - mean)

    def awaiting(self, need: str) -> int:
        """How many tasks wait for a need that is being made ready."""
        return sum(task.phase is Phase.PREPARING for task in self.pending_needs.get(need, ()))

    def uses(self, need: str) -> bool:
        """Whether a task that has not ended counts on a need."""
        return any(need in task.body.needs and task.exit is None for task in self.tasks.values())


def check_invariants(state: State) -> None:
    """Raises InvariantViolation where the state contradicts itself. For tests and simulation."""
    reserved: dict[str, int] = {}
    queued: dict[str, str] = {}
    for worker in state.workers.values():
        _check_worker(state, worker)
        for name, amount in worker.slot or ():
            reserved[name] = reserved.get(name, 0) + amount
        queued.update(dict.fromkeys(worker.queue, worker.name))
    for name, free in state.free.items():
        capacity, taken = state.capacity.get(name, 0), reserved.get(name, 0)
        _hold(free == capacity - taken, f"free {name} is not what is left")
        most = max(capacity, state.inherited.get(name, 0))
        _hold(taken <= most, f"more {name} is reserved than there is")
    for task in state.tasks.values():
        _check_task(task, queued)


def _check_worker(state: State, worker: Worker) -> None:
    _hold((worker.slot is not None) == bool(worker.queue), f"{worker.name}: slot and queue disagree")
    group = state.group(worker.pool)
    listed = (worker.name in group.idle) + (worker.name in group.busy)
    _hold(listed == (0 if worker.leaving else 1), f"{worker.name} is listed {listed} times")
    _hold(all(key in state.tasks for key in worker.queue), f"{worker.name} has a task that is gone")


def _check_task(task: Task, queued: dict[str, str]) -> None:
    in_queue = task.phase in (Phase.HANDED, Phase.RUNNING)
    _hold((task.key in queued) == in_queue, f"task {task.key} is {task.phase}, queue says otherwise")
    _hold(not in_queue or queued[task.key] == task.worker, f"task {task.key} is in another worker")
    _hold((task.exit is not None) == (task.phase is Phase.ENDED), f"task {task.key}: outcome and phase")
    _hold(task.phase is not Phase.GONE, f"task {task.key} is gone and listed")


def _hold(fact: bool, otherwise: str) -> None:
    if not fact:
        raise InvariantViolation(otherwise)
