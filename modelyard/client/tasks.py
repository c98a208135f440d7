"""`client.tasks`: submit, get, list, watch, wait, modify, move (cancel, hold, suspend …), retry, explain, logs."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from modelyard.client.connection import Connection, new_request_id
from modelyard.client.outcomes import ENDED
from modelyard.client.specs import duration, encode_params
from modelyard.errors import YardError
from modelyard.v1 import task_pb2, task_pb2_grpc

LONGEST_WAIT_S = 60.0
"""Of one WaitTask call; longer waits repeat it."""


class Tasks:
    """The tasks of the caller's account."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def _stub(self) -> task_pb2_grpc.TaskServiceAsyncStub:
        return task_pb2_grpc.TaskServiceStub(self._connection.scheduler())

    async def submit(
        self,
        *specs: task_pb2.TaskSpec,
        items: Sequence[task_pb2.TaskItem] = (),
        request_id: str = "",
        validate_only: bool = False,
    ) -> list[str]:
        """Submits tasks, all or none; their ids, once they are on disk. Without items each specification is a task.
        Idempotent by request_id."""
        request = task_pb2.SubmitTasksRequest(
            request_id=request_id or new_request_id(), specs=specs, items=items, validate_only=validate_only
        )
        response = await self._connection.unary(self._stub.SubmitTasks, request)
        return list(response.task_ids)

    async def get(self, task_id: str) -> task_pb2.Task:
        """The task with its history."""
        request = task_pb2.GetTaskRequest(task_id=task_id)
        return (await self._connection.unary(self._stub.GetTask, request)).task

    async def list(
        self, filter: task_pb2.TaskFilter | None = None, *, page_size: int = 0, page_token: str = ""
    ) -> task_pb2.ListTasksResponse:
        """One page, newest first: what is active and what ended within a day, unless the filter says more."""
        request = task_pb2.ListTasksRequest(filter=filter, page_size=page_size, page_token=page_token)
        return await self._connection.unary(self._stub.ListTasks, request)

    async def watch(self, *task_ids: str, revision: int = 0) -> AsyncGenerator[task_pb2.Task, None]:
        """Every change after a revision, without gap or repeat, also over a lost connection."""
        seen = revision

        def begin() -> object:
            return self._stub.WatchTasks(task_pb2.WatchTasksRequest(revision=seen, task_ids=task_ids))

        async for response in self._connection.stream(begin):
            for task in response.tasks:
                yield task
            seen = max(seen, response.revision)

    async def wait(self, task_id: str, timeout_s: float | None = None) -> task_pb2.Task:
        """The ended task. Raises WaitTimedOut when timeout_s is over; the task goes on."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = LONGEST_WAIT_S if deadline is None else max(deadline - time.monotonic(), 0.0)
            request = task_pb2.WaitTaskRequest(task_id=task_id)
            request.wait_timeout.CopyFrom(duration(min(left_s, LONGEST_WAIT_S), "wait_timeout"))
            response = await self._connection.unary(self._stub.WaitTask, request, LONGEST_WAIT_S + 30)
            if response.ended or response.task.state in ENDED:
                return response.task
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimedOut(task_id)

    async def modify(
        self,
        task_id: str,
        *,
        params: Mapping[str, Any] | None = None,
        priority: int | None = None,
        run_timeout: float | str | None = None,
        queue_timeout: float | str | None = None,
        labels: Mapping[str, str] | None = None,
        attachments: Iterable[task_pb2.Attachment] | None = None,
        resources: task_pb2.Resources | None = None,
        revision: int = 0,
        request_id: str = "",
    ) -> task_pb2.ModifyTaskResponse:
        """Changes a task that waits or runs; what is None stays. The task, and a verdict for each field.

        Parameters, labels, attachments (see `client.artifacts.attachment`; by path) and resources are laid over the
        present ones; a label of "" and an attachment without a digest are taken away, a timeout of 0 is none.
        ``revision``: only if the task has not changed since; 0: in any case. Idempotent by request_id.
        """
        request = task_pb2.ModifyTaskRequest(
            request_id=request_id or new_request_id(), task_id=task_id, revision=revision
        )
        set_changes(
            request,
            params=params,
            priority=priority,
            run_timeout=run_timeout,
            queue_timeout=queue_timeout,
            labels=labels,
            attachments=attachments,
            resources=resources,
        )
        return await self._connection.unary(self._stub.ModifyTask, request)

    async def modify_all(
        self,
        filter: task_pb2.TaskFilter | None = None,
        *,
        all_tasks: bool = False,
        validate_only: bool = False,
        params: Mapping[str, Any] | None = None,
        priority: int | None = None,
        run_timeout: float | str | None = None,
        queue_timeout: float | str | None = None,
        labels: Mapping[str, str] | None = None,
        attachments: Iterable[task_pb2.Attachment] | None = None,
        resources: task_pb2.Resources | None = None,
        request_id: str = "",
    ) -> Sequence[task_pb2.ModifiedTask]:
        """Changes every unfinished task that meets the filter, all or none; each with its verdicts.

        The changes are those of `modify`. ``all_tasks``: without a filter. ``validate_only``: what would become of
        them; nothing is changed. At most 10,000 tasks. Idempotent by request_id.
        """
        request = task_pb2.ModifyTasksRequest(
            request_id=request_id or new_request_id(),
            filter=filter,
            all_tasks=all_tasks,
            validate_only=validate_only,
        )
        set_changes(
            request,
            params=params,
            priority=priority,
            run_timeout=run_timeout,
            queue_timeout=queue_timeout,
            labels=labels,
            attachments=attachments,
            resources=resources,
        )
        return (await self._connection.unary(self._stub.ModifyTasks, request)).tasks

    async def cancel(
        self, *task_ids: str, grace_s: float | None = None, comment: str = ""
    ) -> Sequence[task_pb2.Task]:
        """Asks tasks to end: SIGTERM, and SIGKILL after the grace. An ended task stays as it is."""
        request = task_pb2.CancelTasksRequest(request_id=new_request_id(), task_ids=task_ids, comment=comment)
        if grace_s is not None:
            request.grace.CopyFrom(duration(grace_s, "grace"))
        return (await self._connection.unary(self._stub.CancelTasks, request)).tasks

    async def hold(self, *task_ids: str) -> Sequence[task_pb2.Task]:
        """Keeps queued tasks from starting."""
        request = task_pb2.HoldTasksRequest(request_id=new_request_id(), task_ids=task_ids)
        return (await self._connection.unary(self._stub.HoldTasks, request)).tasks

    async def release(self, *task_ids: str) -> Sequence[task_pb2.Task]:
        """Lets held tasks start again."""
        request = task_pb2.ReleaseTasksRequest(request_id=new_request_id(), task_ids=task_ids)
        return (await self._connection.unary(self._stub.ReleaseTasks, request)).tasks

    async def suspend(self, *task_ids: str) -> Sequence[task_pb2.Task]:
        """Stops running tasks where they are; they keep their node and what they hold. Waiting ones are held."""
        request = task_pb2.SuspendTasksRequest(request_id=new_request_id(), task_ids=task_ids)
        return (await self._connection.unary(self._stub.SuspendTasks, request)).tasks

    async def resume(self, *task_ids: str) -> Sequence[task_pb2.Task]:
        """Lets suspended tasks go on, and held ones start."""
        request = task_pb2.ResumeTasksRequest(request_id=new_request_id(), task_ids=task_ids)
        return (await self._connection.unary(self._stub.ResumeTasks, request)).tasks

    async def retry(self, *task_ids: str, failed_only: bool = False) -> Sequence[str]:
        """Submits ended tasks again, as new tasks; their ids in the order of the old ones.

        Elements keep their index in a new array. ``failed_only``: of arrays what did not succeed.
        """
        request = task_pb2.RetryTasksRequest(
            request_id=new_request_id(), task_ids=task_ids, failed_only=failed_only
        )
        return (await self._connection.unary(self._stub.RetryTasks, request)).task_ids

    async def explain(self, task_id: str) -> task_pb2.ExplainTaskResponse:
        """Why it waits, node by node, or why it is where it is."""
        request = task_pb2.ExplainTaskRequest(task_id=task_id)
        return await self._connection.unary(self._stub.ExplainTask, request)

    async def plan(self, spec: task_pb2.TaskSpec) -> task_pb2.PlanTaskResponse:
        """What would become of a specification if it were submitted now. Nothing is kept of it."""
        return await self._connection.unary(self._stub.PlanTask, task_pb2.PlanTaskRequest(spec=spec))

    async def logs(
        self, task_id: str, *, attempt: int = 0, follow: bool = False
    ) -> AsyncGenerator[task_pb2.StreamLogsResponse, None]:
        """What it wrote, in order of each stream; with follow to the very last byte.

        A lost connection goes on where it broke: no byte is missing or repeated.
        """
        position = _LogPosition(task_id, attempt, follow)
        async for chunk in self._connection.stream(position.begin(self._logs)):
            if position.take(chunk):
                yield chunk

    def _logs(self, request: task_pb2.StreamLogsRequest) -> object:
        return self._stub.StreamLogs(request)


def set_changes(
    request: task_pb2.ModifyTaskRequest | task_pb2.ModifyTasksRequest,
    *,
    params: Mapping[str, Any] | None,
    priority: int | None,
    run_timeout: float | str | None,
    queue_timeout: float | str | None,
    labels: Mapping[str, str] | None,
    attachments: Iterable[task_pb2.Attachment] | None,
    resources: task_pb2.Resources | None,
) -> None:
    """What is not None is to change; its path is in the mask."""
    changes, paths = request.changes, request.update_mask.paths
    if params is not None:
        changes.params_json = encode_params(params)
        paths.append("params_json")
    if priority is not None:
        changes.priority = priority
        paths.append("priority")
    for name, value in (("queue_timeout", queue_timeout), ("run_timeout", run_timeout)):
        if value is not None:
            path = f"timeouts.{name}"
            getattr(changes.timeouts, name).CopyFrom(duration(value, path))
            paths.append(path)
    if labels is not None:
        changes.labels.update(labels)
        paths.append("labels")
    if attachments is not None:
        changes.attachments.extend(attachments)
        paths.append("attachments")
    if resources is not None:
        changes.resources.CopyFrom(resources)
        paths.append("resources")


class _LogPosition:
    """How far a follower has come."""

    def __init__(self, task_id: str, attempt: int, follow: bool) -> None:
        self._request = task_pb2.StreamLogsRequest(task_id=task_id, attempt=attempt, follow=follow)
        self._attempt = attempt

    def begin(self, open_stream: Callable[[task_pb2.StreamLogsRequest], object]) -> Callable[[], object]:
        return lambda: open_stream(self._request)

    def take(self, chunk: task_pb2.StreamLogsResponse) -> bool:
        """Remembers the end of a chunk; False if it was had before."""
        request = self._request
        if chunk.attempt != self._attempt:
            self._attempt = chunk.attempt
            request.stdout_offset = request.stderr_offset = 0
        error = chunk.stream == task_pb2.LOG_STREAM_STDERR
        position = request.stderr_offset if error else request.stdout_offset
        end = chunk.offset + len(chunk.data)
        if end <= position and chunk.data:
            return False
        if error:
            request.stderr_offset = end
        else:
            request.stdout_offset = end
        return True


class WaitTimedOut(YardError):
    """A wait is over before the task was."""

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"task {task_id} has not ended yet",
            code="DEADLINE_EXCEEDED",
            reason="WAIT_TIMED_OUT",
            next_step=f"yard tasks explain {task_id}",
        )
