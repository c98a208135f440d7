"""JobService: what is seen of a running job, and what it says of itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from modelyard.v1 import job_pb2 as pb
from services.chassis.security import principal
from services.trainer.logs.streams import JobLogs
from services.trainer.telling.jobs import Jobs
from services.trainer.telling.reports import Reports


class Observing:
    """A part of JobServicer."""

    _jobs: Jobs
    _logs: JobLogs
    _reports: Reports

    async def StreamJobLogs(
        self, request: pb.StreamJobLogsRequest, context: Any
    ) -> AsyncIterator[pb.StreamJobLogsResponse]:
        caller = principal()
        job = await self._jobs.require(request.job_id, caller)
        async for chunk in self._logs.stream(job, request, caller.account):
            yield chunk

    async def ReportProgress(
        self, request: pb.ReportProgressRequest, context: Any
    ) -> pb.ReportProgressResponse:
        return await self._reports.take(request, principal())

    async def ListJobMetrics(
        self, request: pb.ListJobMetricsRequest, context: Any
    ) -> pb.ListJobMetricsResponse:
        return await self._reports.curves(request, principal())
