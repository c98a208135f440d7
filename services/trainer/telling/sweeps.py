"""Sweeps as people see them: live ones from memory, ended ones from the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from modelyard.training import Refused
from modelyard.training.plans.preview import previews
from modelyard.training.rendering.launches import RenderError
from modelyard.training.sweeps import Sweep as File
from modelyard.training.sweeps import SweepChanges, read_sweep
from modelyard.v1 import sweep_pb2 as pb
from services.chassis.security import ADMIN, Principal
from services.trainer.convert.sweep import sweep_message, trial_message
from services.trainer.documents.plans import Plans
from services.trainer.engine import Engine
from services.trainer.model import SweepNotFound
from services.trainer.records.sweeps import SweepStore
from services.trainer.state.jobs import Job
from services.trainer.state.sweep_events import SweepRecovered, SweepsTaken
from services.trainer.state.sweeps import LiveSweep, Sweep, Trial

T = TypeVar("T")


class Sweeps:
    """Reads; changes nothing."""

    def __init__(self, engine: Engine, store: SweepStore, plans: Plans) -> None:
        self._engine = engine
        self.store = store
        self._plans = plans

    async def taken(self) -> SweepsTaken:
        """Sweeps that go on after a start."""
        found = await self.store.begin()
        events = (
            SweepRecovered(sweep, file_of(sweep), tuple(trials), self._plans.of)
            for sweep, trials in found.sweeps
        )
        return SweepsTaken(found.next_sweep, found.revision, tuple(events))

    async def require(self, sweep_id: str, caller: Principal) -> LiveSweep:
        """If the caller may see it; live, or as it ended. Raises SweepNotFound."""
        number = number_of(sweep_id)
        found = await self.state_of(number)
        if found is None or not (caller.role == ADMIN or caller.account == found.sweep.account):
            raise _unknown(sweep_id)
        return found

    async def state_of(self, number: int) -> LiveSweep | None:
        """A copy of what is on disk."""
        return await self.shown(number, _copy)

    async def shown(self, number: int, show: Callable[[LiveSweep], T]) -> T | None:
        """What is made of it while nothing of it is on its way to the disk; None: there is no such sweep."""
        async with self._engine.quiet:
            live = self._engine.state.sweeps.get(number)
            if live is not None:
                return show(live)
        found = await self.store.sweep(number)
        if found is None:
            return None
        ended = LiveSweep(found[0], file_of(found[0]), self._plans.of)
        ended.take_up(found[1])
        return show(ended)

    def message(self, live: LiveSweep, *, is_whole: bool = False) -> pb.Sweep:
        """`is_whole`: with its document, and with the best trial's command."""
        message = sweep_message(live, is_whole=is_whole)
        best = live.best()
        if best is not None:
            message.best_trial.CopyFrom(trial_message(live, best))
            if is_whole:
                message.best_argv.extend(self._argv(live, best))
        return message

    def _argv(self, live: LiveSweep, trial: Trial) -> tuple[str, ...]:
        """What its first instance runs, with stable names in place of addresses; empty where that cannot be told."""
        sweep = live.sweep
        document = live.file.document(trial.number, trial.values, {})
        job = Job(0, "", "", sweep.framework, sweep.framework_version, document, "", 0, 0)
        try:
            first = next(previews(self._plans.of(job)), None)
        except (Refused, RenderError):
            return ()
        return first.launch.processes[0].argv if first is not None and first.launch.processes else ()


def _copy(live: LiveSweep) -> LiveSweep:
    copy = LiveSweep(msgspec.structs.replace(live.sweep), live.file, live.plan_of)
    copy.take_up(msgspec.structs.replace(trial) for trial in live.trials.values())
    return copy


def file_of(sweep: Sweep) -> File:
    """Of a sweep that was taken."""
    return read_sweep(
        sweep.document,
        SweepChanges(
            name=sweep.changes.get("name", ""),
            queue=sweep.changes.get("queue", ""),
            parallel=sweep.parallel,
        ),
    )


def number_of(sweep_id: str) -> int:
    """The number of "s-7"; raises SweepNotFound."""
    digits = sweep_id.removeprefix("s-")
    if sweep_id.startswith("s-") and digits.isascii() and digits.isdecimal() and len(digits) <= 15:
        return int(digits)
    raise _unknown(sweep_id)


def _unknown(sweep_id: str) -> SweepNotFound:
    message = f"there is no sweep {sweep_id[:40]!r}, or it is not yours to see"
    return SweepNotFound(message, field="sweep_id", next_step="yard train sweep ls")
