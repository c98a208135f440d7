"""What can happen to sweeps. Facts in the past tense. Pure."""

import msgspec

from modelyard.training.sweeps import Sweep as File
from services.trainer.state.sweeps import Planner, Sweep, Trial


class SweepCreated(msgspec.Struct, frozen=True):
    """`sweep.number` and times are given by the machine."""

    reply: int
    sweep: Sweep
    file: File
    plan_of: Planner


class SweepRecovered(msgspec.Struct, frozen=True):
    """A sweep from the database, with its trials; before any of its jobs."""

    sweep: Sweep
    file: File
    trials: tuple[Trial, ...]
    plan_of: Planner


class SweepsTaken(msgspec.Struct, frozen=True):
    """What the database holds of sweeps when the trainer starts."""

    next_sweep: int = 1
    revision: int = 0
    events: tuple[SweepRecovered, ...] = ()


class SweepStopped(msgspec.Struct, frozen=True):
    """Somebody asked for its end."""

    reply: int
    sweep: int
    comment: str


class SweepSuspended(msgspec.Struct, frozen=True):
    reply: int
    sweep: int
    comment: str


class SweepResumed(msgspec.Struct, frozen=True):
    reply: int
    sweep: int


class SweepRevisited(msgspec.Struct, frozen=True):
    """The step in which it ended, or could not begin all that it may, is on disk."""

    sweep: int


SweepEvent = SweepCreated | SweepRecovered | SweepStopped | SweepSuspended | SweepResumed | SweepRevisited
