"""One `TaskService.Session` stream: submissions in batches, outcomes as they are recorded.

Owns the stream, what was sent and not answered, and which tasks are still open. Whatever is handed in during
one turn of the event loop leaves in one message, as items that share specifications. A stream that breaks is
opened again; unanswered submissions are repeated under the same request id and open tasks are followed, so
nothing is lost and nothing happens twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import grpc

from modelyard.client.connection import Connection, broke_off
from modelyard.errors import YardError, from_rpc_error
from modelyard.v1 import task_pb2, task_pb2_grpc

MOST_ITEMS = 2000
"""Tasks in one message."""
MOST_BYTES = 2 << 20
"""Bytes of parameters and specifications in one message; the server takes less than 4 MiB."""
MOST_UNANSWERED = 8
"""Messages under way; more wait here, so that a long list needs bounded memory in the scheduler."""

# How a stream ends that is being closed on the other side.
_ENDED = frozenset({grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN})


class OutcomeUnknown(YardError):
    """Tasks were handed over, and the connection broke for good before the answer came."""

    def __init__(self, request_id: str, cause: Exception) -> None:
        super().__init__(
            f"it is not known whether the tasks were taken (request {request_id}): {cause}",
            code="UNAVAILABLE",
            reason="OUTCOME_UNKNOWN",
            next_step="submitting again with the same request id is safe; or look: yard tasks ls",
            metadata={"request_id": request_id},
        )


class TaskForgotten(YardError):
    """A task whose outcome was waited for is not there, or not any more."""

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"the scheduler has no task {task_id}: it ended too long ago to be kept, or it is not this account's",
            code="NOT_FOUND",
            reason="TASK_NOT_FOUND",
            next_step="yard tasks ls shows those that are kept; what it computed has to be asked for again",
            metadata={"task_id": task_id},
        )


class Sink(Protocol):
    """Takes what becomes of one part; `index` counts its items."""

    def accepted(self, index: int, task_id: str) -> None: ...
    def ended(self, index: int, outcome: task_pb2.TaskOutcome) -> None: ...
    def refused(self, error: Exception) -> None: ...


class Part:
    """Tasks that were handed in together: one specification, many parameters. At most MOST_ITEMS of them."""

    __slots__ = ("first", "follow", "params", "sink", "size", "spec")

    def __init__(
        self, spec: bytes, params: Sequence[str], sink: Sink, *, first: int = 0, follow: bool = True
    ) -> None:
        self.spec = spec
        self.params = params
        self.sink = sink
        self.first = first
        self.follow = follow
        self.size = len(spec) + sum(map(len, params)) + 8 * len(params)


class _Submission:
    """One SubmitTasksRequest and whom its answer concerns."""

    __slots__ = ("parts", "repeated", "request", "sent", "sequence")

    def __init__(self, parts: list[Part], request: task_pb2.SubmitTasksRequest, sequence: int) -> None:
        self.parts = parts
        self.request = request
        self.sequence = sequence
        self.repeated = False
        self.sent = False


def _request_of(parts: Sequence[Part]) -> task_pb2.SubmitTasksRequest:
    request = task_pb2.SubmitTasksRequest(request_id=str(uuid.uuid4()))
    indexes: dict[bytes, int] = {}
    add = request.items.add
    for part in parts:
        index = indexes.get(part.spec)
        if index is None:
            index = indexes[part.spec] = len(request.specs)
            request.specs.add().ParseFromString(part.spec)
        for params_json in part.params:
            add(spec_index=index, params_json=params_json)
    return request


class TaskSession:
    """The stream of one client. All methods must be called from its event loop; `close` ends everything.

    How long an unreachable scheduler is tried again is the connection's to say; when that is over, everything
    that waits is refused.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: deque[Part] = deque()
        self._unanswered: dict[int, _Submission] = {}
        self._follows: dict[int, list[str]] = {}
        self._open: dict[str, tuple[Sink, int]] = {}
        self._early: dict[str, task_pb2.TaskOutcome] = {}
        self._to_follow: list[str] = []
        self._outbox: deque[task_pb2.SessionRequest] = deque()
        self._wake = asyncio.Event()
        self._sequence = 0
        self._flushing = False
        self._closed = False
        self._heard = False
        self._run: asyncio.Task[None] | None = None

    def submit(self, part: Part) -> None:
        """Hands in a part; its sink hears of it. Returns at once."""
        if self._closed:
            part.sink.refused(YardError("the client is closed", code="CANCELLED", reason="CLIENT_CLOSED"))
            return
        self._waiting.append(part)
        self._soon()

    def follow(self, task_id: str, sink: Sink, index: int = 0) -> None:
        """Asks for the outcome of a task that was submitted elsewhere or before."""
        self._open[task_id] = (sink, index)
        self._to_follow.append(task_id)
        self._soon()

    def forget(self, task_id: str) -> None:
        """Nobody waits for this outcome any more."""
        self._open.pop(task_id, None)

    async def close(self) -> None:
        """Ends the stream; what still waits is refused. Tasks go on. Idempotent."""
        self._closed = True
        if self._run is not None:
            self._run.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._run
            self._run = None
        self._refuse_all(YardError("the client is closed", code="CANCELLED", reason="CLIENT_CLOSED"))

    def _soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Turns what waits into messages, as many as may be under way."""
        self._flushing = False
        while self._waiting and len(self._unanswered) < MOST_UNANSWERED:
            self._post(self._next_parts())
        if self._to_follow:
            for start in range(0, len(self._to_follow), MOST_ITEMS):
                self._post_follow(self._to_follow[start : start + MOST_ITEMS])
            self._to_follow = []
        if self._outbox:
            self._wake.set()
            if self._run is None:
                self._run = asyncio.create_task(self._serve(), name="task-session")
                self._run.add_done_callback(self._on_end)

    def _on_end(self, run: asyncio.Task[None]) -> None:
        """A defect in here must not leave anybody waiting for ever."""
        defect = None if run.cancelled() else run.exception()
        if isinstance(defect, Exception):
            self._give_up(defect)

    def _next_parts(self) -> list[Part]:
        parts = [self._waiting.popleft()]
        count, size = len(parts[0].params), parts[0].size
        while self._waiting:
            count += len(self._waiting[0].params)
            size += self._waiting[0].size
            if count > MOST_ITEMS or size > MOST_BYTES:
                break
            parts.append(self._waiting.popleft())
        return parts

    def _post(self, parts: list[Part]) -> None:
        self._sequence += 1
        submission = _Submission(parts, _request_of(parts), self._sequence)
        self._unanswered[self._sequence] = submission
        self._outbox.append(task_pb2.SessionRequest(sequence=self._sequence, submit=submission.request))

    def _post_follow(self, task_ids: list[str]) -> None:
        self._sequence += 1
        self._follows[self._sequence] = task_ids
        follow = task_pb2.FollowTasks(task_ids=task_ids)
        self._outbox.append(task_pb2.SessionRequest(sequence=self._sequence, follow=follow))

    async def _serve(self) -> None:
        """Keeps a stream open until close; gives up when patience is over."""
        failing_since: float | None = None
        delay_s = 0.05
        while True:
            try:
                await self._converse()
                error: YardError = YardError(
                    "the scheduler ended the session", code="UNAVAILABLE", reason="SESSION_ENDED"
                )
            except grpc.aio.AioRpcError as rpc_error:
                error = from_rpc_error(rpc_error)
                if rpc_error.code() not in _ENDED and not broke_off(error):
                    self._give_up(error)
                    return
            now = time.monotonic()
            if self._heard:
                failing_since, delay_s = None, 0.05
            failing_since = now if failing_since is None else failing_since
            if self._connection.gives_up(now - failing_since + delay_s, error.message):
                self._give_up(error)
                return
            await asyncio.sleep(delay_s * (0.5 + random.random() / 2))
            delay_s = min(delay_s * 2, 2.0)
            self._repeat()

    def _give_up(self, error: Exception) -> None:
        self._run = None
        self._outbox.clear()
        self._refuse_all(error)

    async def _converse(self) -> None:
        self._heard = False
        call = task_pb2_grpc.TaskServiceStub(self._connection.scheduler()).Session()
        writer = asyncio.create_task(self._write(call))
        try:
            async for response in call:
                self._heard = self._connection.reached = True
                self._take(response)
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await writer
            call.cancel()

    async def _write(
        self, call: grpc.aio.StreamStreamCall[task_pb2.SessionRequest, task_pb2.SessionResponse]
    ) -> None:
        while True:
            while self._outbox:
                request = self._outbox.popleft()
                await call.write(request)
                if self._connection.reached and request.sequence in self._unanswered:
                    self._unanswered[request.sequence].sent = True
            self._wake.clear()
            await self._wake.wait()

    def _repeat(self) -> None:
        """What a new stream must be told: unanswered submissions again, and every open task."""
        self._outbox.clear()
        self._follows.clear()
        for submission in self._unanswered.values():
            submission.repeated = True
            self._outbox.append(
                task_pb2.SessionRequest(sequence=submission.sequence, submit=submission.request)
            )
        task_ids = list(self._open)
        self._to_follow = []
        for start in range(0, len(task_ids), MOST_ITEMS):
            self._post_follow(task_ids[start : start + MOST_ITEMS])
        self._wake.set()

    def _take(self, response: task_pb2.SessionResponse) -> None:
        if response.HasField("submitted"):
            self._on_submitted(response.sequence, response.submitted)
        elif response.HasField("refused"):
            self._on_refused(response.sequence, response.refused)
        if response.HasField("outcomes"):
            for outcome in response.outcomes.outcomes:
                waiter = self._open.pop(outcome.task_id, None)
                if waiter is not None:
                    waiter[0].ended(waiter[1], outcome)
                elif self._unanswered:
                    self._early[outcome.task_id] = outcome
        for task_id in response.unknown_task_ids:
            waiter = self._open.pop(task_id, None)
            if waiter is not None:
                waiter[0].refused(TaskForgotten(task_id))

    def _on_submitted(self, sequence: int, answer: task_pb2.SubmitTasksResponse) -> None:
        submission = self._unanswered.pop(sequence, None)
        if submission is None:
            return
        task_ids = iter(answer.task_ids)
        opened = self._open
        for part in submission.parts:
            sink = part.sink
            for index in range(part.first, part.first + len(part.params)):
                task_id = next(task_ids)
                sink.accepted(index, task_id)
                if part.follow and task_id in self._early:
                    sink.ended(index, self._early.pop(task_id))
                elif part.follow:
                    opened[task_id] = (sink, index)
        if not self._unanswered:
            self._early.clear()
        if submission.repeated:
            # The first stream may have been told the outcomes; this one asks for them again.
            self._to_follow.extend(task_id for task_id in answer.task_ids if task_id in opened)
        if self._waiting or self._to_follow:
            self._soon()

    def _on_refused(self, sequence: int, refusal: task_pb2.Refusal) -> None:
        error = YardError(
            refusal.message,
            code=_code_name(refusal.code),
            reason=refusal.reason,
            field=refusal.field,
            next_step=refusal.next_step,
        )
        submission = self._unanswered.pop(sequence, None)
        if submission is not None:
            self._on_submission_refused(submission, error)
        followed = self._follows.pop(sequence, None)
        if followed is not None:
            self._on_follow_refused(followed, error)
        self._soon()

    def _on_submission_refused(self, submission: _Submission, error: YardError) -> None:
        """All or none: strangers that shared a message each get their own answer."""
        if len(submission.parts) == 1:
            submission.parts[0].sink.refused(error)
            return
        for part in submission.parts:
            self._post([part])

    def _on_follow_refused(self, task_ids: list[str], error: YardError) -> None:
        if len(task_ids) > 1:
            middle = len(task_ids) // 2
            self._post_follow(task_ids[:middle])
            self._post_follow(task_ids[middle:])
            return
        waiter = self._open.pop(task_ids[0], None)
        if waiter is not None:
            waiter[0].refused(error)

    def _refuse_all(self, error: Exception) -> None:
        unknown = {
            part.sink: OutcomeUnknown(submission.request.request_id, error)
            for submission in self._unanswered.values()
            for part in submission.parts
            if submission.sent
        }
        parts = [part for submission in self._unanswered.values() for part in submission.parts]
        sinks = [part.sink for part in (*parts, *self._waiting)]
        sinks.extend(sink for sink, _ in self._open.values())
        self._unanswered.clear()
        self._waiting.clear()
        self._open.clear()
        self._follows.clear()
        self._to_follow = []
        for sink in dict.fromkeys(sinks):
            sink.refused(unknown.get(sink, error))


def _code_name(code: int) -> str:
    for status in grpc.StatusCode:
        if status.value[0] == code:
            return status.name
    return "UNKNOWN"
