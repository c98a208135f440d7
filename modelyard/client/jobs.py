"""`client.jobs`: training jobs of any framework, from the queue to what became of them."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from modelyard.client.connection import Connection, new_request_id
from modelyard.client.specs import notification
from modelyard.v1 import framework_pb2, framework_pb2_grpc, job_pb2, job_pb2_grpc, task_pb2

ENDED = frozenset({job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_STOPPED})
PAGE = 500


class Jobs:
    """Training jobs. A job that was taken goes on, whoever watches."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def _stub(self) -> job_pb2_grpc.JobServiceAsyncStub:
        return job_pb2_grpc.JobServiceStub(self._connection.trainer())

    @cached_property
    def _frameworks(self) -> framework_pb2_grpc.FrameworkServiceAsyncStub:
        return framework_pb2_grpc.FrameworkServiceStub(self._connection.trainer())

    async def register(
        self, document: str, *, request_id: str = ""
    ) -> framework_pb2.RegisterFrameworkResponse:
        """Keeps a definition as the next version of its id. The text of the latest version again makes no new one."""
        request = framework_pb2.RegisterFrameworkRequest(
            request_id=request_id or new_request_id(), document=document
        )
        return await self._connection.unary(self._frameworks.RegisterFramework, request)

    async def create(
        self,
        document: str,
        *,
        params: Mapping[str, Any] | None = None,
        counts: Mapping[str, int] | None = None,
        name: str = "",
        bundle_digest: str = "",
        attachments: Sequence[task_pb2.Attachment] = (),
        contact: str = "",
        notify: str = "",
        silent: bool = False,
        validate_only: bool = False,
        request_id: str = "",
    ) -> job_pb2.Job:
        """Queues a job file; the answer means that it is on disk. ``counts``: by role, instead of the file's.

        ``attachments``: data, as ``client.artifacts.attachment`` puts it into the store.
        """
        job = framework_pb2.JobDocument(
            text=document,
            params_json=json.dumps(params) if params else "",
            counts=dict(counts or {}),
            name=name,
        )
        request = job_pb2.CreateJobRequest(
            request_id=request_id or new_request_id(), job=job, bundle_digest=bundle_digest,
            validate_only=validate_only, notification=notification(contact, notify, silent=silent),
            attachments=attachments,
        )  # fmt: skip
        return (await self._connection.unary(self._stub.CreateJob, request)).job

    async def import_job(
        self,
        document: str,
        *,
        name: str = "",
        submit: bool = False,
        bundle_digest: str = "",
        request_id: str = "",
    ) -> job_pb2.ImportJobResponse:
        """Makes a job file of another controller's, and queues it if asked. ``name``: which one of several."""
        request = job_pb2.ImportJobRequest(
            request_id=request_id or new_request_id(), document=document, submit=submit,
            bundle_digest=bundle_digest, name=name,
        )  # fmt: skip
        return await self._connection.unary(self._stub.ImportJob, request)

    async def get(self, job: str) -> job_pb2.Job:
        """A job as it is now, with its document and its conditions."""
        return (await self._connection.unary(self._stub.GetJob, job_pb2.GetJobRequest(job_id=job))).job

    async def list(self, page_size: int = 0, page_token: str = "", **wanted: Any) -> job_pb2.ListJobsResponse:
        """Jobs, newest first; see JobFilter for what may be wanted."""
        request = job_pb2.ListJobsRequest(
            page_size=page_size, page_token=page_token, filter=job_pb2.JobFilter(**wanted)
        )
        return await self._connection.unary(self._stub.ListJobs, request)

    async def instances(self, job: str, role: str = "") -> Sequence[job_pb2.Instance]:
        """By role and index."""
        found: deque[job_pb2.Instance] = deque()
        request = job_pb2.ListInstancesRequest(job_id=job, role=role, page_size=PAGE)
        while True:
            answer = await self._connection.unary(self._stub.ListInstances, request)
            found += answer.instances
            request.page_token = answer.next_page_token
            if not request.page_token:
                return tuple(found)

    async def watch(self, job: str, revision: int = 0) -> AsyncIterator[job_pb2.WatchJobResponse]:
        """Every change until the job has ended, over restarts of the trainer too."""
        position = revision

        def begin() -> Any:
            return self._stub.WatchJob(job_pb2.WatchJobRequest(job_id=job, revision=position))

        async for response in self._connection.stream(begin):
            position = response.revision
            yield response

    async def logs(
        self, job: str, role: str = "", index: int | None = None, *, follow: bool = False, merge: bool = False
    ) -> AsyncGenerator[job_pb2.StreamJobLogsResponse, None]:
        """What all instances wrote, or those of a role, or one: instance after instance, or merged in whole lines.

        With ``follow`` to the last byte after the job's end. A lost connection goes on where it broke.
        """
        request = job_pb2.StreamJobLogsRequest(job_id=job, role=role, follow=follow, merge=merge)
        if index is not None:
            request.index = index
        async for chunk in self._connection.stream(lambda: self._stub.StreamJobLogs(request)):
            stream = "stderr" if chunk.stream == task_pb2.LOG_STREAM_STDERR else "stdout"
            request.offsets[f"{chunk.role}-{chunk.index}/{stream}"] = chunk.offset + len(chunk.data)
            yield chunk

    async def metrics(
        self, job: str, names: Sequence[str] = (), points_most: int = 0
    ) -> Sequence[job_pb2.MetricSeries]:
        """Curves by metric, role and index, of these metrics or of all; each of at most so many points, evenly thinned
        out (0: 1,000)."""
        found: list[job_pb2.MetricSeries] = []
        request = job_pb2.ListJobMetricsRequest(
            job_id=job, names=names, points_most=points_most, page_size=PAGE
        )
        while True:
            answer = await self._connection.unary(self._stub.ListJobMetrics, request)
            found += answer.series
            request.page_token = answer.next_page_token
            if not request.page_token:
                return tuple(found)

    async def report(
        self,
        job: str = "",
        role: str = "",
        index: int = 0,
        *,
        step: int | None = None,
        total_steps: int | None = None,
        epoch: float | None = None,
        ratio: float | None = None,
        remaining_s: float | None = None,
        message: str = "",
        metrics: Mapping[str, float] | None = None,
        request_id: str = "",
    ) -> bool:
        """Tells how far an instance is; on disk when it returns. Without a job: the one whose task's token this client
        has. True: the instance is to save its state and end."""
        progress = job_pb2.JobProgress(
            step=step, total_steps=total_steps, epoch=epoch, ratio=ratio, remaining_s=remaining_s,
            message=message, metrics=metrics,
        )  # fmt: skip
        request = job_pb2.ReportProgressRequest(
            request_id=request_id or new_request_id(), job_id=job, role=role, index=index, progress=progress
        )
        return (await self._connection.unary(self._stub.ReportProgress, request)).should_stop

    async def addresses(
        self, job: str = "", roles: Sequence[str] = (), revision: int = 0
    ) -> AsyncGenerator[job_pb2.WatchAddressesResponse, None]:
        """Where instances are reached, then whatever of it changes, until the job has ended; over restarts of the
        trainer too. Without a node an instance is nowhere. A program of the job may ask with the token of its task, and
        need not name the job."""
        request = job_pb2.WatchAddressesRequest(job_id=job, roles=roles, revision=revision)
        async for response in self._connection.stream(lambda: self._stub.WatchAddresses(request)):
            request.revision = response.revision
            yield response

    async def stop(self, job: str, comment: str = "") -> job_pb2.Job:
        """Asks everything of it to end. A job that has ended stays as it is."""
        request = job_pb2.StopJobRequest(request_id=new_request_id(), job_id=job, comment=comment)
        return (await self._connection.unary(self._stub.StopJob, request)).job

    async def suspend(self, job: str, comment: str = "") -> job_pb2.Job:
        """It gives back everything that it holds, and waits until it is resumed."""
        request = job_pb2.SuspendJobRequest(request_id=new_request_id(), job_id=job, comment=comment)
        return (await self._connection.unary(self._stub.SuspendJob, request)).job

    async def resume(self, job: str) -> job_pb2.Job:
        """Queues a suspended job again."""
        request = job_pb2.ResumeJobRequest(request_id=new_request_id(), job_id=job)
        return (await self._connection.unary(self._stub.ResumeJob, request)).job

    async def scale(self, job: str, role: str, count: int, revision: int = 0) -> job_pb2.Job:
        """Another number of instances, while it runs if its framework can."""
        request = job_pb2.ScaleRoleRequest(
            request_id=new_request_id(), job_id=job, role=role, count=count, revision=revision
        )
        return (await self._connection.unary(self._stub.ScaleRole, request)).job

    async def explain(self, job: str) -> job_pb2.ExplainJobResponse:
        """Why it, and each of its instances, is not further than it is."""
        return await self._connection.unary(self._stub.ExplainJob, job_pb2.ExplainJobRequest(job_id=job))
