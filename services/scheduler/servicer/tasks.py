"""TaskService: everything about tasks but sessions and logs, which have files of their own."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration

from modelyard.v1 import task_pb2 as pb
from modelyard.v1 import task_pb2_grpc
from services.chassis.security import ADMIN, SERVICE, principal
from services.scheduler.engine import Engine
from services.scheduler.intake.mass_modification import MassModification
from services.scheduler.intake.modification import Modification
from services.scheduler.intake.retrying import Retrying
from services.scheduler.intake.submission import Submission, check_request_id
from services.scheduler.model import Shape, Spec, array_of, parse_task_id
from services.scheduler.placement.rehearsal import rehearse
from services.scheduler.reading.tasks import Tasks
from services.scheduler.reading.watching import watch
from services.scheduler.refusals import InvalidRequest, TaskHasEnded, WithoutForbidden
from services.scheduler.scheduling import explain
from services.scheduler.scheduling.clearing import would_fit
from services.scheduler.servicer import explaining, suspending
from services.scheduler.servicer.follow import LogFollower
from services.scheduler.servicer.session import Session
from services.scheduler.servicer.waiting import Waiter
from services.scheduler.state.events import CancelRequested, HoldRequested, ReleaseRequested
from services.scheduler.state.task import Task
from services.scheduler.tasks.arrays import has_unmade

MOST_IDS = 10_000
MOST_BESIDE = 1_000
GRACE_MS = 5_000
MOST_GRACE_MS = 600_000


class TaskServicer(task_pb2_grpc.TaskServiceServicer):
    """Callers see and move tasks of their own account; administrators every task."""

    def __init__(
        self,
        engine: Engine,
        tasks: Tasks,
        submission: Submission,
        modification: Modification,
        logs: LogFollower,
    ) -> None:
        self._engine = engine
        self._tasks = tasks
        self._submission = submission
        self._retrying = Retrying(tasks, submission)
        self._modification = modification
        self._mass_modification = MassModification(engine, modification)
        self._logs = logs

    async def Session(  # type: ignore[override]
        self, request_iterator: AsyncIterator[pb.SessionRequest], context: Any
    ) -> None:
        await Session(self._engine, self._tasks, self._submission, principal(), context).serve()

    async def SubmitTasks(self, request: pb.SubmitTasksRequest, context: Any) -> pb.SubmitTasksResponse:
        numbers, _ = await self._submission.submit(request, principal().account)
        return pb.SubmitTasksResponse(
            task_ids=[f"t-{number}" for number in numbers], revision=self._engine.released_revision
        )

    async def GetTask(self, request: pb.GetTaskRequest, context: Any) -> pb.GetTaskResponse:
        key = parse_task_id(request.task_id)
        return pb.GetTaskResponse(task=await self._tasks.get(key, principal(), with_history=True))

    async def ListTasks(self, request: pb.ListTasksRequest, context: Any) -> pb.ListTasksResponse:
        return await self._tasks.page(request, principal())

    async def WatchTasks(
        self, request: pb.WatchTasksRequest, context: Any
    ) -> AsyncIterator[pb.WatchTasksResponse]:
        keys = frozenset(parse_task_id(text, "task_ids") for text in request.task_ids)
        async for response in watch(self._engine, self._tasks, principal(), request.revision, keys):
            yield response

    async def WaitTask(self, request: pb.WaitTaskRequest, context: Any) -> pb.WaitTaskResponse:
        key = parse_task_id(request.task_id)
        timeout_s = _seconds(request.wait_timeout, 30.0) if request.HasField("wait_timeout") else 30.0
        caller = principal()
        task = await self._tasks.get(key, caller)
        if not _has_ended(task):
            await Waiter(self._engine, key).wait(min(timeout_s, 300.0))
            task = await self._tasks.get(key, caller)
        return pb.WaitTaskResponse(task=task, ended=_has_ended(task))

    async def ModifyTask(self, request: pb.ModifyTaskRequest, context: Any) -> pb.ModifyTaskResponse:
        return await self._modification.modify(request, principal())

    async def ModifyTasks(self, request: pb.ModifyTasksRequest, context: Any) -> pb.ModifyTasksResponse:
        return await self._mass_modification.modify(request, principal())

    async def CancelTasks(self, request: pb.CancelTasksRequest, context: Any) -> pb.CancelTasksResponse:
        keys = await self._own(request.request_id, request.task_ids)
        grace_ms = GRACE_MS
        if request.HasField("grace"):
            grace_ms = min(round(_seconds(request.grace, 0.0) * 1000), MOST_GRACE_MS)
        caller = principal()
        comment = request.comment[:500] or f"asked for by {caller.account}"
        reply, answer = self._engine.new_reply()
        self._engine.post(CancelRequested(reply, keys, grace_ms, comment))
        await answer
        return pb.CancelTasksResponse(tasks=await self._tasks.get_all(keys, caller))

    async def HoldTasks(self, request: pb.HoldTasksRequest, context: Any) -> pb.HoldTasksResponse:
        keys = await self._own(request.request_id, request.task_ids)
        reply, answer = self._engine.new_reply()
        self._engine.post(HoldRequested(reply, keys))
        await answer
        return pb.HoldTasksResponse(tasks=await self._tasks.get_all(keys, principal()))

    async def ReleaseTasks(self, request: pb.ReleaseTasksRequest, context: Any) -> pb.ReleaseTasksResponse:
        keys = await self._own(request.request_id, request.task_ids)
        reply, answer = self._engine.new_reply()
        self._engine.post(ReleaseRequested(reply, keys))
        await answer
        return pb.ReleaseTasksResponse(tasks=await self._tasks.get_all(keys, principal()))

    async def SuspendTasks(self, request: pb.SuspendTasksRequest, context: Any) -> pb.SuspendTasksResponse:
        keys = await self._own(request.request_id, request.task_ids)
        await suspending.suspend(self._engine, keys)
        return pb.SuspendTasksResponse(tasks=await self._tasks.get_all(keys, principal()))

    async def ResumeTasks(self, request: pb.ResumeTasksRequest, context: Any) -> pb.ResumeTasksResponse:
        keys = await self._own(request.request_id, request.task_ids)
        await suspending.resume(self._engine, keys)
        return pb.ResumeTasksResponse(tasks=await self._tasks.get_all(keys, principal()))

    async def RetryTasks(self, request: pb.RetryTasksRequest, context: Any) -> pb.RetryTasksResponse:
        keys = await self._own(request.request_id, request.task_ids)
        return await self._retrying.retry(request, keys, principal())

    async def ExplainTask(self, request: pb.ExplainTaskRequest, context: Any) -> pb.ExplainTaskResponse:
        key = parse_task_id(request.task_id)
        view = await self._tasks.get(key, principal())
        tasks = self._engine.state.tasks
        task = tasks.get(key) or (tasks[array_of(key)] if has_unmade(self._engine.state, key) else None)
        if task is None:
            raise TaskHasEnded(f"{view.id} has ended", next_step=f"yard tasks get {view.id}")
        answer = explaining.explanation(explain.explain(self._engine.state, task, self._engine.now()), task)
        if request.without:
            answer.fits_without = self._would_fit(task, request.without)
        return answer

    def _would_fit(self, task: Task, without: Sequence[str]) -> bool:
        caller = principal()
        if not (caller.role == SERVICE and caller.account):
            raise WithoutForbidden(field="without", next_step="leave it out")
        if len(without) > MOST_IDS:
            raise InvalidRequest(f"without: {len(without)} tasks; at most {MOST_IDS}", field="without")
        return would_fit(self._engine.state, task, map(parse_task_id, without))

    async def PlanTask(self, request: pb.PlanTaskRequest, context: Any) -> pb.PlanTaskResponse:
        account = principal().account
        spec = self._submission.check(request.spec, account, "spec")
        answer = explaining.plan(explain.plan(self._engine.state, account, spec, self._engine.now()))
        if request.beside:
            answer.beside_nodes.extend(
                rehearse(self._engine.state.cluster, self._shapes(request, account, spec))
            )
        return answer

    def _shapes(self, request: pb.PlanTaskRequest, account: str, spec: Spec) -> list[Shape]:
        """Of the tasks beside it, then its own. Equal specifications are checked once."""
        if len(request.beside) > MOST_BESIDE:
            raise InvalidRequest(
                f"beside: {len(request.beside)} tasks; at most {MOST_BESIDE}", field="beside"
            )
        known: dict[bytes, Shape] = {}
        shapes = []
        for number, each in enumerate(request.beside):
            key = each.SerializeToString(deterministic=True)
            if key not in known:
                known[key] = self._submission.check(each, account, f"beside[{number}]").shape
            shapes.append(known[key])
        return [*shapes, spec.shape]

    async def StreamLogs(
        self, request: pb.StreamLogsRequest, context: Any
    ) -> AsyncIterator[pb.StreamLogsResponse]:
        key = parse_task_id(request.task_id)
        caller = principal()
        await self._tasks.get(key, caller)
        async for response in self._logs.follow(key, request, caller):
            yield response

    async def _own(self, request_id: str, task_ids: Sequence[str]) -> tuple[int, ...]:
        """The keys of tasks that the caller may move. Raises if one is not there for them."""
        check_request_id(request_id)
        if not task_ids or len(task_ids) > MOST_IDS:
            raise InvalidRequest(
                f"task_ids: {len(task_ids)} ids; give 1 to {MOST_IDS}",
                field="task_ids",
                next_step="yard tasks ls",
            )
        keys = tuple(dict.fromkeys(parse_task_id(text, "task_ids") for text in task_ids))
        caller = principal()
        for key in keys:
            task = self._engine.state.tasks.get(key)
            if task is None or (task.account != caller.account and caller.role != ADMIN):
                await self._tasks.get(key, caller)
        return keys


def _has_ended(task: pb.Task) -> bool:
    return task.state in (pb.TASK_STATE_SUCCEEDED, pb.TASK_STATE_FAILED, pb.TASK_STATE_CANCELLED)


def _seconds(duration: Duration, otherwise: float) -> float:
    seconds = duration.seconds + duration.nanos / 1e9
    return seconds if seconds >= 0 else otherwise
