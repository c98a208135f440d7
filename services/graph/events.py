"""What can happen to runs. Facts in the past tense; the numbers of `reply` are the engine's."""

import msgspec

from services.graph.model import Graph
from services.graph.state import End, Failure, Kept, Output, Run, Spec


class RunAsked(msgspec.Struct, frozen=True):
    """`spec.number` is given by the machine. `kept`: by rank."""

    reply: int
    spec: Spec
    graph: Graph
    plan: int
    kept: dict[int, Kept] = {}
    changed: dict[int, str] = {}
    request: tuple[str, str, bytes] | None = None
    """(account, request id, sha256 of the request)."""


class RunRecovered(msgspec.Struct, frozen=True):
    """A run from the database; `tasks`: the ranks whose tasks are known and must be followed."""

    run: Run
    again: tuple[int, ...]
    """Batches that were never answered."""


class TasksAccepted(msgspec.Struct, frozen=True):
    account: str
    batch: int
    run: int
    ranks: tuple[int, ...]
    tasks: tuple[str, ...]


class BatchRefused(msgspec.Struct, frozen=True):
    """The scheduler took none of them."""

    batch: int
    run: int
    ranks: tuple[int, ...]
    failure: Failure


class NodeEnded(msgspec.Struct, frozen=True):
    """An outcome, or the end of what needed no agent. What has ended before stays as it was."""

    run: int
    rank: int
    end: End


class NodePrepared(msgspec.Struct, frozen=True):
    """What was read for it before it starts: parameters from its address."""

    run: int
    rank: int
    params: str
    failure: Failure | None = None


class InputsUploaded(msgspec.Struct, frozen=True):
    """What was too large for a message lies in the store."""

    run: int
    rank: int


class CacheAnswered(msgspec.Struct, frozen=True):
    """`outputs` None: it is not there any more."""

    run: int
    rank: int
    outputs: tuple[Output, ...] | None
    reason: str = ""


class NodeProgressed(msgspec.Struct, frozen=True):
    run: int
    rank: int
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
    rank: int
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
    | NodeProgressed
    | CancelAsked
    | PauseAsked
    | ResumeAsked
    | NodeModified
)
