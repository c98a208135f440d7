"""A client's session: submissions in batches, outcomes pushed as they are recorded."""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc

from modelyard.v1 import task_pb2 as pb
from services.chassis.audit.log import note_in_stream
from services.chassis.errors import ServiceError
from services.chassis.security import Principal
from services.scheduler.engine import Engine
from services.scheduler.intake.submission import Submission, content_of, keys_of
from services.scheduler.model import TaskState, format_task_id, parse_task_id
from services.scheduler.notify import notices
from services.scheduler.reading import views
from services.scheduler.reading.tasks import Tasks
from services.scheduler.refusals import TaskNotFound
from services.scheduler.state.effects import RecordChange

MOST_OUTCOMES = 1_000
MESSAGE_BYTES = 2 << 20
MOST_UNDER_WAY = 64
HELD_TASKS = 4
HOLD_S = 0.003
_SUBMIT = "TaskService/SubmitTasks"


class Session:
    """Serves one Session call. Outcomes of what was submitted here come unasked, of the rest after a follow."""

    def __init__(
        self, engine: Engine, tasks: Tasks, submission: Submission, caller: Principal, context: Any
    ) -> None:
        self._engine = engine
        self._tasks = tasks
        self._submission = submission
        self._caller = caller
        self._context = context
        self._outcomes: list[RecordChange] = []
        self._answers: list[pb.SessionResponse] = []
        # The answer to a small submission waits a moment: if its tasks end at once, one message tells both.
        self._held: pb.SessionResponse | None = None
        self._held_timer: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._followed: set[int] = set()
        self._is_closed = False
        self._failure: BaseException | None = None

    def on_outcome(self, outcome: RecordChange) -> None:
        self._followed.discard(outcome.task)
        self._outcomes.append(outcome)
        self._wake.set()

    async def serve(self) -> None:
        """Until the client ends the stream and everything that it asked for is answered."""
        reader = asyncio.get_running_loop().create_task(self._read())
        try:
            await self._write()
            reader.result()
        finally:
            reader.cancel()
            for task in self._under_way:
                task.cancel()
            for key in self._followed:
                self._engine.unfollow(key, self)
            if self._held_timer is not None:
                self._held_timer.cancel()

    async def _read(self) -> None:
        try:
            while isinstance(message := await self._context.read(), pb.SessionRequest):
                while len(self._under_way) >= MOST_UNDER_WAY:
                    await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
                task = asyncio.get_running_loop().create_task(self._handle(message))
                self._under_way.add(task)
                task.add_done_callback(self._on_handled)
            if self._under_way:
                await asyncio.wait(self._under_way)
        finally:
            self._is_closed = True
            self._wake.set()

    def _on_handled(self, task: asyncio.Task[None]) -> None:
        """What could not be answered ends the session: the client is not left waiting."""
        self._under_way.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failure = self._failure or failure
            self._wake.set()

    async def _handle(self, message: pb.SessionRequest) -> None:
        response = pb.SessionResponse(sequence=message.sequence)
        try:
            if message.WhichOneof("message") == "follow":
                keys = [parse_task_id(text, "task_ids") for text in message.follow.task_ids]
                response.unknown_task_ids.extend(await self._follow(keys))
                if response.unknown_task_ids:
                    self._answers.append(response)
                    self._wake.set()
                return
            submit = message.submit
            content = content_of(submit) if submit.request_id else b""
            notices.leave_defaults_out(submit.specs)
            numbers, is_repeat = await self._submission.submit(submit, self._caller.account, self, content)
        except ServiceError as error:
            response.refused.CopyFrom(_refusal(error))
            note_in_stream(_SUBMIT, "", message.submit.request_id, error.code, error.reason)
        else:
            if numbers:
                made = f"tasks/t-{numbers.start}"
                if len(numbers) > 1:
                    made += f"..t-{numbers.stop - 1}"
                note_in_stream(_SUBMIT, made, message.submit.request_id)
            response.submitted.task_ids.extend([f"t-{number}" for number in numbers])
            response.submitted.revision = self._engine.released_revision
            keys = keys_of(numbers)
            if is_repeat:
                response.unknown_task_ids.extend(await self._follow(keys))
            else:
                self._followed.update(keys)
                if len(keys) <= HELD_TASKS:
                    self._hold(response)
                    return
        self._answers.append(response)
        self._wake.set()

    def _hold(self, response: pb.SessionResponse) -> None:
        self._let_go()
        self._held = response
        self._held_timer = asyncio.get_running_loop().call_later(HOLD_S, self._let_go)

    def _let_go(self) -> None:
        """What is held has waited long enough."""
        if (held := self._take_held()) is not None:
            self._answers.append(held)
            self._wake.set()

    def _take_held(self) -> pb.SessionResponse | None:
        held, self._held = self._held, None
        if self._held_timer is not None:
            self._held_timer.cancel()
            self._held_timer = None
        return held

    async def _follow(self, keys: Sequence[int]) -> list[str]:
        """Follows what is unfinished, and tells at once of what is not; ids of those that are not there."""
        ended, unknown = [], []
        for key in keys:
            task = self._engine.state.tasks.get(key)
            if task is not None and task.account == self._caller.account and self._engine.follow(key, self):
                self._followed.add(key)
            else:
                ended.append(key)
        for key in ended:
            try:
                view = await self._tasks.get(key, self._caller)
                if not TaskState(view.state).is_terminal:
                    # Its outcome was being committed when it was looked up.
                    if self._engine.follow(key, self):
                        self._followed.add(key)
                        continue
                    view = await self._tasks.get(key, self._caller)
            except TaskNotFound:
                # Not there for this caller, or forgotten since it ended: there is no outcome to tell.
                unknown.append(format_task_id(key))
                continue
            response = pb.SessionResponse()
            response.outcomes.outcomes.append(views.outcome_of(view))
            self._answers.append(response)
        self._wake.set()
        return unknown

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._failure is not None:
                raise self._failure
            while self._answers or self._outcomes:
                if self._answers:
                    await self._context.write(self._answers.pop(0))
                else:
                    await self._context.write(self._next_outcomes())
            if self._is_closed and not self._followed and self._held is None:
                return

    def _next_outcomes(self) -> pb.SessionResponse:
        """As many of the waiting outcomes as make one message."""
        response = self._take_held() or pb.SessionResponse()
        outcomes = response.outcomes.outcomes
        size = taken = 0
        for change in self._outcomes[:MOST_OUTCOMES]:
            outcomes.append(views.outcome(change))
            taken += 1
            size += len(change.payload)
            if size > MESSAGE_BYTES:
                break
        del self._outcomes[:taken]
        return response


def _refusal(error: ServiceError) -> pb.Refusal:
    return pb.Refusal(
        code=grpc.StatusCode[error.code].value[0], message=error.message, reason=error.reason, field=error.field,
        next_step=error.next_step,
    )  # fmt: skip
