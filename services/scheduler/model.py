"""The scheduler's nouns: task keys, states, causes, specifications.

No I/O, no protobuf. The words are those of ``task.proto`` and ``node.proto``.
"""

from enum import IntEnum

import msgspec

from services.scheduler.notification import Notice
from services.scheduler.refusals import MalformedTaskId
from services.scheduler.resources import Amounts

# Keys of an array and its elements lie within one stride. It is a prime: were it a power of two, the keys of plain
# tasks would share their low bits, and every dictionary of tasks would be one long collision.
STRIDE = 16_777_213
MOST_ELEMENTS = STRIDE - 1


class TaskState(IntEnum):
    """As in ``task.proto``; the terminal ones are never left."""

    QUEUED = 1
    ASSIGNED = 2
    RUNNING = 3
    SUCCEEDED = 4
    FAILED = 5
    CANCELLED = 6
    HELD = 7
    SUSPENDED = 8

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED})
# Of an attempt that a node has.
ON_NODE = frozenset({TaskState.ASSIGNED, TaskState.RUNNING, TaskState.SUSPENDED})


class Cause(IntEnum):
    """Why an attempt ended; ``TaskCause`` of ``task.proto``, 0 for success."""

    NONE = 0
    EXIT = 1
    SIGNAL = 2
    OUT_OF_MEMORY = 3
    NODE_LOST = 4
    TIMEOUT = 5
    ERROR = 6
    SETUP = 7
    DRAINED = 8
    CANCELLED = 9
    PREEMPTED = 10
    DEPENDENCY = 11
    GANG = 12


# Not the task's own fault: always tried again, never counted.
UNCOUNTED = frozenset({Cause.NODE_LOST, Cause.DRAINED, Cause.PREEMPTED, Cause.GANG})


class NodeState(IntEnum):
    """As in ``node.proto``."""

    READY = 1
    CORDONED = 2
    DRAINING = 3
    SUSPECT = 4
    LOST = 5
    HELD_BACK = 6


class Policy(IntEnum):
    """``PlacementPolicy`` of ``task.proto``."""

    LEAST_LOADED = 1
    BINPACK = 2
    SPREAD = 3


class Now(msgspec.Struct, frozen=True):
    """One reading of both clocks, taken by the engine: the machine never reads one."""

    wall_ms: int
    monotonic_ms: int


# Always there; where a specification names none.
MAIN_QUEUE = "default"


class Quota(msgspec.Struct, frozen=True):
    """What a queue or an account may hold at a time. A resource that is not named, or a count of 0, is no limit."""

    limit: Amounts = ()
    # Up to this it goes before those who hold more than theirs.
    guaranteed: Amounts = ()
    max_running: int = 0
    max_unfinished: int = 0

    @property
    def is_limit(self) -> bool:
        """Whether it ever keeps a task from starting."""
        return bool(self.limit) or self.max_running > 0


ENGINE_LABEL = ("containers", "yes")
"""Of nodes with a container engine, as agents tell it."""


class Shape(msgspec.Struct, frozen=True, cache_hash=True):
    """What placement needs to know of a task. Tasks of one shape are interchangeable to it."""

    account: str
    amounts: Amounts
    node: str
    labels: tuple[tuple[str, str], ...]
    policy: Policy
    # Name of an operator that the node must offer; empty where the bundle brings it.
    operator: str
    priority: int
    # Only nodes of this pool; empty: only nodes of none.
    pool: str = ""
    queue: str = MAIN_QUEUE
    # (key, how many tasks of the account with that key may be on nodes), by key.
    caps: tuple[tuple[str, int], ...] = ()
    # Starts together with those of its submission that name the same gang; empty: by itself.
    gang: str = ""
    # Elements of one array, or members of one gang, on a node of their own each.
    is_distinct: bool = False
    # Nodes that are left out, by name.
    avoid: tuple[str, ...] = ()


class Retry(msgspec.Struct, frozen=True):
    most_attempts: int = 1
    backoff_ms: int = 0
    # Causes that are retried; none: all.
    on: frozenset[Cause] = frozenset()

    def allows(self, cause: Cause, failures: int) -> bool:
        """Whether to try again after the ``failures``-th counted failure."""
        if cause in UNCOUNTED:
            return True
        return failures < self.most_attempts and (not self.on or cause in self.on)

    def delay_ms(self, failures: int) -> int:
        return min(self.backoff_ms << min(max(failures - 1, 0), 20), 3_600_000)


class Condition(IntEnum):
    """``DependencyCondition`` of ``task.proto``."""

    SUCCEEDED = 1
    ENDED = 2
    FAILED = 3
    STARTED = 4


class Dependency(msgspec.Struct, frozen=True):
    """What must have happened to another task. ``on`` is its key; 0: ``item`` of the same submission."""

    on: int
    condition: Condition = Condition.SUCCEEDED
    is_element_wise: bool = False
    item: int = -1


class DisconnectMode(IntEnum):
    """As in ``task.proto``: what becomes of a task when its node is silent."""

    REPLACE = 1
    KEEP = 2
    STOP = 3


class Reconciliation(IntEnum):
    """As in ``task.proto``: which of two to keep when the node is back."""

    KEEP_REPLACEMENT = 1
    KEEP_ORIGINAL = 2
    BEST_SCORE = 3
    LONGEST_RUNNING = 4


class Disconnect(msgspec.Struct, frozen=True):
    mode: DisconnectMode = DisconnectMode.REPLACE
    # 0, or anything below it: the lease of the node.
    lost_after_ms: int = 0
    reconciliation: Reconciliation = Reconciliation.KEEP_REPLACEMENT


class Original(msgspec.Struct, frozen=True):
    """An attempt that was replaced because its node was silent, and may still be there when the node is back."""

    node: str
    attempt: int
    epoch: int
    start_ms: int
    devices: tuple[int, ...]
    # The modification that gave it another run timeout; 0: none.
    limit_revision: int = 0


class Spec(msgspec.Struct, frozen=True):
    """A specification as submitted, known by a number; tasks refer to it."""

    number: int
    # The serialised TaskSpec, carried through unread.
    body: bytes
    shape: Shape
    name: str = ""
    retry: Retry = Retry()
    queue_timeout_ms: int = 0
    array_size: int = 0
    hold: bool = False
    # A command, a seat, an operator that calls services: each attempt gets a token of its own.
    has_token: bool = msgspec.field(default=False, name="is_command")
    digests: tuple[str, ...] = ()
    # The agent's to keep; known here to tell it again.
    run_timeout_ms: int = 0
    # The quote whose room it takes; empty: it waits its turn.
    quote: str = ""
    dependencies: tuple[Dependency, ...] = ()
    # Of an array: only these elements; none: all.
    array_indexes: tuple[int, ...] = ()
    # Of an array: elements under way at a time, 0: no limit; more failures than this end it, −1: no limit.
    max_running: int = 0
    max_fails: int = -1
    # Not started again unless it is proved that it was not started.
    is_at_most_once: bool = False
    # What it says of notifications; None: nothing.
    notice: Notice | None = None
    disconnect: Disconnect = Disconnect()
    # Of an array in a gang: how many elements must start together; 0: all.
    gang_min: int = 0
    # It may be interrupted for one that goes before it; it may have others interrupted.
    is_preemptible: bool = False
    preempts: bool = False
    preemption_grace_ms: int = 0
    # Asks a command to save its state; empty: SIGTERM.
    checkpoint_signal: str = ""


class VerdictKind(IntEnum):
    """``FieldVerdictKind`` of ``task.proto``."""

    APPLIED = 1
    DEFERRED = 2
    REJECTED = 3


class FieldVerdict(msgspec.Struct, frozen=True):
    """What became of one field of a modification."""

    path: str
    kind: VerdictKind
    message: str = ""


class AttachmentChange(msgspec.Struct, frozen=True):
    """What is to lie at a path; without a digest: nothing."""

    path: str
    digest: str
    is_directory: bool = False


class PendingChange(msgspec.Struct, frozen=True):
    """What the agent that has the task is yet to take in; ``revision`` is the modification's own."""

    revision: int
    # The fields that it has not answered yet.
    paths: tuple[str, ...]
    params: str = ""
    # None: it stays.
    run_timeout_ms: int | None = None
    attachments: tuple[AttachmentChange, ...] = ()
    # What it held before; kept until the agent has answered.
    amounts: Amounts = ()
    # The specification that it has set, and those that hold if the agent refuses these paths.
    spec: int = 0
    fallbacks: tuple[tuple[tuple[str, ...], int], ...] = ()
    # Those of the paths that it is without by now, sorted.
    withdrawn: tuple[str, ...] = ()


def task_key(number: int) -> int:
    """The key of task or array ``number``."""
    return number * STRIDE


def number_of(key: int) -> int:
    """The number in a task's id; an element has its array's."""
    return key // STRIDE


def element_key(array_key: int, index: int) -> int:
    """The key of element ``index`` (from 0) of an array."""
    return array_key + index + 1


def array_of(key: int) -> int:
    """The key of the array that an element belongs to; a task's own key is its own."""
    return key - key % STRIDE


def index_of(key: int) -> int:
    """The element's index; −1 for a task that is not an element."""
    return key % STRIDE - 1


def format_task_id(key: int) -> str:
    number, index = divmod(key, STRIDE)
    return f"t-{number}.{index - 1}" if index else f"t-{number}"


def parse_task_id(text: str, field: str = "task_id") -> int:
    """The key behind ``t-12`` or ``t-12.3``. Raises `MalformedTaskId`."""
    number, dot, index = text.removeprefix("t-").partition(".")
    plain = text.startswith("t-") and number.isascii() and number.isdigit() and len(number) <= 11
    if not plain or (dot and not (index.isascii() and index.isdigit() and len(index) <= 8)):
        raise MalformedTaskId(
            f"{text[:64]!r} is not a task id",
            field=field,
            next_step="task ids look like t-12 or t-12.3; see `yard tasks ls`",
        )
    key = task_key(int(number))
    if not dot:
        return key
    if int(index) >= MOST_ELEMENTS:
        raise MalformedTaskId(f"{text!r}: an array has at most {MOST_ELEMENTS} elements", field=field)
    return element_key(key, int(index))
