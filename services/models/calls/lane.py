"""One version while it is called: who waits, which frames are there, and who goes into which when."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

from services.chassis.errors import ServiceError
from services.chassis.logs import get_logger
from services.models.calls.call import Call
from services.models.calls.door import Computation, Door
from services.models.calls.errors import FramesUnknown, QueueFull
from services.models.calls.line import Line
from services.models.calls.statistics import Statistics
from services.models.seams import FrameSource, VersionKey

AHEAD = 1
"""Computations that are handed to a frame before it has ended those that it is at, so that it need not wait. None where
calls are computed together: more of them come together meanwhile. And none where to know whether a call has begun
decides whether it may be computed again."""
ASK_MORE_S = 0.1
"""Whoever waits so long although frames are there is a reason to ask for one more."""
ASK_AGAIN_S = 0.5
CLOCK_S = 0.001
"""A timer may be early by so much."""
IDLE_S = 0.05
"""A frame without a call for so long is told to be idle."""

_log = get_logger("models.lane")


class Lane:
    """Of one revision of one version."""

    def __init__(
        self, key: VersionKey, source: FrameSource, statistics: Statistics, now_ms: Callable[[], int]
    ) -> None:
        self.key = key
        self.line = Line()
        self.doors: dict[int, Door] = {}
        self.statistics = statistics
        self._source = source
        self._now_ms = now_ms
        self._loop = asyncio.get_running_loop()
        self._asking: asyncio.Task[None] | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._route: Any = None
        self._is_pumping = False
        self._resting: set[int] = set()

    @property
    def is_idle(self) -> bool:
        """Nobody waits, and no frame is there."""
        return not self.line and not self.doors and self._asking is None

    def enter(self, call: Call) -> None:
        """At once into a frame, else into the queue. Raises QueueFull."""
        self._route = route = call.route
        call.lane = self
        if not len(self.line) and route.max_batch <= 1:
            door = self._free_door()
            if door is not None:
                self._send(door, [call])
                return
        if len(self.line) >= route.queue_most:
            raise QueueFull(
                f"{route.queue_most} calls of {self.key.model} version {self.key.version} wait already",
                next_step="repeat in a moment; serving.queue and serving.instances of model.yaml allow more",
                metadata={"model": self.key.model, "queue_most": str(route.queue_most)},
            )
        self.line.push(call)
        if route.max_batch <= 1:
            self.pump()
        elif not self._is_pumping:
            # Those that came in the same turn of the loop go together.
            self._is_pumping = True
            self._loop.call_soon(self._pump_soon)

    def _pump_soon(self) -> None:
        self._is_pumping = False
        self.pump()

    def left(self, call: Call) -> None:
        """The caller of one that waits is gone."""
        call.lane = None
        self.line.left(call)

    def pump(self) -> None:
        """Whatever may go into a frame goes now."""
        # Not by its count: a caller may be gone whose leaving has not been told yet.
        while self.line.first() is not None:
            door = self._free_door()
            if door is None:
                self._ask()
                return
            if self._is_gathering():
                return
            self._send(door, self.line.take(self._route.max_batch))

    def _is_gathering(self) -> bool:
        """Whether the next batch waits for more; then it is looked at again in time."""
        route = self._route
        if not route.batch_delay_ms or self.line.rows >= route.max_batch:
            return False
        first = self.line.first()
        if first is None:
            return False
        until = first.entered + route.batch_delay_ms / 1000
        if not first.asked.rows or until <= self._loop.time():
            return False
        if self._pause is None or self._pause.when() > until:
            if self._pause is not None:
                self._pause.cancel()
            self._pause = self._loop.call_at(until, self._gathered)
        return True

    def _gathered(self) -> None:
        self._pause = None
        self.pump()

    def _free_door(self) -> Door | None:
        """The least busy frame that takes one more computation."""
        config = self._route.served.config
        is_ahead = self._route.max_batch <= 1 and config.serving.is_idempotent
        room = config.runtime.threads + (AHEAD if is_ahead else 0)
        best = None
        for frame in self._source.ready(self.key):
            door = self.doors.get(frame.number)
            if door is None or not door.is_loaded or door.is_draining:
                continue
            if door.computation_count < room and (
                best is None or door.computation_count < best.computation_count
            ):
                best = door
        return best

    def _send(self, door: Door, calls: list[Call]) -> None:
        for call in calls:
            call.lane = None
        door.send(calls, self._loop.time(), time.perf_counter_ns())
        self._source.used(door.number, door.active_count, self._now_ms())

    def _has_doors(self) -> bool:
        return any(frame.number in self.doors for frame in self._source.ready(self.key))

    def _ask(self) -> None:
        """For a frame, or for one more, once at a time."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_while_needed(), name=f"ask-{self.key.model}")
            self._asking.add_done_callback(self._asked)

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if task.cancelled():
            return
        if task.exception() is not None:
            _log.error("asking_for_a_frame_crashed", model=self.key.model, exc_info=task.exception())
            self._fail(FramesUnknown())
        # Who came between its last look and this one has asked for nothing yet.
        self.pump()

    async def _ask_while_needed(self) -> None:
        while (first := self.line.first()) is not None:
            now = self._loop.time()
            if self._has_doors() and now - first.entered < ASK_MORE_S:
                await asyncio.sleep(ASK_MORE_S)
                continue
            until = self._latest()
            try:
                await self._source.wanted(self._route, max(0.001, until - now))
            except ServiceError as error:
                if not self._has_doors():
                    is_late = self._loop.time() >= until - CLOCK_S
                    # Who came meanwhile may have more time than those for whom it was asked.
                    self._fail(error, until if is_late else math.inf)
                    continue
            self.pump()
            if len(self.line):
                await asyncio.sleep(ASK_AGAIN_S)

    def _latest(self) -> float:
        return max((call.deadline for call in self.line), default=0.0)

    def _fail(self, error: ServiceError, until: float = math.inf) -> None:
        """Nobody will answer those that wait, and have no more time than until then."""
        for call in self.line:
            if call.deadline <= until:
                self.left(call)
                if not call.answer.done():
                    call.answer.set_exception(error)

    # What doors tell.

    def opened(self, door: Door, header: dict[str, Any]) -> None:
        self._source.loaded(
            door.number,
            float(header.get("load_s", 0.0)),
            int(header.get("memory_bytes", 0)),
            str(header.get("golden_digest") or ""),
        )
        self.statistics.memory_bytes = int(header.get("memory_bytes", 0))
        self.pump()

    def refused(self, door: Door, header: dict[str, Any]) -> None:
        self._source.unloadable(
            door.number,
            str(header.get("code") or "INTERNAL"),
            str(header.get("field") or ""),
            str(header.get("message") or ""),
        )

    def freed(self, door: Door) -> None:
        if len(self.line):
            self.pump()
        if door.active_count:
            self._source.used(door.number, door.active_count, self._now_ms())
        elif door.number not in self._resting:
            # Between two calls of one caller a frame is not idle yet, and whoever hears of it decides about room.
            self._resting.add(door.number)
            self._loop.call_later(IDLE_S, self._rested, door.number)

    def _rested(self, number: int) -> None:
        self._resting.discard(number)
        # By its number: it may be another process of the same frame by now.
        door = self.doors.get(number)
        if door is not None and not door.active_count:
            self._source.used(number, 0, self._now_ms())

    def lost(self, door: Door, why: str) -> None:
        self._source.gone(door.number, why)

    def again(self, call: Call) -> None:
        call.lane = self
        self._route = self._route or call.route
        self.line.push(call)
        self._loop.call_soon(self.pump)

    def answered(self, call: Call, computation: Computation, header: dict[str, Any]) -> None:
        self.statistics.computed(
            call.asked.rows or 1, computation.rows, computation.left == 1, header.get("times_ns") or {}
        )

    async def close(self) -> None:
        """The service ends."""
        if self._pause is not None:
            self._pause.cancel()
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        for door in list(self.doors.values()):
            await door.close()
        self._fail(FramesUnknown("the models service ends", next_step="repeat the call in a moment"))
