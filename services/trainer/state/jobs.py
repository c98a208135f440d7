"""What a job is: its instances, what is spent, what is decided, how it is in memory. Pure.

Jobs and instances are written whole whenever they changed (effects `PutJob`, `PutInstance`), so that what is read back
is what was. A plan is no part of it: it follows from the job's document and its framework.
"""

from __future__ import annotations

from collections import deque

import msgspec

from modelyard.training import Address, Plan, Progress
from modelyard.training.policies.restarts import Purse
from services.trainer.model import Attached, Checkpoint, Condition, Exit, InstanceState, JobState
from services.trainer.state.questions import Answer, Question

Key = tuple[str, int]
"""Role and index of an instance."""


class Budget(msgspec.Struct):
    """What one purse has paid."""

    used: int = 0
    in_a_row: int = 0
    uncounted: int = 0
    last_ms: int = 0

    def purse(self, now: int) -> Purse:
        """As the policies see it."""
        since_s = (now - self.last_ms) / 1000 if self.last_ms else 0.0
        return Purse(used=self.used, in_a_row=self.in_a_row, since_last_s=since_s)


class Instance(msgspec.Struct):
    """One of a role's count."""

    role: str
    index: int
    state: InstanceState = InstanceState.PENDING
    reason: str = ""
    message: str = ""
    epoch: int = 0
    """How often its processes were started."""
    task: str = ""
    """The task that holds its seat; empty: none was asked for, or it is lost."""
    latest_task: str = ""
    """The task of its present or last seat: its log outlives the seat (I6)."""
    address: Address | None = None
    """None: its seat is not open."""
    is_started: bool = False
    """Its processes ran in the present epoch."""
    signs: list[int] = []
    """Seen in the present epoch."""
    metrics: dict[str, float] = {}
    """The latest of each, of the present epoch."""
    progress: Progress | None = None
    """Of the present epoch."""
    progress_ms: int = 0
    begun_ratio: float = 0.0
    """The first ratio of the present epoch, and when it was told."""
    begun_ms: int = 0
    exit: Exit | None = None
    restarts: int = 0
    seats: int = 0
    """How many it has had."""
    closing: dict[str, str] = {}
    """Tasks of its seats that are being closed and have still to give what is kept; the node of each."""
    resume: int = -1
    """The checkpoint that it goes on from; 0: none, −1: not chosen."""
    stopping_for: str = ""
    """Why it is asked to end: restart, surplus, suspend, drain, hang, or condemned: it hung for the last time."""
    since_ms: int = 0
    start_ms: int = 0
    end_ms: int = 0
    revision: int = 0

    @property
    def key(self) -> Key:
        return self.role, self.index

    @property
    def is_condemned(self) -> bool:
        """Judged as failed, though its processes have still to end."""
        return self.state is InstanceState.STOPPING and self.stopping_for == "condemned"


class Wave(msgspec.Struct):
    """Instances that are stopped and started again together; written before the first is stopped (I3)."""

    number: int
    keys: list[Key]
    reason: str
    until_ms: int
    """Not before."""


class Unreached(msgspec.Struct, frozen=True):
    """Who could not be reached, where, why; and by whom."""

    role: str
    index: int
    address: str
    error: str
    by: str = ""
    by_node: str = ""


class Check(msgspec.Struct):
    """It is being found out whether instances reach each other. Not on disk: whoever comes next asks again."""

    number: int
    until_ms: int
    """After that answers are not waited for; of a pause: when it is tried again."""
    waiting: dict[Key, str] = {}
    """Whose answer lacks, with the task that holds its seat."""
    targets: dict[Key, list[Key]] = {}
    """Who dials whom."""
    callers: dict[Key, int] = {}
    """By how many they are dialled."""
    places: list[str] = []
    unreached: list[Unreached] = []
    is_second: bool = False
    """The first attempt has failed: an agent may just have been away."""
    is_pause: bool = False
    message: str = ""


class Job(msgspec.Struct):
    """One job that has not ended, or waits to be cleared."""

    number: int
    account: str
    name: str
    framework: str
    framework_version: int
    document: str
    queue: str
    priority: int
    create_ms: int
    changes: bytes = b""
    """A JobDocument without its text: what was laid over the file."""
    bundle_digest: str = ""
    attachments: tuple[Attached, ...] = ()
    environment: bytes = b""
    notification: bytes = b""
    params_json: str = "{}"
    labels: dict[str, str] = {}
    state: JobState = JobState.QUEUED
    reason: str = ""
    message: str = ""
    turn: int = 0
    """Who comes first among equals of a queue."""
    counts: dict[str, int] = {}
    """By role, how many there are to be."""
    budgets: dict[str, Budget] = {}
    avoid: list[str] = []
    """Nodes that its instances do not go to again."""
    waves: list[Wave] = []
    next_wave: int = 1
    outcome: JobState | None = None
    """Decided: never changes (I1)."""
    is_proving: bool = False
    """Its policy says that it has succeeded, and evidence lacks: what still lives is ended, then it is judged."""
    next_checkpoint: int = 1
    close_until_ms: int = 0
    """Until then seats that are being closed are waited for; 0: none is."""
    drain_until_ms: int = 0
    is_suspending: bool = False
    """Its instances are being stopped, then it holds nothing."""
    is_resuming: bool = False
    """It was resumed before it was suspended to the end."""
    yields_to: int = 0
    """The job for which it was interrupted; see `preempting`."""
    yield_until_ms: int = 0
    preemptions: int = 0
    """How often it made room for others."""
    failure: Exit | None = None
    """The first end that counted, and whose it was."""
    failed: Key | None = None
    batches: dict[int, list[Key]] = {}
    """Submissions of seats that were not answered, and for whom they are."""
    restarts: int = 0
    conditions: list[Condition] = []
    deadline_ms: int = 0
    place_ms: int = 0
    start_ms: int = 0
    end_ms: int = 0
    expire_ms: int = 0
    """When what is left of it is cleared; 0: after the trainer's own time."""
    revision: int = 0
    address_revision: int = 0
    checked: list[str] = []
    """Nodes of which it was found out that they reach each other."""
    origin: str = ""
    """The task that handed it in; empty: a person did."""
    sweep: int = 0
    """Whose trial it is; 0: nobody's."""
    trial: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is started again, whatever its outcome will be."""
        return self.outcome is not None or self.is_proving


class LiveJob:
    """A job in memory with its plan and its instances."""

    __slots__ = (
        "activity",
        "answers",
        "asked",
        "changed",
        "check",
        "checkpoints",
        "due_ms",
        "instances",
        "is_changed",
        "job",
        "last_check",
        "plan",
        "reported",
        "unsent",
    )

    def __init__(self, job: Job, plan: Plan) -> None:
        self.job = job
        self.plan = plan
        self.instances: dict[Key, Instance] = {}
        self.checkpoints: dict[Key, dict[str, Checkpoint]] = {}
        """By instance and name."""
        self.reported: dict[Key, deque[tuple[int | None, int, float]]] = {}
        """Of the metric by which the best checkpoints are kept: step, time (ms), value, latest last; not on disk."""
        self.answers: dict[tuple[str, str, int], Answer] = {}
        """What a package's code has answered last; see `asking`."""
        self.asked: dict[tuple[str, str, int], Question] = {}
        self.unsent: set[Key] = set()
        """Who starts, and waits for the answer that says how."""
        self.activity: dict[Key, tuple[float, int, int]] = {}
        """Cores, when it was last heard (ms), when it last made progress (ms); not on disk."""
        self.changed: set[Key] = set()
        self.is_changed = False
        self.check: Check | None = None
        self.last_check = 0
        self.due_ms = 0
        """When it is looked at though nothing happens to it; 0: not set. See `timers`."""

    def of_role(self, role: str) -> list[Instance]:
        """In the order of their indexes."""
        count = self.job.counts.get(role, 0)
        return [self.instances[role, index] for index in range(count) if (role, index) in self.instances]

    def of_task(self, task: str) -> Instance | None:
        """Whose seat it is."""
        return next((one for one in self.instances.values() if one.task == task), None)

    def of_closing(self, task: str) -> Instance | None:
        """Whose seat it was, while it is being closed."""
        return next((one for one in self.instances.values() if task in one.closing), None)

    @property
    def closing(self) -> list[str]:
        """Tasks of all seats that are being closed."""
        return [task for one in self.instances.values() for task in one.closing]
