"""What the scheduler wants done, in the imperative: rows to persist first, and what may leave after that."""

import msgspec

from services.chassis.errors import ServiceError
from services.scheduler.model import (
    AttachmentChange,
    Cause,
    Dependency,
    FieldVerdict,
    PendingChange,
    Spec,
    TaskState,
)
from services.scheduler.queues.shares import AccountSettings, QueueSettings
from services.scheduler.queues.tenants import ShapeQueue
from services.scheduler.resources import Amounts


class InsertSpec(msgspec.Struct, frozen=True):
    spec: Spec


class InsertTask(msgspec.Struct, frozen=True):
    key: int
    revision: int
    spec: int
    account: str
    params: str
    submit_ms: int
    # (account, request_id, content, count) with the first task of a request.
    request: tuple[str, str, bytes, int] | None = None


class InsertDependency(msgspec.Struct, frozen=True):
    task: int
    place: int
    dependency: Dependency


class RecordChange(msgspec.Struct, frozen=True):
    """One row of a task's history. A terminal ``state`` makes it the outcome, of which the table takes one a task."""

    revision: int
    task: int
    account: str
    state: TaskState
    attempt: int
    epoch: int
    node: str
    time_ms: int
    start_ms: int = 0
    cause: Cause = Cause.NONE
    # "REASON: message", for people.
    detail: str = ""
    payload: bytes = b""
    # Indexes of the node's devices that the attempt holds.
    devices: tuple[int, ...] = ()


class RecordModification(msgspec.Struct, frozen=True):
    """What holds of a task from this revision on, and what became of the fields of a modification."""

    revision: int
    task: int
    # The modification that the verdicts belong to: this one, or an earlier one that an agent has answered.
    request_revision: int
    # The attempt that was on a node; 0: none.
    attempt: int
    time_ms: int
    spec: int
    params: str
    pending: tuple[PendingChange, ...]
    verdicts: tuple[FieldVerdict, ...]
    # (account, request_id, content).
    request: tuple[str, str, bytes] | None = None


class RecordRequest(msgspec.Struct, frozen=True):
    """A request under an id was carried out; ``first`` and ``count`` are what its answer said."""

    account: str
    request_id: str
    content: bytes
    first: int
    count: int


class RecordNode(msgspec.Struct, frozen=True):
    node: str
    is_cordoned: bool
    # (name, value, whether it was removed).
    labels: tuple[tuple[str, str, bool], ...]
    # Wall clock; 0: nobody drains it.
    drain_deadline_ms: int


class RecordQueue(msgspec.Struct, frozen=True):
    name: str
    settings: QueueSettings


class ForgetQueue(msgspec.Struct, frozen=True):
    name: str


class RecordAccount(msgspec.Struct, frozen=True):
    """An account's weight and quota."""

    name: str
    settings: AccountSettings


class UseRow(msgspec.Struct, frozen=True):
    """What an account held of the machines through a queue (or all did: no account), decayed as of a moment."""

    queue: str
    account: str
    decayed: float
    time_ms: int


class RecordUse(msgspec.Struct, frozen=True):
    uses: tuple[UseRow, ...]


class RecordGrace(msgspec.Struct, frozen=True):
    """How long a task or array that was asked to end has for it, where that is not the usual time."""

    task: int
    grace_ms: int


class ForgetNode(msgspec.Struct, frozen=True):
    """The node and its credentials are no more."""

    node: str


class InsertDelivery(msgspec.Struct, frozen=True):
    """A message for the outbox; inserting the same event again changes nothing."""

    event_id: str
    contact_id: str
    account: str
    contact: str
    subject: str
    event: str
    title: str
    time_ms: int


class RecordGang(msgspec.Struct, frozen=True):
    """``units`` are (task or array, how many of it must run together)."""

    key: int
    name: str
    units: tuple[tuple[int, int], ...]
    is_loose: bool


class StartTask(msgspec.Struct, frozen=True):
    key: int
    attempt: int
    epoch: int
    spec: Spec
    params: str
    is_prefill: bool
    devices: tuple[str, ...]
    account: str


class RetractTask(msgspec.Struct, frozen=True):
    key: int
    attempt: int


class StopTask(msgspec.Struct, frozen=True):
    key: int
    attempt: int
    grace_ms: int
    cause: Cause
    message: str
    signal: str = ""


class ModifyTask(msgspec.Struct, frozen=True):
    key: int
    attempt: int
    revision: int
    params: str
    # None: it stays.
    run_timeout_ms: int | None
    attachments: tuple[AttachmentChange, ...] = ()
    # The serialised TaskSpec whose resources are to hold; empty: they stay.
    body: bytes = b""


class SuspendTask(msgspec.Struct, frozen=True):
    key: int
    attempt: int


class ResumeTask(msgspec.Struct, frozen=True):
    key: int
    attempt: int


Command = StartTask | RetractTask | StopTask | ModifyTask | SuspendTask | ResumeTask


class Verdict(msgspec.Struct, frozen=True):
    """``kind`` is KEEP, STOP or FORGET."""

    key: int
    attempt: int
    kind: str


class SendWelcome(msgspec.Struct, frozen=True):
    node: str
    session: int
    verdicts: tuple[Verdict, ...]
    is_cordoned: bool
    beat_ms: int
    lease_ms: int


class SendBeatAck(msgspec.Struct, frozen=True):
    node: str
    session: int
    number: int
    beat_ms: int
    lease_ms: int


class AcknowledgeEvents(msgspec.Struct, frozen=True):
    node: str
    session: int
    number: int


class CloseSession(msgspec.Struct, frozen=True):
    node: str
    session: int
    reason: str


class QuotedRoom(msgspec.Struct, frozen=True):
    """``devices`` are their names."""

    node: str
    amounts: Amounts
    devices: tuple[str, ...]


class QuoteView(msgspec.Struct, frozen=True):
    """A quote as its owner may know it; the time is wall clock."""

    id: str
    account: str
    rooms: tuple[QuotedRoom, ...]
    expire_ms: int


class Answer(msgspec.Struct, frozen=True):
    """Resolves the request numbered ``reply`` with a value, or refuses it."""

    reply: int
    keys: tuple[int, ...] = ()
    first: int = 0
    count: int = 0
    # The answer that the same request got before.
    is_repeat: bool = False
    quote: QuoteView | None = None
    error: ServiceError | None = None


SharingRow = RecordQueue | ForgetQueue | RecordAccount | RecordUse
Row = (
    SharingRow
    | InsertSpec
    | InsertTask
    | InsertDependency
    | RecordChange
    | RecordModification
    | RecordRequest
    | RecordNode
    | ForgetNode
    | RecordGrace
    | InsertDelivery
    | RecordGang
)


class Effects:
    """What one step wants: rows for one transaction, then everything that may leave once they are on disk."""

    __slots__ = ("answers", "changed_nodes", "closes", "commands", "finished", "messages", "rows", "told")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        # By node, numbered consecutively from the first number given here.
        self.commands: dict[str, tuple[int, list[Command]]] = {}
        self.messages: list[SendWelcome | SendBeatAck | AcknowledgeEvents] = []
        self.answers: list[Answer] = []
        self.closes: list[CloseSession] = []
        self.changed_nodes: set[str] = set()
        # Nodes where a task just ended, and the queue of its shape: where more work may be kept waiting.
        self.finished: dict[str, ShapeQueue] = {}
        # Contacts (by id) that have something new in the outbox.
        self.told: set[str] = set()
