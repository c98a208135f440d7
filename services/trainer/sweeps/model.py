"""What is said of sweeps: states of sweeps and trials, reasons to refuse. Pure."""

from enum import Enum

from services.chassis.errors import FailedPrecondition, InvalidArgument, NotFound, OutOfRange


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
