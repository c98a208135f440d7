"""What the machine wants done, in the imperative: rows to persist first, and what may leave after that."""

import msgspec

from services.chassis.errors import ServiceError
from services.graph.runs.places import Place
from services.graph.runs.state import RunState, Spec
from services.graph.runs.values import End, Failure, GateRecord, Output, PortInput


class InsertRun(msgspec.Struct, frozen=True):
    spec: Spec
    plan: int
    revision: int
    changed: dict[Place, str]
    request: tuple[str, str, bytes] | None


class KeepNode(msgspec.Struct, frozen=True):
    """What an earlier run has of a node of this one."""

    run: int
    place: Place
    from_run: int
    end: End


class InsertBatch(msgspec.Struct, frozen=True):
    """Nodes that leave together, with the content that they leave with."""

    batch: int
    run: int
    request_id: str
    places: tuple[Place, ...]
    content: bytes


class RecordTasks(msgspec.Struct, frozen=True):
    """The batch's tasks have consecutive numbers from this one on."""

    batch: int
    first_task: str


class DropBatch(msgspec.Struct, frozen=True):
    """It was refused; nothing of it may be sent again."""

    batch: int


class CommitNode(msgspec.Struct, frozen=True):
    """The next of the committed log; `sequence` counts from 1."""

    run: int
    place: Place
    sequence: int
    revision: int
    end: End
    is_recorded: bool


class DropOutputs(msgspec.Struct, frozen=True):
    """Nobody needs the values any more."""

    run: int
    place: Place
    outputs: tuple[Output, ...]


class DropBelow(msgspec.Struct, frozen=True):
    """Nobody needs the values of a committed map's or loop's bodies any more, recorded ones apart."""

    run: int
    place: Place


class PutGate(msgspec.Struct, frozen=True):
    """A gate that waits from now on, or what was decided there."""

    run: int
    place: Place
    record: GateRecord


class PutCached(msgspec.Struct, frozen=True):
    account: str
    key: bytes
    run: int
    node_id: str
    outputs: tuple[Output, ...]
    size_bytes: int
    time_ms: int


class TouchCached(msgspec.Struct, frozen=True):
    account: str
    key: bytes
    time_ms: int


class DropCached(msgspec.Struct, frozen=True):
    account: str
    key: bytes


class RecordRunState(msgspec.Struct, frozen=True):
    run: int
    state: RunState
    revision: int
    end_ms: int = 0
    done: int = 0
    error: int = 0
    cached: int = 0
    order_wait_ms: int = 0
    failure: Failure | None = None


class InsertModification(msgspec.Struct, frozen=True):
    run: int
    place: Place
    revision: int
    params: str
    time_ms: int


class InsertErrand(msgspec.Struct, frozen=True):
    """What is owed to another service from this step on."""

    number: int
    kind: str
    account: str
    content: bytes


Row = (
    InsertRun
    | KeepNode
    | InsertBatch
    | RecordTasks
    | DropBatch
    | CommitNode
    | DropOutputs
    | DropBelow
    | PutGate
    | PutCached
    | TouchCached
    | DropCached
    | RecordRunState
    | InsertModification
    | InsertErrand
)


class Submit(msgspec.Struct, frozen=True):
    """Nodes that start now, ascending. The engine makes an InsertBatch of it, and sends it after the commit."""

    run: int
    places: tuple[Place, ...]


class SubmitAgain(msgspec.Struct, frozen=True):
    """A batch that is on disk and was never answered; also if its run ends meanwhile, for it may have arrived."""

    run: int
    account: str
    batch: int


class Follow(msgspec.Struct, frozen=True):
    """Tasks whose outcomes are wanted."""

    account: str
    tasks: tuple[str, ...]


class CancelTasks(msgspec.Struct, frozen=True):
    account: str
    tasks: tuple[str, ...]


class Prepare(msgspec.Struct, frozen=True):
    """Read what the node's parameter address names; answered by NodePrepared."""

    run: int
    place: Place


class FetchCached(msgspec.Struct, frozen=True):
    """Answered by CacheAnswered."""

    run: int
    place: Place
    account: str
    key: bytes


class FetchKept(msgspec.Struct, frozen=True):
    """What the run that this one continues has of an execution of a body; answered by BodyKept."""

    run: int
    place: Place


class ReadValues(msgspec.Struct, frozen=True):
    """Artefacts whose JSON decides what comes next, by name; answered by ValuesRead."""

    run: int
    place: Place
    digests: dict[str, str]


class StoreValues(msgspec.Struct, frozen=True):
    """Lists too large to travel inline, by name; answered by ValuesStored."""

    run: int
    place: Place
    values: dict[str, str]


class KeepArtifacts(msgspec.Struct, frozen=True):
    """A holder refers to artefacts, or (none) to nothing any more."""

    account: str
    holder: str
    digests: tuple[str, ...]


class Tell(msgspec.Struct, frozen=True):
    """Contacts are told: of the run's end, or (with `gate`, its id) of a gate that waits."""

    run: int
    account: str
    gate: str = ""
    asks: str = ""
    failed_node: str = ""
    """The first in the order that is in error."""


class Answer(msgspec.Struct, frozen=True):
    reply: int
    run: int = 0
    error: ServiceError | None = None


Wish = (
    Submit
    | SubmitAgain
    | Follow
    | CancelTasks
    | Prepare
    | FetchCached
    | FetchKept
    | ReadValues
    | StoreValues
    | KeepArtifacts
    | Tell
)


class Effects:
    """What one step wants."""

    __slots__ = ("answers", "changed", "inputs", "rows", "starts", "wishes")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.wishes: list[Wish] = []
        self.answers: list[Answer] = []
        self.starts: dict[int, list[Place]] = {}
        """By run, the places that start with this step; they leave together."""
        self.inputs: dict[tuple[int, Place], list[PortInput]] = {}
        """What some of them get, by run and place, as it was put together for their keys."""
        self.changed: set[int] = set()
        """Runs of which something is to be told."""
