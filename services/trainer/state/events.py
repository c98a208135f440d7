"""What can happen to jobs. Facts in the past tense; the numbers of `reply` are the engine's. Pure."""

from typing import Any

import msgspec

from modelyard.training import Address, Plan, Progress
from services.trainer.model import Checkpoint, Exit
from services.trainer.state.jobs import Instance, Job, Key, Unreached
from services.trainer.state.questions import Question


class JobCreated(msgspec.Struct, frozen=True):
    """`job.number`, turn, counts and times are given by the machine."""

    reply: int
    job: Job
    plan: Plan


class JobRecovered(msgspec.Struct, frozen=True):
    """A job from the database, with its instances."""

    job: Job
    plan: Plan
    instances: tuple[Instance, ...]
    checkpoints: tuple[Checkpoint, ...] = ()


class FrameworkLost(msgspec.Struct, frozen=True):
    """The framework of a job that was recovered is not there any more, or is wrong by now."""

    job: int
    message: str


class JobStopped(msgspec.Struct, frozen=True):
    """Somebody asked for its end."""

    reply: int
    job: int
    comment: str


class JobSuspended(msgspec.Struct, frozen=True):
    reply: int
    job: int
    comment: str


class JobResumed(msgspec.Struct, frozen=True):
    reply: int
    job: int


class RoomFound(msgspec.Struct, frozen=True):
    """By what the scheduler says, the job would be placed if these others gave their seats back."""

    job: int
    others: tuple[int, ...]


class RoleScaled(msgspec.Struct, frozen=True):
    """`revision`: of the job as it was seen; 0: any."""

    reply: int
    job: int
    role: str
    count: int
    revision: int


class SeatsAccepted(msgspec.Struct, frozen=True):
    """The scheduler took a submission: the task of each instance's seat."""

    job: int
    account: str
    batch: int
    tasks: dict[Key, str]


class SeatsRefused(msgspec.Struct, frozen=True):
    """It never will take it."""

    job: int
    batch: int
    message: str


class SeatEnded(msgspec.Struct, frozen=True):
    """The task of a seat has ended; `exit` says why as far as the scheduler knows."""

    job: int
    task: str
    exit: Exit
    has_waited_too_long: bool = False
    """The gang was not placed in its time."""
    outputs: tuple[tuple[str, str, int], ...] = ()
    """What was kept: path, digest, size."""


class SeatOpened(msgspec.Struct, frozen=True):
    """Ports are leased; nothing runs in it."""

    job: int
    role: str
    index: int
    task: str
    address: Address


class InstanceStarted(msgspec.Struct, frozen=True):
    job: int
    role: str
    index: int
    task: str
    epoch: int


class SignSeen(msgspec.Struct, frozen=True):
    """What was watched for has happened; `sign` counts in `Plan.signs` of the role."""

    job: int
    role: str
    index: int
    epoch: int
    sign: int


class InstanceEnded(msgspec.Struct, frozen=True):
    """All of its processes have ended."""

    job: int
    role: str
    index: int
    task: str
    exit: Exit


class SeatStands(msgspec.Struct, frozen=True):
    """An agent that is there again has the seat, with the epoch that was last launched in it."""

    job: int
    role: str
    index: int
    task: str
    epoch: int


class PeersChecked(msgspec.Struct, frozen=True):
    """A seat has tried whom it reaches."""

    job: int
    role: str
    index: int
    task: str
    number: int
    unreached: tuple[Unreached, ...]


class ActivitySeen(msgspec.Struct, frozen=True):
    job: int
    role: str
    index: int
    epoch: int
    cpu: float
    silent_ms: int


class StacksTold(msgspec.Struct, frozen=True):
    """Where its processes stood when that was asked for."""

    job: int
    role: str
    index: int
    epoch: int
    text: str


class FunctionAnswered(msgspec.Struct, frozen=True):
    """A package's code has answered, or (`error`) has not."""

    job: int
    question: Question
    value: Any
    error: str


class ProgressReported(msgspec.Struct, frozen=True):
    """How far an instance is; its metrics may be what others wait for."""

    job: int
    role: str
    index: int
    progress: Progress
    epoch: int = 0
    """Of the processes that told it; 0: of those that run."""


class CheckpointSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One is complete, is in the store too, or cannot be gone on from."""

    job: int
    role: str
    index: int
    task: str
    node: str
    epoch: int
    name: str
    digest: str
    files: tuple[tuple[str, str, int], ...] = ()
    size_bytes: int = 0
    time_ms: int = 0
    is_stored: bool = False
    flaw: str = ""


class JobForgotten(msgspec.Struct, frozen=True):
    """It has ended, and whoever waited for that was told."""

    job: int


class Ticked(msgspec.Struct, frozen=True):
    """Time has passed."""


Event = (
    JobCreated
    | JobRecovered
    | JobStopped
    | JobSuspended
    | JobResumed
    | RoleScaled
    | RoomFound
    | SeatsAccepted
    | SeatsRefused
    | SeatEnded
    | SeatOpened
    | SeatStands
    | InstanceStarted
    | SignSeen
    | InstanceEnded
    | ActivitySeen
    | StacksTold
    | PeersChecked
    | ProgressReported
    | FunctionAnswered
    | FrameworkLost
    | CheckpointSeen
    | JobForgotten
    | Ticked
)
