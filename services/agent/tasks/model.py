"""The agent's nouns: tasks, workers, specifications and what they hold.

Values only. No I/O, no clock, no protobuf. Resource amounts are whole numbers (1/10000 of a core,
of a device or of a custom unit; bytes of memory), so that sums are exact.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import StrEnum

import msgspec

UNITS = 10_000
"""Parts that a core, a device or a custom unit is counted in."""

Resources = tuple[tuple[str, int], ...]
"""Sorted (name, amount) pairs, amounts above zero. Names: cpu, memory, gpu, custom.<name>."""


class Phase(StrEnum):
    """Where a task stands on this machine."""

    PREPARING = "PREPARING"
    WAITING = "WAITING"
    HANDED = "HANDED"
    RUNNING = "RUNNING"
    STORING = "STORING"
    ENDED = "ENDED"
    GONE = "GONE"


class Cause(StrEnum):
    """Why an attempt ended; the words of TaskCause."""

    EXIT = "EXIT"
    SIGNAL = "SIGNAL"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    NODE_LOST = "NODE_LOST"
    TIMEOUT = "TIMEOUT"
    ERROR = "ERROR"
    SETUP = "SETUP"
    DRAINED = "DRAINED"
    CANCELLED = "CANCELLED"
    PREEMPTED = "PREEMPTED"
    GANG = "GANG"


class Pool(msgspec.Struct, frozen=True):
    """Who may share a warm worker: one account, one environment, one bundle, one set of variables."""

    account: str
    environment: str = ""
    bundle: str = ""
    variables: tuple[tuple[str, str], ...] = ()
    imports: tuple[str, ...] = ()
    """Modules that it is born with."""

    @property
    def plain(self) -> bool:
        """Whether a fresh worker, forked before anybody asked, can serve it."""
        return not (self.environment or self.bundle or self.variables or self.imports)


class LimitSet(msgspec.Struct, frozen=True):
    """What a task may use at most; 0: no limit."""

    cpu: float = 0.0
    memory_bytes: int = 0
    pids: int = 0
    whole_worker: bool = False
    """Whether it is the worker that is limited (operators), not a process that it starts."""

    @property
    def is_empty(self) -> bool:
        return not (self.cpu or self.memory_bytes or self.pids)


class Holding(msgspec.Struct, frozen=True):
    """What a task holds, and what it may use at most."""

    resources: Resources
    limits: LimitSet


class Attachment(msgspec.Struct, frozen=True):
    """An artefact that lies at a path below the working directory."""

    path: str
    digest: str
    is_directory: bool = False
    """It is a tar.gz, which lies there extracted."""


class Given(msgspec.Struct, frozen=True):
    """Parameters that this agent's environment has given to an attempt."""

    variable: str
    params_json: str
    digest: str
    """sha256 of the text."""


class CheckpointRules(msgspec.Struct, frozen=True):
    """Which files of an instance are checkpoints, and when one is complete."""

    directory: str
    match: str = ""
    """Glob of names; empty: all."""
    marker: str = ""
    """A file of this name in a directory says that it is complete; empty: no such thing."""
    settle_ms: int = 1_000

    @property
    def is_shared(self) -> bool:
        """On a file system that other nodes have too: nothing of it is stored or removed."""
        return self.directory.startswith("/")


class SeatPlace(msgspec.Struct, frozen=True):
    """What is to be known of a seat before a trainer speaks of it."""

    job_id: str
    role: str
    index: int
    """Of the instance, or of the first one of an array."""
    ports: tuple[tuple[str, int, int], ...] = ()
    """Name, and the range from which it is to be; 0, 0: any."""
    endpoint: str = ""
    forward: bool = False
    """Its peers have local addresses."""
    checkpoints: CheckpointRules | None = None


class Body(msgspec.Struct, frozen=True):
    """A specification, decoded once."""

    number: int
    account: str
    is_command: bool
    """It runs in processes of its own: a command, or a seat."""
    label: str
    """Operator name or the program; calls of one label are expected to take equally long."""
    pool: Pool
    resources: Resources = ()
    needs: tuple[str, ...] = ()
    """Shared things to fetch or build first: "bundle:…", "environment:…", "input:…"."""
    staged: bool = False
    """Whether each attempt needs a working directory filled before it can start."""
    keeps_outputs: bool = False
    start_timeout_ms: int = 0
    run_timeout_ms: int = 0
    silent_most_ms: int | None = None
    """How long it may go on without news of the scheduler; 0: for the lease, None: for ever."""
    modify_signal: int = 0
    """Tells a command that its parameters have changed; 0: none."""
    limits: LimitSet = LimitSet()
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    params_json: str = ""
    inputs: Mapping[str, bytes | str] = {}
    """By port: inline bytes, or the digest of an artefact."""
    values: frozenset[str] = frozenset()
    """The inputs that are the JSON of a value."""
    parameter_env: str = ""
    """Names parameters that this agent's environment has; see `offered`."""
    attachments: tuple[Attachment, ...] = ()
    outputs: tuple[str, ...] = ()
    requirements: str = ""
    environment: str = ""
    python: str = ""
    """Of the environment; empty: the agent's."""
    is_compiled: bool = False
    """Nothing that uses the environment can write bytecode there."""
    image: str = ""
    """A command runs in a container of it; empty: on the machine itself."""
    network: str = ""
    """Of the container: "none" (also when empty) or "bridge"."""
    bundle: str = ""
    threads: int = 1
    seat: SeatPlace | None = None
    is_alone: bool = False
    """Never handed out behind another: if its worker dies nobody could tell whether it had begun."""


class TaskError(msgspec.Struct, frozen=True):
    """Why a task did not succeed."""

    cause: Cause
    message: str
    exit_code: int = 0
    signal: int = 0
    traceback: str = ""
    next_step: str = ""


class StoredOutput(msgspec.Struct, frozen=True):
    """A file that the store has taken."""

    name: str
    digest: str
    size_bytes: int
    is_value: bool = False


class LeftFile(msgspec.Struct, frozen=True):
    """A file that has still to be stored."""

    name: str
    path: str
    is_value: bool = False
    """It holds the JSON of a value."""


class Exit(msgspec.Struct, frozen=True):
    """The end of an attempt. Times are wall-clock milliseconds; 0: it never started."""

    error: TaskError | None = None
    value_json: str = ""
    value_digest: str = ""
    outputs: tuple[StoredOutput, ...] = ()
    start_ms: int = 0
    end_ms: int = 0
    cpu_time_s: float = 0.0
    memory_peak_bytes: int = 0
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    files: tuple[LeftFile, ...] = ()
    value_path: str = ""
    """Of a value too large for here, which has still to be stored."""
    kept: tuple[str, ...] = ()
    """Globs of what is kept of a seat, however it ended."""
    given: Given | None = None


class StopOrder(msgspec.Struct, frozen=True):
    """Why a task is to end and how long it may take to."""

    cause: Cause
    message: str
    grace_ms: int
    next_step: str = ""
    # Asks a command to end; empty: SIGTERM.
    signal: str = ""


class Task(msgspec.Struct):
    """One attempt that this machine has. Changed by the machine only."""

    key: str
    """"<task id>/<attempt>"."""
    task_id: str
    attempt: int
    epoch: int
    body: Body
    params_json: str = ""
    prefill: bool = False
    array_index: int = -1
    gpu_devices: tuple[str, ...] = ()
    token: str = ""
    pool: Pool = Pool("")
    phase: Phase = Phase.WAITING
    rank: int = 0
    missing: set[str] = msgspec.field(default_factory=set)
    worker: str = ""
    start_ms: int = 0
    stop: StopOrder | None = None
    run_timeout_ms: int | None = None
    """What it was changed to; None: the specification's."""
    suspend_asked: bool = False
    """It is to be stopped where it is; done once nothing waits behind it in its worker."""
    suspended_ms: int = -1
    """Since when it is stopped, monotonic; −1: it is not."""
    paused_ms: int = 0
    """How long it was stopped before, which its time limit does not count."""
    placing: set[int] = msgspec.field(default_factory=set)
    """Revisions of changes of its attachments that are under way."""
    postponed: tuple[object, ...] = ()
    """Changes that came while it lay in a worker's queue: it was to be given back, and may have begun all the same."""
    retracting: bool = False
    recalled: bool = False
    given: Given | None = None
    is_bare: bool = False
    """Found in a worker of an earlier agent process: only the worker knows its parameters and the like."""
    exit: Exit | None = None
    stated: bool = False
    """Its end was part of the session's Hello."""

    @property
    def is_suspended(self) -> bool:
        return self.suspended_ms >= 0

    @property
    def work_key(self) -> str:
        """What a worker calls it; enough to find everything again after the agent was killed."""
        return f"{self.key}/{self.epoch}/{self.body.number}"


def key_of_work(work_key: str) -> str:
    """The task key within a work key."""
    return work_key.rsplit("/", 2)[0]


class Worker(msgspec.Struct):
    """A warm worker process. Changed by the machine only."""

    name: str
    pool: Pool | None = None
    """None: fresh, the first account that asks gets it."""
    ready: bool = False
    queue: deque[str] = msgspec.field(default_factory=deque)
    slot: Resources | None = None
    """What is reserved while it has work; every task in the queue has exactly this shape."""
    limits: LimitSet | None = None
    unacked: int = 0
    idle_since_ms: int = 0
    leaving: bool = False
    """Told to quit or killed: gets no more work."""


class NoteKind(StrEnum):
    """What happened to a task, as the link tells it."""

    STARTED = "STARTED"
    PROGRESS = "PROGRESS"
    EXITED = "EXITED"
    REJECTED = "REJECTED"
    RETRACTED = "RETRACTED"
    MODIFIED = "MODIFIED"
    SUSPENDED = "SUSPENDED"
    RESUMED = "RESUMED"


class Note(msgspec.Struct, frozen=True):
    """One event for the scheduler, before it has a number."""

    task: Task
    kind: NoteKind
    reason: str = ""
    message: str = ""
    ratio: float = 0.0
    start_ms: int = 0
    soon_over: bool = False
    """A start of a task whose like have been short."""
    revision: int = 0
    """Of a modification."""
    field: str = ""
    """What of the task was to change; it holds now unless a message says why not."""
    remark: str = ""
    """How far it holds."""
