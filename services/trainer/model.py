"""What the trainer speaks about: jobs, instances, sweeps, ends, in the contract's words; reasons to refuse. Pure."""

from enum import Enum

import msgspec

from modelyard.training.policies.restarts import Cause
from services.chassis.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
)

RESERVING_MOST = 64
"""Jobs of one queue that ask for places at a time."""


class JobState(Enum):
    """How far a job is, or how it ended."""

    QUEUED = "queued"
    RESERVING = "reserving"
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    SUSPENDED = "suspended"
    DRAINING = "draining"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def has_ended(self) -> bool:
        return self in ENDED


ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED})
PLACED = frozenset({JobState.STARTING, JobState.RUNNING, JobState.RESTARTING})
"""Its gang has its places, and its outcome is open."""


class InstanceState(Enum):
    """How far an instance is, or how it ended."""

    PENDING = "pending"
    SEATED = "seated"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    BACKING_OFF = "backing_off"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def has_ended(self) -> bool:
        return self in (InstanceState.SUCCEEDED, InstanceState.FAILED, InstanceState.STOPPED)

    @property
    def has_processes(self) -> bool:
        """Whether something of it may live."""
        return self in (InstanceState.STARTING, InstanceState.RUNNING, InstanceState.STOPPING)


class ConditionKind(Enum):
    """What is true of a job, or was."""

    PLACED = "placed"
    RUNNING = "running"
    RESTARTING = "restarting"
    RESIZING = "resizing"
    SUSPENDED = "suspended"
    HANGING = "hanging"
    UNREACHABLE = "unreachable"
    DECIDED = "decided"
    CLEARED = "cleared"


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How processes of an instance ended."""

    epoch: int
    cause: Cause
    exit_code: int = 0
    signal: int = 0
    message: str = ""
    process: int = 0
    last_lines: tuple[str, ...] = ()
    matched: tuple[str, ...] = ()
    end_ms: int = 0
    node: str = ""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One that is complete: of an instance, under a name, with a content."""

    number: int
    """Of those of its job."""
    role: str
    index: int
    name: str
    digest: str
    files: tuple[tuple[str, str, int], ...] = ()
    """Path in the directory of checkpoints, digest, size; none on a shared file system."""
    size_bytes: int = 0
    time_ms: int = 0
    """When its last byte was written, by the clock of its node."""
    seat: int = 0
    """In which of its instance's seats it was written."""
    task: str = ""
    """The seat in which it lies."""
    node: str = ""
    epoch: int = 0
    step: int | None = None
    metric: float | None = None
    is_stored: bool = False


class Condition(msgspec.Struct, frozen=True):
    """One change of one condition."""

    kind: ConditionKind
    is_true: bool
    reason: str
    message: str
    time_ms: int
    revision: int


class Attached(msgspec.Struct, frozen=True, array_like=True):
    """An artefact and where it lies."""

    path: str
    digest: str
    is_directory: bool = False


class SweepState(Enum):
    """How far a sweep is, or how it ended."""

    RUNNING = "running"
    DRAINING = "draining"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    SUSPENDED = "suspended"

    @property
    def has_ended(self) -> bool:
        return self not in (SweepState.RUNNING, SweepState.DRAINING, SweepState.SUSPENDED)


class TrialState(Enum):
    """How far a trial is, or how it ended."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PRUNED = "pruned"
    STOPPED = "stopped"

    @property
    def has_ended(self) -> bool:
        return self not in (TrialState.WAITING, TrialState.RUNNING)


PRUNED = "SWEEP_RUNG"
"""Why a job ends that was behind at a rung."""
BEYOND = "SWEEP_MAX"
"""Why a job ends that has gone as far as a whole trial goes."""
OVER = "SWEEP_OVER"
"""Why a job ends whose sweep is over."""


class JobNotFound(NotFound):
    """There is no such job, or it is not yours to see."""


class JobHasEnded(FailedPrecondition):
    """The job has ended."""


class JobNotSuspended(FailedPrecondition):
    """The job is not suspended."""


class RoleUnknown(InvalidArgument):
    """The job has no such role."""


class RoleFixed(FailedPrecondition):
    """The count of this role cannot change while the job runs."""


class CountOutOfRange(InvalidArgument):
    """The count is not within the bounds of the role."""


class RevisionStale(Aborted):
    """The job has changed since."""


class InstanceUnknown(InvalidArgument):
    """The job has no such instance."""


class SweepNotFound(NotFound):
    """There is no such sweep, or it is not yours to see."""


class SweepInvalid(FailedPrecondition):
    """The sweep file has errors; ValidateJob tells all of them."""


class SweepHasEnded(FailedPrecondition):
    """The sweep has ended."""


class SweepNotSuspended(FailedPrecondition):
    """The sweep is not suspended."""


class SweepStateUnknown(InvalidArgument):
    """There is no such state."""


class ParallelOutOfRange(InvalidArgument):
    """So many trials cannot run at a time."""


class SweepRevisionUnknown(OutOfRange):
    """There is no such revision: list again."""
