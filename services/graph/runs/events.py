"""What can happen to runs. Facts in the past tense; the numbers of `reply` are the engine's."""

import msgspec

from services.graph.model import Graph
from services.graph.runs.places import Place
from services.graph.runs.state import Run, Spec
from services.graph.runs.values import End, Failure, Kept, Output


class RunAsked(msgspec.Struct, frozen=True):
    """`spec.number` is given by the machine. `kept`: by rank in the run's own graph."""

    reply: int
    spec: Spec
    graph: Graph
    plan: int
    kept: dict[int, Kept] = {}
    changed: dict[Place, str] = {}
    request: tuple[str, str, bytes] | None = None
    """(account, request id, sha256 of the request)."""


class RunRecovered(msgspec.Struct, frozen=True):
    """A run from the database; its tasks must be followed."""

    run: Run
    again: tuple[int, ...]
    """Batches that were never answered."""


class TasksAccepted(msgspec.Struct, frozen=True):
    account: str
    batch: int
    run: int
    places: tuple[Place, ...]
    tasks: tuple[str, ...]


class BatchRefused(msgspec.Struct, frozen=True):
    """The scheduler took none of them."""

    batch: int
    run: int
    places: tuple[Place, ...]
    failure: Failure


class NodeEnded(msgspec.Struct, frozen=True):
    """An outcome, or the end of what needed no agent. What has ended before stays as it was."""

    run: int
    place: Place
    end: End


class NodePrepared(msgspec.Struct, frozen=True):
    """What was read for it before it starts: parameters from its address."""

    run: int
    place: Place
    params: str
    failure: Failure | None = None


class InputsUploaded(msgspec.Struct, frozen=True):
    """What was too large for a message lies in the store."""

    run: int
    place: Place


class CacheAnswered(msgspec.Struct, frozen=True):
    """`outputs` None: it is not there any more."""

    run: int
    place: Place
    outputs: tuple[Output, ...] | None
    reason: str = ""


class BodyKept(msgspec.Struct, frozen=True):
    """What an execution of a body may keep, by rank."""

    run: int
    place: Place
    kept: dict[int, Kept]


class ValuesRead(msgspec.Struct, frozen=True):
    """The JSON of artefacts, by name; or why they could not be read."""

    run: int
    place: Place
    values: dict[str, str]
    failure: Failure | None = None


class ValuesStored(msgspec.Struct, frozen=True):
    """Where lists lie in the store: digest and bytes, by name; or why they could not be kept."""

    run: int
    place: Place
    stored: dict[str, tuple[str, int]]
    failure: Failure | None = None


class GateDecided(msgspec.Struct, frozen=True):
    reply: int
    run: int
    place: Place
    account: str
    is_admin: bool
    is_approved: bool
    comment: str


class TimePassed(msgspec.Struct, frozen=True):
    """Something may have waited long enough."""


class NodeProgressed(msgspec.Struct, frozen=True):
    run: int
    place: Place
    ratio: float
    message: str


class CancelAsked(msgspec.Struct, frozen=True):
    reply: int
    run: int
    comment: str


class PauseAsked(msgspec.Struct, frozen=True):
    reply: int
    run: int


class ResumeAsked(msgspec.Struct, frozen=True):
    reply: int
    run: int


class NodeModified(msgspec.Struct, frozen=True):
    """`params`: a JSON object, laid over the node's."""

    reply: int
    run: int
    place: Place
    params: str


Event = (
    RunAsked
    | RunRecovered
    | TasksAccepted
    | BatchRefused
    | NodeEnded
    | NodePrepared
    | CacheAnswered
    | InputsUploaded
    | BodyKept
    | ValuesRead
    | ValuesStored
    | GateDecided
    | TimePassed
    | NodeProgressed
    | CancelAsked
    | PauseAsked
    | ResumeAsked
    | NodeModified
)
