"""Many calls on one stream: computed at the same time, answered in the order in which they were asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from modelyard.oip.v2 import inference_pb2 as pb
from modelyard.serving.wire import Message
from services.chassis import logs
from services.chassis.errors import Internal, ServiceError
from services.chassis.rpc.status import shown
from services.chassis.security import Principal
from services.models.calls.errors import CallTooLarge
from services.models.calls.messages import Request, encode_in_stream
from services.models.calls.replies import EMPTY_FINAL, empty_final, reply
from services.models.calls.telling import Telling
from services.models.seams import Served

AT_ONCE_MOST = 64
"""Requests of one stream that are computed, or wait to be answered; beyond them the stream is not read."""
UNREAD_BYTES_MOST = 64 << 20
"""Answers in parts that the caller does not take."""

_log = logs.get_logger("models.streaming")


class StreamedCallCrashed(Internal):
    """The service made a mistake with this request; its log has the details."""


class _Turn:
    """One request, until all of its answers are written."""

    def __init__(self, calls: Telling, caller: Principal, request: Request, left_s: float | None) -> None:
        self._calls = calls
        self._caller = caller
        self._request = request
        self._left_s = left_s
        self._parts: asyncio.Queue[tuple[Served, Message] | None] = asyncio.Queue()
        self._unread_bytes = 0
        self._task = asyncio.create_task(self._run(), name="streamed-call")

    async def _run(self) -> bytes | ServiceError | None:
        """The last answer."""
        try:
            served, message = await self._calls.infer(self._caller, self._request, self._left_s, self._part)
        except ServiceError as error:
            return error
        finally:
            self._parts.put_nowait(None)
        if message.header.get("outputs"):
            return reply(served, self._request, message, is_final=True)
        wants_empty = self._request.message.parameters
        if EMPTY_FINAL in wants_empty and wants_empty[EMPTY_FINAL].bool_param:
            return empty_final(served, self._request)
        return None

    def _part(self, served: Served, message: Message) -> None:
        self._unread_bytes += sum(len(one) for one in message.buffers)
        if self._unread_bytes > UNREAD_BYTES_MOST:
            self._task.cancel()
            return
        self._parts.put_nowait((served, message))

    async def answers(self) -> AsyncIterator[bytes | ServiceError]:
        """One after the other; an error is the last."""
        while (part := await self._parts.get()) is not None:
            served, message = part
            self._unread_bytes -= sum(len(one) for one in message.buffers)
            yield reply(served, self._request, message, is_final=False)
        await asyncio.wait((self._task,))
        if self._task.cancelled():
            yield CallTooLarge(
                f"more than {UNREAD_BYTES_MOST >> 20} MiB of answers wait to be read",
                next_step="read them sooner",
            )
            return
        crash = self._task.exception()
        if crash is not None:
            _log.error("streamed_call_crashed", exc_info=crash)
            yield StreamedCallCrashed()
            return
        last = self._task.result()
        if last is not None:
            yield last

    def leave(self) -> asyncio.Task[bytes | ServiceError | None]:
        """Nobody waits for it any more; what is left of it."""
        self._task.cancel()
        return self._task

    def refused(self, error: ServiceError) -> bytes:
        """An error as an answer: the stream goes on."""
        response = pb.ModelStreamInferResponse(error_message=shown(error.message))
        response.infer_response.id = self._request.message.id
        response.infer_response.model_name = self._request.message.model_name
        for name, value in (
            ("code", error.code), ("reason", error.reason), ("field", error.field), ("next_step", error.next_step),
        ):  # fmt: skip
            if value:
                response.infer_response.parameters[name].string_param = shown(value)
        return response.SerializeToString()


async def answers(
    calls: Telling,
    caller: Principal,
    requests: AsyncIterator[Request],
    left_s: Callable[[], float | None],
    fails_whole: bool,
) -> AsyncGenerator[bytes, None]:
    """Encoded ModelStreamInferResponses. An error is an answer, unless `fails_whole`: then it is raised."""
    turns: asyncio.Queue[_Turn | None] = asyncio.Queue()
    room = asyncio.Semaphore(AT_ONCE_MOST)
    open_turns: set[_Turn] = set()

    async def read() -> None:
        async for request in requests:
            turn = _Turn(calls, caller, request, left_s())
            open_turns.add(turn)
            turns.put_nowait(turn)
            await room.acquire()

    reader = asyncio.create_task(read(), name="stream-reader")
    reader.add_done_callback(lambda _: turns.put_nowait(None))
    try:
        while (turn := await turns.get()) is not None:
            async for answer in turn.answers():
                if isinstance(answer, ServiceError):
                    if fails_whole:
                        raise answer
                    yield turn.refused(answer)
                else:
                    yield encode_in_stream(answer)
            open_turns.discard(turn)
            room.release()
        await reader
    finally:
        reader.cancel()
        # All are cancelled before anything is waited for: whoever waits here may be cancelled as well.
        await asyncio.gather(reader, *[turn.leave() for turn in open_turns], return_exceptions=True)
