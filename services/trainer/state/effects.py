"""What the machine wants done: rows to persist first, and what may leave after that. Pure."""

from typing import Any

import msgspec

from modelyard.training import Launch, ProgressSource
from modelyard.training.policies.readiness import Readiness
from services.chassis.errors import ServiceError
from services.trainer.model import Checkpoint, Condition, JobState
from services.trainer.state.jobs import Instance, Job
from services.trainer.state.questions import Question
from services.trainer.state.sweeps import Sweep, Trial


class PutJob(msgspec.Struct, frozen=True):
    """The job as it is by now."""

    job: Job


class PutInstance(msgspec.Struct, frozen=True):
    job: int
    instance: Instance


class DropInstance(msgspec.Struct, frozen=True):
    """It is beyond the count of its role."""

    job: int
    role: str
    index: int


class InsertOutcome(msgspec.Struct, frozen=True):
    """Once a job (I1)."""

    job: int
    outcome: JobState
    reason: str
    message: str
    time_ms: int


class InsertCondition(msgspec.Struct, frozen=True):
    job: int
    condition: Condition


class InsertBatch(msgspec.Struct, frozen=True):
    """Seats that are asked for together. The engine adds the request id and the content before the commit.

    It stays until it is answered, also where nobody wants the seats any more: else they would be nobody's.
    """

    job: int
    account: str
    batch: int
    seats: dict[str, tuple[int, ...]]
    """Indexes by role."""
    gang_least: dict[str, int]
    """How many of a role must be placed together."""
    avoid: tuple[str, ...]


class DropBatch(msgspec.Struct, frozen=True):
    """It was answered."""

    batch: int


class InsertSeat(msgspec.Struct, frozen=True):
    """An instance has got a seat: what is written there is part of its log (I6)."""

    job: int
    role: str
    index: int
    task: str


class PutCheckpoint(msgspec.Struct, frozen=True):
    """As it is known now, by instance and name."""

    job: int
    checkpoint: Checkpoint


class DropCheckpoint(msgspec.Struct, frozen=True):
    job: int
    role: str
    index: int
    name: str


class PutOutputs(msgspec.Struct, frozen=True):
    """What was kept of an instance: path, digest, size."""

    job: int
    role: str
    index: int
    outputs: tuple[tuple[str, str, int], ...]


class PutStacks(msgspec.Struct, frozen=True):
    """Where an instance stood when one of its job was found hanging."""

    job: int
    role: str
    index: int
    epoch: int
    node: str
    text: str
    time_ms: int


class DropStacks(msgspec.Struct, frozen=True):
    """Of an earlier hang."""

    job: int


class PutSweep(msgspec.Struct, frozen=True):
    """The sweep as it is by now."""

    sweep: Sweep


class PutTrial(msgspec.Struct, frozen=True):
    sweep: int
    trial: Trial


Row = (
    PutJob
    | PutInstance
    | DropInstance
    | InsertOutcome
    | InsertCondition
    | InsertBatch
    | DropBatch
    | InsertSeat
    | PutStacks
    | DropStacks
    | PutSweep
    | PutTrial
    | PutCheckpoint
    | DropCheckpoint
    | PutOutputs
)


class HoldReferences(msgspec.Struct, frozen=True):
    """The store keeps these under the holder; none: it lets go of everything that this one held."""

    account: str
    holder: str
    digests: tuple[str, ...]


class DropFiles(msgspec.Struct, frozen=True):
    """Checkpoints in a seat that are not kept any more."""

    job: int
    task: str
    node: str
    names: tuple[str, ...]


class SubmitSeats(msgspec.Struct, frozen=True):
    """A batch of this step leaves."""

    job: int
    batch: int


class CancelSeats(msgspec.Struct, frozen=True):
    """Tasks of seats that are not wanted any more, wherever they are."""

    account: str
    tasks: tuple[str, ...]


class LaunchInstance(msgspec.Struct, frozen=True):
    """To the agent of the seat; a repeated epoch changes nothing there."""

    job: int
    role: str
    index: int
    task: str
    node: str
    epoch: int
    launch: Launch
    signs: tuple[Readiness, ...]
    progress: ProgressSource
    resume: Checkpoint | None = None
    """What it goes on from."""
    silent_s: float = 0.0
    """Its activity is told at once when it has been silent for so long; 0: now and then."""


class StopInstance(msgspec.Struct, frozen=True):
    job: int
    role: str
    index: int
    task: str
    node: str
    epoch: int
    signal: str
    grace_s: float


class DumpStacks(msgspec.Struct, frozen=True):
    """Of all its processes, into its log; `is_fatal`: they end anyhow, so it may cost their lives."""

    job: int
    role: str
    index: int
    task: str
    node: str
    is_fatal: bool = False


class CloseSeat(msgspec.Struct, frozen=True):
    """Its task ends; what is to be kept is kept."""

    job: int
    role: str
    index: int
    task: str
    node: str
    keep: tuple[str, ...]
    is_failure: bool
    message: str


class PublishAddresses(msgspec.Struct, frozen=True):
    """The address cache has a new revision: those who run are told."""

    job: int
    revision: int


class Target(msgspec.Struct, frozen=True):
    """Who is dialled, and where."""

    role: str
    index: int
    host: str
    port: int
    task: str


class CheckPeers(msgspec.Struct, frozen=True):
    """A seat finds out whether it reaches others, and is dialled by so many."""

    job: int
    role: str
    index: int
    task: str
    node: str
    number: int
    targets: tuple[Target, ...]
    callers: int
    timeout_ms: int


class TellAddresses(msgspec.Struct, frozen=True):
    """One that runs is told where the others are: it may have missed it."""

    job: int
    role: str
    index: int
    task: str
    node: str


class AskFunction(msgspec.Struct, frozen=True):
    """A function that is a package's code is called where that runs; the answer is an event."""

    job: int
    framework: str
    question: Question
    arguments: tuple[Any, ...]


class TellEnd(msgspec.Struct, frozen=True):
    """The job has ended: its contacts are told."""

    job: int
    account: str


class TellSweepEnd(msgspec.Struct, frozen=True):
    """The sweep has ended: its contacts are told."""

    sweep: int
    account: str


class Answer(msgspec.Struct, frozen=True):
    reply: int
    job: int = 0
    error: ServiceError | None = None


Wish = (
    SubmitSeats
    | CancelSeats
    | LaunchInstance
    | StopInstance
    | DumpStacks
    | CloseSeat
    | PublishAddresses
    | TellAddresses
    | CheckPeers
    | TellEnd
    | TellSweepEnd
    | AskFunction
    | HoldReferences
    | DropFiles
)


AgentWish = LaunchInstance | StopInstance | DumpStacks | CloseSeat | TellAddresses | DropFiles | CheckPeers
"""What an agent is asked for."""


class Effects:
    """What one step wants."""

    __slots__ = ("answers", "changed", "changed_sweeps", "rows", "wishes")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.wishes: list[Wish] = []
        self.answers: list[Answer] = []
        self.changed: set[int] = set()
        """Jobs of which something is to be told."""
        self.changed_sweeps: set[int] = set()
