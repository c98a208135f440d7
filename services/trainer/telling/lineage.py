"""What the trainer knows of where things come from: what jobs were made of, who handed them in, what they left.

Each only for who may see the job. Reads; changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from modelyard.v1 import framework_pb2
from modelyard.v1 import lineage_pb2 as pb
from services.chassis.errors import NotFound
from services.chassis.rpc.lineage import BESIDE, DOWN, UP, Ask, Found, Source, link, paged, thing
from services.chassis.security import ADMIN
from services.trainer.documents.frameworks import Frameworks
from services.trainer.model import Checkpoint
from services.trainer.records.store import JobStore
from services.trainer.state.jobs import Job
from services.trainer.state.sweeps import Sweep
from services.trainer.telling.jobs import Jobs
from services.trainer.telling.sweeps import Sweeps

_LAST = 1 << 60
_DIGEST = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{64}(?![0-9A-Za-z])")


class JobLineage:
    """Of jobs, sweeps and frameworks, and of tasks that handed jobs in."""

    def __init__(self, jobs: Jobs, sweeps: Sweeps, frameworks: Frameworks, store: JobStore) -> None:
        self._jobs = jobs
        self._sweeps = sweeps
        self._frameworks = frameworks
        self._store = store

    def sources(self) -> Mapping[int, Source]:
        return {
            pb.THING_KIND_JOB: self.job, pb.THING_KIND_SWEEP: self.sweep, pb.THING_KIND_FRAMEWORK: self.framework,
            pb.THING_KIND_TASK: self.task,
        }  # fmt: skip

    async def job(self, ask: Ask) -> Found:
        """Raises JobNotFound."""
        number = (await self._jobs.require(ask.id, ask.caller)).number
        job, _, _ = await self._jobs.state_of(number)
        links = [*_origins(job)]
        for role, index, task in await self._store.seats(number):
            links.append(link(BESIDE, thing(pb.THING_KIND_TASK, task), f"seat of {role}-{index}"))
        for name, digest, _ in await self._store.outputs(number):
            links.append(link(DOWN, thing(pb.THING_KIND_ARTIFACT, digest), f"kept {name}"))
        for found in await self._store.checkpoints(number):
            links += _files(found)
        return paged(ask, _job_thing(job), links)

    async def sweep(self, ask: Ask) -> Found:
        """Raises SweepNotFound."""
        live = await self._sweeps.require(ask.id, ask.caller)
        links = [link(UP, _framework(live.sweep.framework, live.sweep.framework_version), "framework")]
        for number, trial in sorted(live.trials.items()):
            if trial.job:
                made = thing(pb.THING_KIND_JOB, f"j-{trial.job}", state=trial.state.value)
                links.append(link(DOWN, made, f"trial {number}"))
        return paged(ask, _sweep_thing(live.sweep), links)

    async def framework(self, ask: Ask) -> Found:
        """Who used it, newest first; a framework is everybody's to see, a job is not."""
        name, _, version = ask.id.partition(":")
        number = int(version) if version.isascii() and version.isdecimal() and len(version) <= 9 else 0
        if self._frameworks.find(name, number) is None:
            raise FrameworkUnknown
        account = None if ask.caller.role == ADMIN else ask.caller.account
        jobs = []
        if ask.wants(DOWN):
            jobs = await self._store.jobs(
                account=account, states="", name="", framework=name, queue=None, before=ask.offset or _LAST,
                since_ms=0, most=ask.most,
            )  # fmt: skip
        links = [link(DOWN, _job_thing(job), "used by") for job in jobs if job.framework_version == number]
        return Found(_framework(name, number), links, str(jobs[-1].number) if len(jobs) == ask.most else "")

    async def task(self, ask: Ask) -> Found:
        """What a task handed in."""
        found = await self._store.jobs_of_task(ask.id)
        mine = [job for job in found if ask.caller.role == ADMIN or job.account == ask.caller.account]
        return paged(ask, None, [link(DOWN, _job_thing(job), "handed in") for job in mine])


class FrameworkUnknown(NotFound):
    """There is no such framework."""


def _job_thing(job: Job) -> pb.Thing:
    return thing(
        pb.THING_KIND_JOB, f"j-{job.number}", name=job.name, state=job.state.value,
        time_ms=job.end_ms or job.create_ms, account=job.account,
    )  # fmt: skip


def _sweep_thing(sweep: Sweep) -> pb.Thing:
    return thing(
        pb.THING_KIND_SWEEP, f"s-{sweep.number}", name=sweep.name, state=sweep.state.value,
        time_ms=sweep.end_ms or sweep.create_ms, account=sweep.account,
    )  # fmt: skip


def _framework(name: str, version: int) -> pb.Thing:
    return thing(pb.THING_KIND_FRAMEWORK, f"{name}:{version}" if version else name)


def _origins(job: Job) -> Iterator[pb.Link]:
    yield link(UP, _framework(job.framework, job.framework_version), "framework")
    if job.bundle_digest:
        yield link(UP, thing(pb.THING_KIND_ARTIFACT, job.bundle_digest), "directory")
    for one in job.attachments:
        yield link(UP, thing(pb.THING_KIND_ARTIFACT, one.digest), f"data {one.path}")
    if job.origin:
        yield link(UP, thing(pb.THING_KIND_TASK, job.origin), "handed in by")
    if job.sweep:
        yield link(UP, thing(pb.THING_KIND_SWEEP, f"s-{job.sweep}"), f"trial {job.trial} of")
    for digest in _named(job):
        yield link(UP, thing(pb.THING_KIND_ARTIFACT, digest), "named in the job file")


def _named(job: Job) -> list[str]:
    """Artefacts that the job file or what was laid over it names."""
    changes = framework_pb2.JobDocument.FromString(job.changes)
    found = _DIGEST.findall(f"{job.document}\n{changes.params_json}")
    return [digest for digest in dict.fromkeys(found) if digest != job.bundle_digest]


def _files(found: Checkpoint) -> Iterator[pb.Link]:
    if found.is_stored:
        for path, digest, _ in found.files:
            yield link(
                DOWN, thing(pb.THING_KIND_ARTIFACT, digest), f"checkpoint {found.name} {path}".rstrip()
            )
