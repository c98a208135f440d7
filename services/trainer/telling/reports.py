"""What programs, or their users, tell of progress and metrics; and the curves for who asks (issue 5.7).

An answer means that progress and points are on disk.
"""

from __future__ import annotations

from modelyard.v1 import job_pb2 as pb
from services.chassis.clock import Clock
from services.chassis.errors import FailedPrecondition, InvalidArgument
from services.chassis.requests.answers import Answers
from services.chassis.requests.paging import decode_token, encode_token, page_size
from services.chassis.security import TASK, Principal
from services.trainer.convert.progress import check_report, points_of, progress_of, told_points
from services.trainer.engine import Engine
from services.trainer.model import InstanceState, InstanceUnknown, JobHasEnded
from services.trainer.records.metrics import Metrics
from services.trainer.state.events import ProgressReported
from services.trainer.telling.jobs import Jobs, number_of

POINTS_SHOWN, POINTS_SHOWN_MOST = 1_000, 10_000
ANSWER_POINTS = 40_000
"""A page ends with the series that brings it beyond so many: messages stay below 4 MiB."""


class ReporterUnknown(FailedPrecondition):
    """The caller's task holds no place of a training job any more."""


class PointsInvalid(InvalidArgument):
    """points_most is not negative."""


class Reports:
    """Takes reports and shows curves."""

    def __init__(self, engine: Engine, jobs: Jobs, metrics: Metrics, answers: Answers, clock: Clock) -> None:
        self._engine = engine
        self._jobs = jobs
        self._metrics = metrics
        self._answers = answers
        self._clock = clock

    async def take(self, request: pb.ReportProgressRequest, caller: Principal) -> pb.ReportProgressResponse:
        """Raises ProgressInvalid, ReporterUnknown, JobNotFound, InstanceUnknown, JobHasEnded, TooManySeries."""
        check_report(request)
        job, role, index = await self._reporter(request, caller)
        progress, now_ms = progress_of(request.progress), self._clock.now_ms()
        points = [
            *points_of(progress, progress.over(self._engine.told(job, role, index)).step, now_ms),
            *told_points(request.points, now_ms),
        ]
        if request.HasField("progress"):
            self._engine.post(ProgressReported(job, role, index, progress))
            await self._engine.settled()
        answer = pb.ReportProgressResponse(should_stop=self._should_stop(job, role, index))
        await self._metrics.put(job, (role, index), points, self._answers.keep(lambda _: answer))
        return answer

    async def _reporter(self, request: pb.ReportProgressRequest, caller: Principal) -> tuple[int, str, int]:
        if caller.role == TASK:
            at = self._engine.seat_at(caller.task_id)
            if at is None or (request.job_id and number_of(request.job_id) != at[0]):
                raise ReporterUnknown(f"{caller.task_id} holds no place of it", field="job_id")
            return at
        number = (await self._jobs.require(request.job_id, caller)).number
        live = self._engine.state.jobs.get(number)
        if live is None or live.job.state.has_ended:
            raise JobHasEnded(f"j-{number} has ended: its curves are whole", field="job_id")
        if (request.role, request.index) not in live.instances:
            raise InstanceUnknown(
                f"j-{number} has no instance {request.role[:80]}-{request.index}", field="role",
                next_step=f"yard train get j-{number}",
            )  # fmt: skip
        return number, request.role, request.index

    def _should_stop(self, number: int, role: str, index: int) -> bool:
        """Whether it is to save its state and end."""
        live = self._engine.state.jobs.get(number)
        if live is None or live.job.outcome is not None or live.job.is_suspending:
            return True
        one = live.instances.get((role, index))
        return one is None or one.state is InstanceState.STOPPING or index >= live.job.counts.get(role, 0)

    async def curves(self, request: pb.ListJobMetricsRequest, caller: Principal) -> pb.ListJobMetricsResponse:
        """Series by name, role and index. Raises JobNotFound, PointsInvalid and what pages raise."""
        job = await self._jobs.require(request.job_id, caller)
        if request.points_most < 0:
            raise PointsInvalid(f"points_most: {request.points_most}", field="points_most")
        most = min(request.points_most or POINTS_SHOWN, POINTS_SHOWN_MOST)
        size, names = page_size(request.page_size), sorted(set(request.names))
        key = f"metrics {job.number} {names}".encode()
        start = int(decode_token(request.page_token, key) or 0)
        found, has_more = await self._metrics.read(job.number, names, start, size, most, ANSWER_POINTS)
        response = pb.ListJobMetricsResponse()
        for series, count in found:
            message = response.series.add(
                name=series.name, role=series.role, index=series.index, point_count=count
            )
            for step, value, time_ms in series.points:
                message.points.add(step=step, value=value).time.FromMilliseconds(time_ms)
        if has_more:
            response.next_page_token = encode_token(str(start + len(found)), key)
        return response
