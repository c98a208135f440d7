"""The connection to one frame: dialling it, the calls that are in it, what becomes of them when it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from modelyard.serving.wire import BadMessage, Message, encode
from services.chassis.logs import get_logger
from services.models.calls.call import Call, encoded
from services.models.calls.connection import Connection, connection
from services.models.calls.dialling import Dialler, Unsealed
from services.models.calls.errors import AnswersInParts
from services.models.calls.failing import ended, failure_of, unsendable
from services.models.seams import VersionKey, Way

DIAL_AGAIN_S = (0.005, 0.01, 0.02, 0.05)
"""Between attempts; the last again and again: an environment may be made while it is dialled."""
UNSEALED_S, UNSEALED_AGAIN_S = 5.0, 0.5
"""So long a frame's node may take to show whom it is; between attempts."""
REDIAL_S = 0.5
"""A frame that was there and does not answer for so long is gone."""
WHY_S = 1.0
"""So long callers wait for the reason of a frame's end, which comes another way."""

LEAVING = "UNAVAILABLE"
"""What a frame says that was told to end by somebody else: the call has not begun in it."""

_log = get_logger("models.door")


class Host(Protocol):
    """What a door tells; a lane does."""

    def opened(self, door: Door, header: dict[str, Any]) -> None:
        """The frame has loaded its component, and takes calls."""
        ...

    def refused(self, door: Door, header: dict[str, Any]) -> None:
        """The frame cannot load its component."""
        ...

    def freed(self, door: Door) -> None:
        """A computation has ended in it."""
        ...

    def lost(self, door: Door, why: str) -> None:
        """The frame does not answer any more."""
        ...

    def answered(self, call: Call, computation: Computation, header: dict[str, Any]) -> None:
        """The frame has computed it."""
        ...

    def again(self, call: Call) -> None:
        """The call goes to another frame."""
        ...


class Computation:
    """Calls that were sent as one."""

    __slots__ = ("left", "rows")

    def __init__(self, left: int, rows: int) -> None:
        self.left = left
        self.rows = rows


class Door:
    """One frame."""

    def __init__(
        self, number: int, key: VersionKey, way: Way, secret: str, host: Host, dialler: Dialler
    ) -> None:
        self.number = number
        self.key = key
        self.is_loaded = False
        self.is_draining = False
        self.computation_count = 0
        """That are in it."""
        self._way = way
        self._dialler = dialler
        self._secret = secret
        self._host = host
        self._calls: dict[int, tuple[Call, Computation]] = {}
        self._connection: Connection | None = None
        self._is_ended = False
        self._breaks = 0
        """Of its connection, since it last answered a call."""
        self._why: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._dialling = self._start(self._dial())

    @property
    def active_count(self) -> int:
        """Calls in it."""
        return len(self._calls)

    async def _dial(self, patience_s: float = float("inf"), why: str = "") -> None:
        loop = asyncio.get_running_loop()
        until, unsealed_since = loop.time() + patience_s, 0.0
        attempts = 0
        if self._breaks > 1:
            # It is taken up and dropped again and again: a frame that does not know the secret any more.
            attempts = self._breaks
            await asyncio.sleep(_pause_s(attempts))
        while True:
            try:
                connected = await self._dialler.dial(self._way)
                break
            except Unsealed as error:
                unsealed_since = unsealed_since or loop.time()
                if loop.time() - unsealed_since >= UNSEALED_S:
                    self._refuse(str(error))
                    return
                await asyncio.sleep(UNSEALED_AGAIN_S)
                continue
            except (OSError, ValueError) as error:
                if loop.time() >= until or isinstance(error, ValueError):
                    self._lost(why or str(error))
                    return
            attempts += 1
            await asyncio.sleep(_pause_s(attempts))
        self._connection = connection(connected, self._take, self._broken)
        self._connection.send(encode({"kind": "hello", "secret": self._secret}))

    def _refuse(self, message: str) -> None:
        """Nothing was said to it."""
        if not self._is_ended:
            _log.warning("frame_not_believed", frame=self.number, why=message)
            self._host.refused(self, {"code": "FAILED_PRECONDITION", "message": message})

    def _broken(self, why: str) -> None:
        """A frame that was there closed the connection: it has ended, or the way to it was cut."""
        was_loaded, self.is_loaded, self._connection = self.is_loaded, False, None
        calls, self._calls = self._calls, {}
        self.computation_count = 0
        self._idle.set()
        self._rescue([call for call, _ in calls.values()], why)
        if not self._is_ended:
            self._breaks += 1
            _log.info("frame_connection_lost", frame=self.number, why=why, calls=len(calls))
            patience_s = REDIAL_S if was_loaded else float("inf")
            self._dialling = self._start(self._dial(patience_s, why))
        if calls:
            self._host.freed(self)

    def _rescue(self, calls: list[Call], why: str) -> None:
        """What it had not answered: some of it elsewhere, the rest is told why."""
        doomed = []
        for call in calls:
            call.door = None
            if call.answer.done():
                continue
            call.ended_frames += 1
            if call.may_be_repeated:
                self._host.again(call)
            else:
                doomed.append(call)
        if doomed:
            self._start(self._tell_why(doomed, why))

    async def _tell_why(self, calls: list[Call], why: str) -> None:
        try:
            with contextlib.suppress(TimeoutError):
                why = await asyncio.wait_for(asyncio.shield(self._why), WHY_S) or why
        finally:
            for call in calls:
                if not call.answer.done():
                    call.answer.set_exception(ended(call, why))

    def _lost(self, why: str) -> None:
        if not self._is_ended:
            self._host.lost(self, why)

    def _take(self, message: Message) -> None:
        """Raises BadMessage: what it says makes no sense."""
        try:
            self._taken_in(message)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            _log.warning("frame_speaks_nonsense", frame=self.number, kind=message.kind, exc_info=error)
            raise BadMessage(f"a {message.kind:.20} that makes no sense: {error}") from error

    def _taken_in(self, message: Message) -> None:
        kind = message.kind
        if kind == "result":
            self._answer(message)
        elif kind == "failure":
            self._fail(message.header)
        elif kind == "part":
            self._part(message)
        elif kind == "loaded":
            self.is_loaded = True
            self._host.opened(self, message.header)
        elif kind == "unloadable":
            self._host.refused(self, message.header)

    def _answer(self, message: Message) -> None:
        if not isinstance(message.header.get("outputs"), list) or not isinstance(
            message.header.get("times_ns", {}), dict
        ):
            raise TypeError("it has no outputs, or no times")
        call, computation = self._taken(message.header)
        if call is None or computation is None:
            return
        self._breaks = 0
        if not call.answer.done():
            call.answer.set_result(message)
        self._host.answered(call, computation, message.header)
        self._freed(computation)

    def _fail(self, header: dict[str, Any]) -> None:
        call, computation = self._taken(header)
        if call is None or computation is None:
            return
        self._breaks = 0
        if not call.answer.done():
            if header.get("code") == LEAVING:
                self.is_draining = True
                self._host.again(call)
            else:
                call.answer.set_exception(failure_of(call, header))
        self._freed(computation)

    def _taken(self, header: dict[str, Any]) -> tuple[Call | None, Computation | None]:
        found = self._calls.pop(header.get("id", 0), None)
        if found is None:
            return None, None
        found[0].door = None
        return found

    def _freed(self, computation: Computation) -> None:
        computation.left -= 1
        if computation.left:
            return
        self.computation_count -= 1
        if not self._calls:
            self._idle.set()
        self._host.freed(self)

    def _part(self, message: Message) -> None:
        call, _ = self._calls.get(message.header.get("id", 0), (None, None))
        if call is None or call.answer.done():
            return
        call.part_count += 1
        if call.on_part is not None:
            call.on_part(message)
            return
        if call.answer.done():
            return
        call.answer.set_exception(
            AnswersInParts(
                f"{call.route.served.key.model} answers in parts", next_step="call it by ModelStreamInfer"
            )
        )
        self.cancel(call)

    def send(self, calls: Sequence[Call], now: float, now_ns: int) -> None:
        """Computed as one, answered one by one. What is too large to be sent is refused, or goes by itself."""
        if not self.is_loaded:
            # Its connection was lost while those before were sent.
            for call in calls:
                self._host.again(call)
            return
        try:
            pieces = encoded(calls, now)
        except ValueError as error:
            if len(calls) > 1:
                for call in calls:
                    self.send([call], now, now_ns)
            elif not calls[0].answer.done():
                calls[0].answer.set_exception(unsendable(error))
            return
        computation = Computation(len(calls), 0)
        for call in calls:
            call.door = self
            call.begun_ns = now_ns
            computation.rows += call.asked.rows or 1
            self._calls[call.number] = (call, computation)
        self.computation_count += 1
        self._idle.clear()
        if self._connection is not None:
            self._connection.send(pieces)

    def cancel(self, call: Call) -> None:
        """Nobody waits for it: the frame is told, and its place is free when the frame says so."""
        if call.number in self._calls:
            self._write({"kind": "cancel", "id": call.number})

    def _write(self, header: dict[str, Any]) -> None:
        if self._connection is not None:
            self._connection.send(encode(header))

    async def drain(self, grace_s: float) -> None:
        """No new calls; those that it has are answered, then it is asked to leave."""
        self.is_draining = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), grace_s)
        self._write({"kind": "end"})

    def end(self, why: str) -> None:
        """It has ended. Idempotent."""
        if self._is_ended:
            return
        self._is_ended = True
        self._why.set_result(why)
        self._dialling.cancel()
        if self._connection is not None:
            self._connection.close()
            self._broken(why)

    async def close(self) -> None:
        """The service ends: the frame lives on."""
        self.end("the models service ends")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=f"frame-{self.number}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _pause_s(attempts: int) -> float:
    return DIAL_AGAIN_S[min(attempts, len(DIAL_AGAIN_S)) - 1]
