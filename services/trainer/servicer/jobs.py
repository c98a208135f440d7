"""JobService: jobs are taken, seen and steered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from modelyard.v1 import job_pb2 as pb
from services.chassis.clock import Clock
from services.chassis.errors import InvalidArgument
from services.chassis.requests.paging import decode_token, encode_token, page_size
from services.chassis.security import ADMIN, TASK, Principal, RoleNotAllowed, account_of, principal
from services.trainer.convert.job import STATES, instance_message, job_message, stacks_message
from services.trainer.engine import Engine
from services.trainer.logs.streams import JobLogs
from services.trainer.servicer.addressing import Addressing, require_revision
from services.trainer.servicer.creation import Creation
from services.trainer.servicer.imports import ImportServicer
from services.trainer.servicer.observing import Observing
from services.trainer.state.events import Event, JobResumed, JobStopped, JobSuspended, RoleScaled
from services.trainer.telling.explaining import Explaining
from services.trainer.telling.jobs import Jobs
from services.trainer.telling.reports import Reports

COMMENT_LENGTH = 2_000
LISTED_MS = 24 * 3_600_000
"""Jobs that ended longer ago are listed where that is asked for."""
_FIRST = 1 << 60
_STATES = {int(value): state for state, value in STATES.items()}


class JobStateUnknown(InvalidArgument):
    """There is no such state."""


class JobServicer(Observing, Addressing, ImportServicer):
    """Who owns a job may do everything with it, administrators too."""

    def __init__(
        self,
        engine: Engine,
        jobs: Jobs,
        creation: Creation,
        explaining: Explaining,
        clock: Clock,
        logs: JobLogs,
        reports: Reports,
    ) -> None:
        self._engine = engine
        self._jobs = jobs
        self._creation = creation
        self._explaining = explaining
        self._clock = clock
        self._logs = logs
        self._reports = reports

    def _caller(self) -> Principal:
        """Raises RoleNotAllowed: programs of a job report and watch addresses, and see nothing else."""
        caller = principal()
        if caller.role == TASK and self._engine.seat_at(caller.task_id) is not None:
            raise RoleNotAllowed(
                "a program of a job may report its progress and watch addresses",
                next_step="use a user's token",
            )
        return caller

    async def CreateJob(self, request: pb.CreateJobRequest, context: Any) -> pb.CreateJobResponse:
        account = account_of(self._caller())
        job = await self._creation.create(account, request, lambda job: pb.CreateJobResponse(job=job))
        return pb.CreateJobResponse(job=job)

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
        job = await self._jobs.require(request.job_id, self._caller())
        message = await self._jobs.message(job.number, is_whole=True)
        message.stacks.extend(map(stacks_message, await self._engine.store.stacks(job.number)))
        return pb.GetJobResponse(job=message)

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        caller, size, wanted = principal(), page_size(request.page_size), request.filter
        for state in wanted.states:
            if state not in _STATES:
                raise JobStateUnknown(f"{state} is no state of a job", field="filter.states")
        words = " ".join(_STATES[state].value for state in wanted.states)
        everybody = wanted.all_accounts and caller.role == ADMIN
        key = wanted.SerializeToString(deterministic=True)
        before = int(decode_token(request.page_token, key) or _FIRST)
        rows = await self._engine.store.jobs(
            account=None if everybody else account_of(caller), states=f" {words} " if words else "",
            name=wanted.name, framework=wanted.framework_id, queue=wanted.queue or None, before=before,
            since_ms=0 if wanted.all_times or words else self._clock.now_ms() - LISTED_MS, most=size + 1,
        )  # fmt: skip
        labels = dict(wanted.labels).items()
        shown = [job for job in rows[:size] if labels <= job.labels.items()]
        token = encode_token(str(rows[size - 1].number), key) if len(rows) > size else ""
        jobs = [await self._jobs.message(job.number) for job in shown]
        return pb.ListJobsResponse(jobs=jobs, next_page_token=token, revision=self._engine.state.revision)

    async def ListInstances(self, request: pb.ListInstancesRequest, context: Any) -> pb.ListInstancesResponse:
        job = await self._jobs.require(request.job_id, self._caller())
        size, key = page_size(request.page_size), f"instances {job.number} {request.role}".encode()
        start = int(decode_token(request.page_token, key) or 0)
        found = [
            one
            for one in await self._jobs.instances(job.number)
            if request.role in ("", one.role) and (not request.states or one.state in request.states)
        ]
        token = encode_token(str(start + size), key) if len(found) > start + size else ""
        return pb.ListInstancesResponse(
            instances=found[start : start + size], next_page_token=token, revision=self._engine.state.revision
        )

    async def WatchJob(self, request: pb.WatchJobRequest, context: Any) -> AsyncIterator[pb.WatchJobResponse]:
        number = (await self._jobs.require(request.job_id, self._caller())).number
        require_revision(request.revision, self._engine.state.revision, request.job_id)
        position, is_first = request.revision, True
        with self._engine.watch(number) as changed:
            while True:
                changed.clear()
                job, plan, instances = await self._jobs.state_of(number)
                # Of what is told now: the job may go on while the answer is on its way.
                is_last = job.state.has_ended
                if job.revision > position or (is_first and not request.revision):
                    response = pb.WatchJobResponse(
                        revision=job.revision, job=job_message(job, plan, instances, is_whole=True)
                    )
                    if not request.without_instances:
                        news = [one for one in instances if one.revision > position or not position]
                        found = sorted(news, key=lambda one: one.key)
                        response.instances.extend(instance_message(job, plan, one) for one in found)
                    position = job.revision
                    yield response
                is_first = False
                if is_last:
                    return
                await changed.wait()

    async def StopJob(self, request: pb.StopJobRequest, context: Any) -> pb.StopJobResponse:
        job = await self._jobs.require(request.job_id, self._caller())
        if not job.state.has_ended:
            comment = request.comment[:COMMENT_LENGTH]
            await self._ask(lambda reply: JobStopped(reply, job.number, comment))
        return pb.StopJobResponse(job=await self._jobs.message(job.number))

    async def SuspendJob(self, request: pb.SuspendJobRequest, context: Any) -> pb.SuspendJobResponse:
        job = await self._jobs.require(request.job_id, principal())
        await self._ask(lambda reply: JobSuspended(reply, job.number, request.comment[:COMMENT_LENGTH]))
        return pb.SuspendJobResponse(job=await self._jobs.message(job.number))

    async def ResumeJob(self, request: pb.ResumeJobRequest, context: Any) -> pb.ResumeJobResponse:
        job = await self._jobs.require(request.job_id, principal())
        await self._ask(lambda reply: JobResumed(reply, job.number))
        return pb.ResumeJobResponse(job=await self._jobs.message(job.number))

    async def ScaleRole(self, request: pb.ScaleRoleRequest, context: Any) -> pb.ScaleRoleResponse:
        job = await self._jobs.require(request.job_id, principal())
        await self._ask(
            lambda reply: RoleScaled(reply, job.number, request.role, request.count, request.revision)
        )
        return pb.ScaleRoleResponse(job=await self._jobs.message(job.number))

    async def ExplainJob(self, request: pb.ExplainJobRequest, context: Any) -> pb.ExplainJobResponse:
        job = await self._jobs.require(request.job_id, principal())
        return await self._explaining.explain(job.number)

    async def _ask(self, event_of: Callable[[int], Event]) -> int:
        """The machine's answer: a job's number, once what was asked is on disk."""
        reply, answer = self._engine.new_reply(None)
        self._engine.post(event_of(reply))
        return await answer
