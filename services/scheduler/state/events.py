"""What can happen to the scheduler. Facts, in the past tense; the machine turns them into effects."""

from collections.abc import Mapping

import msgspec

from services.scheduler.model import AttachmentChange, Cause, Shape, Spec, TaskState
from services.scheduler.notification import KnownContact
from services.scheduler.queues.shares import AccountSettings, QueueSettings


class Event(msgspec.Struct, frozen=True):
    """Anything that `machine.apply` understands."""


class EndedTask(msgspec.Struct, frozen=True):
    """How a task ended that only the database knows. ``elements``: of an array, by index, as in `Tally.ended`.

    ``state`` None: an array that goes on, whose elements ended before the last restart.
    """

    state: TaskState | None
    has_started: bool
    elements: bytes = b""


class TasksSubmitted(Event, frozen=True):
    """``items`` are (index into specs, params laid over the spec's); the reply gets the keys."""

    reply: int
    account: str
    request_id: str
    # sha256 of the request's content; what makes a repeated request the same request.
    content: bytes
    specs: tuple[Spec, ...]
    items: tuple[tuple[int, str], ...]
    # Of what the specifications depend on: those that are not in the state, by key.
    ended: Mapping[int, EndedTask] = {}


class QuoteWish(msgspec.Struct, frozen=True):
    """Room for ``count`` tasks of one kind, on a node of their own each if ``is_distinct``."""

    shape: Shape
    count: int
    is_distinct: bool = False


class QuoteRequested(Event, frozen=True):
    """``quote`` is the id that it gets: nobody can guess it, and none is used twice."""

    reply: int
    account: str
    quote: str
    wishes: tuple[QuoteWish, ...]
    ttl_ms: int


class QuoteRenewed(Event, frozen=True):
    reply: int
    account: str
    quote: str
    ttl_ms: int


class QuoteDeleted(Event, frozen=True):
    reply: int
    account: str
    quote: str


class CancelRequested(Event, frozen=True):
    reply: int
    keys: tuple[int, ...]
    grace_ms: int
    comment: str


class HoldRequested(Event, frozen=True):
    reply: int
    keys: tuple[int, ...]


class ReleaseRequested(Event, frozen=True):
    reply: int
    keys: tuple[int, ...]


class SuspendRequested(Event, frozen=True):
    reply: int
    keys: tuple[int, ...]


class ResumeRequested(Event, frozen=True):
    reply: int
    keys: tuple[int, ...]


class ModifyRequested(Event, frozen=True):
    """A task is to change. ``account`` is the caller's; ``params`` are laid over the task's own."""

    reply: int
    account: str
    request_id: str
    content: bytes
    key: int
    # That the change is based on; 0: any.
    revision: int
    paths: tuple[str, ...]
    params: str
    # Number of the specification that the following two were made from: one with everything that was asked for, one
    # with what a task on a node can take.
    base: int
    waiting: Spec
    running: Spec
    attachments: tuple[AttachmentChange, ...] = ()
    # The running one without what an agent may refuse: by the paths that are left out.
    fallbacks: tuple[tuple[tuple[str, ...], Spec], ...] = ()


class TasksModifyRequested(Event, frozen=True):
    """Many tasks are to change, all or none; each as by a request of its own without an id."""

    reply: int
    account: str
    request_id: str
    content: bytes
    changes: tuple[ModifyRequested, ...]


class RequestRecalled(Event, frozen=True):
    """The database knows a request that memory does not: forgotten there, or carried out without an event."""

    account: str
    request_id: str
    content: bytes
    first: int
    count: int


class SpecsRetired(Event, frozen=True):
    """No row refers to specifications of these numbers; none of them is given out again."""

    numbers: frozenset[int]


class Marked(Event, frozen=True):
    """``event`` was asked for under a request id, which is recorded with it; a repetition does not apply it again."""

    reply: int
    account: str
    request_id: str
    content: bytes
    event: Event


class AccountClosed(Event, frozen=True):
    """An account is about to be deleted; refused while it has unfinished tasks."""

    reply: int
    account: str


class ContactsChanged(Event, frozen=True):
    """These are the contacts of an account now; they are on disk."""

    account: str
    contacts: tuple[KnownContact, ...]


class AccountOpened(Event, frozen=True):
    """An account of this name was made."""

    account: str


class HeldTask(msgspec.Struct, frozen=True):
    """A task that an agent has, as its hello tells it. ``ended`` is set when it has an outcome."""

    key: int
    attempt: int
    epoch: int
    is_running: bool
    ended: "TaskExited | None" = None
    is_suspended: bool = False


class AgentConnected(Event, frozen=True):
    """A hello. ``session`` is the scheduler's number of the stream."""

    node: str
    session: int
    boot_id: str
    incarnation: int
    labels: Mapping[str, str]
    capacity: Mapping[str, int]
    gpu_devices: tuple[str, ...]
    operators: frozenset[str]
    tasks: tuple[HeldTask, ...]
    version: str = ""
    enforcement: str = ""


class AgentDisconnected(Event, frozen=True):
    node: str
    session: int
    # It said goodbye: nothing of it runs any more.
    is_final: bool = False


class BeatReceived(Event, frozen=True):
    """``windows`` maps window seconds to measured amounts by resource."""

    node: str
    session: int
    number: int
    as_of_command: int
    windows: Mapping[int, Mapping[str, int]]
    # What tasks use: (cpu, memory) by key.
    samples: Mapping[int, tuple[int, int]] = {}


class CommandsAcknowledged(Event, frozen=True):
    node: str
    session: int
    number: int


class TaskStarted(msgspec.Struct, frozen=True):
    key: int
    attempt: int
    epoch: int
    start_ms: int


class TaskExited(msgspec.Struct, frozen=True):
    """``payload`` is the agent's serialised TaskExited, carried through unread."""

    key: int
    attempt: int
    epoch: int
    cause: Cause
    payload: bytes
    start_ms: int = 0
    end_ms: int = 0


class TaskRejected(msgspec.Struct, frozen=True):
    key: int
    attempt: int
    epoch: int
    reason: str


class TaskRetracted(msgspec.Struct, frozen=True):
    key: int
    attempt: int
    epoch: int


class TaskProgressed(msgspec.Struct, frozen=True):
    key: int
    attempt: int
    epoch: int
    ratio: float
    message: str


class TaskSuspended(msgspec.Struct, frozen=True):
    key: int
    attempt: int
    epoch: int


class TaskResumed(msgspec.Struct, frozen=True):
    key: int
    attempt: int
    epoch: int


class TaskModified(msgspec.Struct, frozen=True):
    """``fields`` are (path, whether it holds now, why not)."""

    key: int
    attempt: int
    epoch: int
    revision: int
    fields: tuple[tuple[str, bool, str], ...]


TaskReport = (
    TaskStarted
    | TaskExited
    | TaskRejected
    | TaskRetracted
    | TaskProgressed
    | TaskModified
    | TaskSuspended
    | TaskResumed
)


class TasksReported(Event, frozen=True):
    """A batch of an agent's events, numbered from ``first_number`` on."""

    node: str
    session: int
    first_number: int
    reports: tuple[TaskReport, ...]


class CapacityChanged(Event, frozen=True):
    node: str
    session: int
    capacity: Mapping[str, int]


class NodeCordoned(Event, frozen=True):
    reply: int
    node: str
    is_cordoned: bool


class NodeDrainRequested(Event, frozen=True):
    """Somebody wants a node empty."""

    reply: int
    node: str
    timeout_ms: int


class NodeForgotten(Event, frozen=True):
    """Somebody wants a lost node gone."""

    reply: int
    node: str


class AgentDrained(Event, frozen=True):
    """The agent says that it wants no new work."""

    node: str
    session: int


class NodeLabelled(Event, frozen=True):
    reply: int
    node: str
    set_labels: Mapping[str, str]
    remove_labels: tuple[str, ...]


class QueueCreated(Event, frozen=True):
    reply: int
    name: str
    settings: QueueSettings


class QueueChanged(Event, frozen=True):
    """``paths`` name the settings that are to be as they are here."""

    reply: int
    name: str
    paths: tuple[str, ...]
    settings: QueueSettings


class QueueDeleted(Event, frozen=True):
    reply: int
    name: str


class AccountChanged(Event, frozen=True):
    """An account's weight and quota; ``paths`` as for a queue."""

    reply: int
    account: str
    paths: tuple[str, ...]
    settings: AccountSettings


class Ticked(Event, frozen=True):
    """Time has passed."""
