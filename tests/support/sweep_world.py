"""A world in which sweeps are searched: programs that report a loss for each step, a disk, deaths of the trainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from modelyard.training import Plan, Progress, plan_job
from modelyard.training.frameworks import catalogue
from modelyard.training.policies.restarts import Cause
from modelyard.training.sweeps import Sweep as File
from modelyard.training.sweeps import plan_sweep
from services.trainer.state.effects import Effects, HoldReferences, PutSweep, PutTrial
from services.trainer.state.events import Event, ProgressReported
from services.trainer.state.jobs import Job
from services.trainer.state.sweep_events import SweepCreated, SweepRecovered, SweepRevisited
from services.trainer.state.sweeps import LiveSweep, Sweep, Trial
from services.trainer.sweeps.machine import is_to_be_revisited
from tests.support.training_world import Seat, World

_PACK = msgspec.msgpack.Encoder().encode
_SWEEP = msgspec.msgpack.Decoder(Sweep)
_TRIAL = msgspec.msgpack.Decoder(Trial)


def job_plan(job: Job) -> Plan:
    """As the service makes it."""
    return plan_job(job.document, catalogue.find, catalogue.known())


class SweepWorld(World):
    """Trials are jobs like others; their seats report when they are told to."""

    def __init__(self, seats_most: int = 8, seed: int = 0) -> None:
        super().__init__(seats_most, seed)
        self.sweeps: dict[int, bytes] = {}
        self.trials: dict[tuple[int, int], bytes] = {}
        self.files: dict[int, File] = {}
        self.steps: dict[int, int] = {}
        """How far the program of a job is."""
        self.loss: Callable[[Trial, int], float] = lambda trial, step: float(trial.number)
        self.heard: list[tuple[int, int, float]] = []
        """Trial, step and value as the trainer heard them."""
        self.references: list[HoldReferences] = []
        self.plan_of: Callable[[Job], Plan] = job_plan

    def search(self, text: str, seed: int = 1, bundle: str = "") -> int:
        """A sweep of this file; its number."""
        file, plan = plan_sweep(text, catalogue.find, catalogue.known())
        number = self.state.next_sweep
        self.files[number] = file
        sweep = Sweep(
            0, "ann", file.name, text, file.search.seed or seed, plan.framework.id, 0, file.search.trials,
            file.parallel,
            bundle_digest=bundle,
        )  # fmt: skip
        self.do(SweepCreated(1, sweep, file, self.plan_of))
        return number

    def do(self, *events: Any) -> Effects:
        for event in events:
            if isinstance(event, ProgressReported):
                self._note(event)
        effects = super().do(*events)
        self.references += [wish for wish in effects.wishes if isinstance(wish, HoldReferences)]
        for number in effects.changed_sweeps:
            if is_to_be_revisited(self.state.sweeps[number]):
                self.do(SweepRevisited(number))
        return effects

    def _note(self, event: ProgressReported) -> None:
        trial = self.trial_of(event.job)
        if trial is not None and event.progress.step is not None:
            self.heard.append((trial.number, event.progress.step, event.progress.metrics["loss"]))

    def _write(self, row: object) -> None:
        super()._write(row)
        if isinstance(row, PutSweep):
            self.sweeps[row.sweep.number] = _PACK(row.sweep)
        elif isinstance(row, PutTrial):
            self.trials[row.sweep, row.trial.number] = _PACK(row.trial)
            if row.trial.job and row.trial.job not in self.plans:
                self.plans[row.trial.job] = self.state.jobs[row.trial.job].plan

    def recovered(self, jobs: dict[int, Job]) -> list[Event]:
        sweeps = [_SWEEP.decode(data) for data in self.sweeps.values()]
        self.state.next_sweep = len(sweeps) + 1
        lives = [sweep for sweep in sweeps if not sweep.end_ms]
        taken: list[Any] = [
            SweepRecovered(sweep, self.files[sweep.number], self.trials_of(sweep.number), self.plan_of)
            for sweep in lives
        ]
        return [*taken, *super().recovered(jobs)]

    def sweep(self, number: int = 1) -> LiveSweep:
        """As it lies on the disk."""
        live = LiveSweep(_SWEEP.decode(self.sweeps[number]), self.files[number], self.plan_of)
        live.take_up(self.trials_of(number))
        return live

    def trials_of(self, number: int) -> tuple[Trial, ...]:
        return tuple(_TRIAL.decode(data) for (of, _), data in sorted(self.trials.items()) if of == number)

    def trial_of(self, job: int) -> Trial | None:
        """Whose job it is."""
        live = self.state.jobs.get(job)
        sweep = self.state.sweeps.get(live.job.sweep) if live is not None else None
        return sweep.trials[live.job.trial] if sweep is not None and live is not None else None

    def report_one(self, most: int = 9) -> bool:
        """A program that runs makes a step; after the last it ends."""
        lives = sorted((seat for seat in self.seats.values() if seat.is_live), key=lambda one: one.task)
        if not lives:
            return False
        self.report(self.chance.choice(lives), most)
        return True

    def report(self, seat: Seat, most: int) -> None:
        step = self.steps[seat.job] = self.steps.get(seat.job, 0) + 1
        self.news.append(self._reported(seat, step))
        if step >= most:
            self._exit(seat, self.fails(seat) or Cause.SUCCESS)

    def _reported(self, seat: Seat, step: int) -> ProgressReported:
        trial = next(
            trial
            for (sweep, _), data in self.trials.items()
            for trial in [_TRIAL.decode(data)]
            if trial.job == seat.job
        )
        progress = Progress(step=step, metrics={"loss": self.loss(trial, step)})
        return ProgressReported(seat.job, seat.role, seat.index, progress)

    def _greet(self, seat: Seat) -> None:
        """What was reported and not yet heard is told again."""
        live = self.state.jobs.get(seat.job)
        is_wanted = live is not None and not live.job.state.has_ended
        if is_wanted and (seat.is_live or seat.exit is not None):
            for step in range(1, self.steps.get(seat.job, 0) + 1):
                self.news.append(self._reported(seat, step))
        super()._greet(seat)

    @property
    def is_searched(self) -> bool:
        return self.is_over and all(_SWEEP.decode(data).end_ms for data in self.sweeps.values())

    def go_on(self, most: int = 9, rounds: int = 5_000) -> None:
        """Until every sweep has ended."""
        for _ in range(rounds):
            if self.is_searched and not self.news and not self.late:
                return
            self.hear()
            self.place()
            self.report_one(most)
            self.pass_time(100)
        raise AssertionError(f"hangs: {[one.sweep for one in self.state.sweeps.values()]}")
