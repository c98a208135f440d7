"""The live state of sweeps. A sweep and each of its trials are written whole whenever they changed. Pure.

What trial n has follows from the file and the seed, so only numbers are kept: which trial comes next, and what became
of those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from modelyard.training import Plan
from modelyard.training.sweeps import Sweep as File
from modelyard.training.sweeps import Value
from services.chassis.errors import InvariantViolation
from services.trainer.model import SweepState, TrialState
from services.trainer.state.jobs import Job

Planner = Callable[[Job], Plan]
"""The plan of a trial's job, from its document and with the sweep's version of its framework. Raises Refused."""


BEGUN_MOST = 16
PLANNED_MOST = 2_000
"""Values of job files that are written and planned in one step, for one sweep."""


class Trial(msgspec.Struct):
    """One job of a sweep, from when it was begun."""

    number: int
    job: int = 0
    """0: its values make no job."""
    state: TrialState = TrialState.WAITING
    reason: str = ""
    message: str = ""
    values: dict[str, Value] = {}
    best: float | None = None
    latest: float | None = None
    resource: float | None = None
    rungs: list[tuple[float, float]] = []
    """Level and what was reported there, once a level."""
    create_ms: int = 0
    start_ms: int = 0
    end_ms: int = 0
    revision: int = 0


class Sweep(msgspec.Struct):
    """One sweep."""

    number: int
    account: str
    name: str
    document: str
    seed: int
    framework: str
    framework_version: int
    trial_count: int
    parallel: int
    changes: dict[str, str] = {}
    """What was laid over the file: name, queue."""
    bundle_digest: str = ""
    environment: bytes = b""
    notification: bytes = b""
    state: SweepState = SweepState.RUNNING
    reason: str = ""
    message: str = ""
    outcome: SweepState | None = None
    """Decided: never changes."""
    next_trial: int = 1
    target_trial: int = 0
    """Who reached the target: it goes on to its own end."""
    create_ms: int = 0
    end_ms: int = 0
    revision: int = 0


class LiveSweep:
    """A sweep in memory with its file and all of its trials."""

    __slots__ = (
        "allowance", "changed", "failed", "file", "is_changed", "plan_of", "reached", "running", "sweep", "trials",
    )  # fmt: skip

    def __init__(self, sweep: Sweep, file: File, plan_of: Planner) -> None:
        self.sweep = sweep
        self.file = file
        self.plan_of = plan_of
        self.trials: dict[int, Trial] = {}
        self.running: set[int] = set()
        """Numbers of trials that have not ended."""
        self.allowance = self.burst
        """Trials that may still begin in this step."""
        self.failed = 0
        """How many have."""
        self.reached: dict[tuple[int, float], list[float]] = {}
        """By bracket and level, what trials have reported there."""
        self.changed: set[int] = set()
        self.is_changed = False

    def take_up(self, trials: Iterable[Trial]) -> None:
        """What became of its trials before."""
        self.trials = {trial.number: trial for trial in trials}
        self.running = {trial.number for trial in self.trials.values() if not trial.state.has_ended}
        self.failed = self.count(TrialState.FAILED)
        for trial in self.trials.values():
            for level, value in trial.rungs:
                self.at_rung(self.bracket(trial), level).append(value)

    @property
    def burst(self) -> int:
        """Trials that begin in one step, since each is planned within it; of large jobs fewer."""
        return max(1, min(BEGUN_MOST, PLANNED_MOST // self.file.job.weight))

    def count(self, *states: TrialState) -> int:
        """How many are in one of these states."""
        return sum(trial.state in states for trial in self.trials.values())

    def decide(self, outcome: SweepState, reason: str, message: str) -> None:
        """Once: from now on no trial begins."""
        sweep = self.sweep
        if sweep.outcome is None:
            sweep.outcome, sweep.state = outcome, SweepState.DRAINING
            sweep.reason, sweep.message = reason, message
            self.is_changed = True

    def bracket(self, trial: Trial) -> int:
        """In which it is."""
        asha = self.file.search.asha
        return (trial.number - 1) % asha.brackets if asha is not None else 0

    def at_rung(self, bracket: int, level: float) -> list[float]:
        """What trials of a bracket have reported at a level."""
        return self.reached.setdefault((bracket, level), [])

    def best(self) -> Trial | None:
        """Of those with a score; of equals the first."""
        scored = [trial for trial in self.trials.values() if self.score(trial) is not None]
        return min(scored, key=self.rank, default=None)

    def score(self, trial: Trial) -> float | None:
        """By which it is compared in the end; None: it has reported nothing."""
        from_best = self.file.metric is not None and self.file.metric.pick.value == "best"
        return trial.best if from_best else trial.latest

    def rank(self, trial: Trial) -> tuple[bool, float, int]:
        """Sorts the best first, those without a score last."""
        score, metric = self.score(trial), self.file.metric
        if score is None or metric is None:
            return True, 0.0, trial.number
        return False, -score if metric.is_max else score, trial.number


def check_sweep(live: LiveSweep, jobs: set[int]) -> None:
    """Raises InvariantViolation where a sweep contradicts itself or the live jobs. For tests."""
    sweep = live.sweep
    lives = [trial for trial in live.trials.values() if not trial.state.has_ended]
    if sorted(live.trials) != list(range(1, sweep.next_trial)) or sweep.next_trial > sweep.trial_count + 1:
        raise InvariantViolation(f"sweep {sweep.number} has trials {sorted(live.trials)}")
    if len({trial.job for trial in live.trials.values() if trial.job}) < sum(
        bool(trial.job) for trial in live.trials.values()
    ):
        raise InvariantViolation(f"sweep {sweep.number} has a job twice")
    if {trial.number for trial in lives} != live.running or len(lives) > sweep.parallel:
        raise InvariantViolation(f"sweep {sweep.number} has {len(lives)} trials at a time")
    if sweep.state.has_ended and (lives or sweep.state is not sweep.outcome):
        raise InvariantViolation(f"sweep {sweep.number} has ended, and {len(lives)} trials live")
    lost = [trial.number for trial in lives if trial.job not in jobs]
    if lost:
        raise InvariantViolation(f"sweep {sweep.number}: the jobs of trials {lost} are gone")
