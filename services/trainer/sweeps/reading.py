"""Sweeps as people see them: live ones from memory, ended ones from the database; files of either."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from modelyard.training import Plan, Refused
from modelyard.training.preview import previews
from modelyard.training.rendering import RenderError
from modelyard.training.sweeps import Sweep as File
from modelyard.training.sweeps import SweepChanges, plan_sweep, read_sweep
from modelyard.v1 import sweep_pb2 as pb
from services.chassis.security import ADMIN, Principal
from services.trainer.convert.sweep import sweep_message, trial_message
from services.trainer.engine import Engine
from services.trainer.frameworks import Frameworks
from services.trainer.jobs import Jobs
from services.trainer.state import Job
from services.trainer.sweeps.events import SweepRecovered, SweepsTaken
from services.trainer.sweeps.model import SweepInvalid, SweepNotFound
from services.trainer.sweeps.state import LiveSweep, Sweep, Trial
from services.trainer.sweeps.store import SweepStore

T = TypeVar("T")


class Sweeps:
    """Reads; changes nothing."""

    def __init__(self, engine: Engine, store: SweepStore, jobs: Jobs, frameworks: Frameworks) -> None:
        self._engine = engine
        self.store = store
        self._jobs = jobs
        self._frameworks = frameworks

    async def plan(self, request: pb.CreateSweepRequest) -> tuple[File, Plan]:
        """The file, and the plan of a trial. Raises SweepInvalid."""
        changes = SweepChanges(name=request.name, queue=request.queue, parallel=request.parallel_count)

        def work() -> tuple[File, Plan]:
            return plan_sweep(request.text, self._frameworks.find, self._frameworks.known(), changes)

        try:
            return await self._jobs.texts.judge(request.text, work)
        except Refused as error:
            raise _refused(error) from error

    def plan_of(self, job: Job) -> Plan:
        """Of a trial's job, with the sweep's version of its framework. Raises Refused."""
        return self._jobs.plan_of(job)

    async def taken(self) -> SweepsTaken:
        """Sweeps that go on after a start."""
        found = await self.store.begin()
        events = (
            SweepRecovered(sweep, file_of(sweep), tuple(trials), self.plan_of)
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
        ended = LiveSweep(found[0], file_of(found[0]), self.plan_of)
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
            first = next(previews(self.plan_of(job)), None)
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


def _refused(error: Refused) -> SweepInvalid:
    """All that is wrong, the first of it in words."""
    first = error.problems[0]
    more = f", and {len(error.problems) - 1} more" if len(error.problems) > 1 else ""
    return SweepInvalid(
        f"{first.path}: {first.message}{more}", field="text",
        next_step=first.next_step or "yard train validate shows all of it",
        metadata={"reasons": ",".join(dict.fromkeys(problem.reason.value for problem in error.problems))},
    )  # fmt: skip
