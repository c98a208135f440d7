"""Calls, callers and frames that do whatever they like at any moment, from a seed; what must hold afterwards.

Frames are scripted, and the machine around them is as small as it can be: a frame that is gone is closed a little
later, a frame that is wanted comes up, does not come up, or cannot.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from random import Random
from typing import Any

from modelyard.serving.wire import Message
from services.chassis.errors import FailedPrecondition, ServiceError
from services.chassis.security import USER, Principal
from services.models.calls import messages
from services.models.frames.source import LoadTimeout
from services.models.seams import ReadyFrame, Route, Served, Way
from tests.support.inference import raw
from tests.support.scripted_frames import SECRET, CallsWorld, ScriptedFrame, echo_config

ALICE = Principal(USER, account="alice")
DEADLINES_S = (0.001, 0.002, 0.02, 0.2, 30.0, 30.0, 30.0, None)
ENDED = "process ended"


class CannotBeLoaded(FailedPrecondition):
    """It cannot be loaded."""


class Chaos:
    """`step` does one thing; `settle` ends it all in peace and returns what the calls came to."""

    def __init__(self, world: CallsWorld, directory: Path, seed: int, **serving: Any) -> None:
        self.world = world
        self.random = Random(seed)
        self.served: Served = world.versions.add(echo_config(**serving))
        self.frames: dict[int, ScriptedFrame] = {}
        self.calls: set[asyncio.Task[str]] = set()
        self.outcomes: Counter[str] = Counter()
        self._peace = asyncio.Event()
        self._all: list[ScriptedFrame] = []
        self._directory = directory
        self._numbers = 0
        self._beside: set[asyncio.Task[None]] = set()
        world.source.start = self._wanted

    # Who calls.

    def call(self) -> None:
        """One more, with whatever it likes."""
        request = raw(1.0, rows=self.random.choice((1, 1, 1, 2, 5)))
        if self.random.random() < 0.3:
            request.parameters["priority"].uint64_param = self.random.choice((1, 50, 500))
        if self.random.random() < 0.2:
            request.parameters["kind"].int64_param = self.random.randrange(3)
        if self.random.random() < 0.02:
            request.parameters["kind"].string_param = "x" * (17 << 20)
        left_s = self.random.choice(DEADLINES_S)
        takes_parts = self.random.random() < 0.2
        task = asyncio.create_task(self._call(request, left_s, takes_parts))
        self.calls.add(task)
        task.add_done_callback(self._ended)

    async def _call(self, request: Any, left_s: float | None, takes_parts: bool) -> str:
        asked = messages.decode(request.SerializeToString())
        try:
            await self.world.calls.infer(ALICE, asked, left_s, self._part if takes_parts else None)
        except ServiceError as error:
            return error.reason
        return "answered"

    def _part(self, served: Served, message: Message) -> None:
        """A caller that leaves while a part is handed to it."""
        if self.calls and self.random.random() < 0.2:
            self.random.choice(sorted(self.calls, key=id)).cancel()

    def _ended(self, task: asyncio.Task[str]) -> None:
        self.calls.discard(task)
        self.outcomes["left" if task.cancelled() else task.result()] += 1

    def leave(self) -> None:
        """A caller goes; now and then before its own code has run once."""
        if self.calls:
            self.random.choice(list(self.calls)).cancel()

    # What frames do.

    async def add(self) -> ReadyFrame:
        self._numbers += 1
        number = self._numbers
        frame = ScriptedFrame(self._directory / f"{number}.sock")
        await frame.start()
        frame.conduct = lambda head, buffers: self._conduct(frame, head, buffers)
        self.frames[number] = frame
        self._all.append(frame)
        found = ReadyFrame(number=number, key=self.served.key, node="n0")
        self.world.source.frames[number] = found
        self.world.calls.open(number, self.served.key, Way(frame.address), SECRET)
        return found

    async def _conduct(self, frame: ScriptedFrame, head: dict[str, Any], buffers: list[memoryview]) -> None:
        for _ in range(self.random.choice((0, 0, 1, 5, 40))):
            await asyncio.sleep(0)
        what = self.random.random()
        if self._peace.is_set() or what < 0.6:
            frame.answer(head, buffers)
        elif what < 0.7:
            frame.answer(head, buffers, kind="part")
            frame.answer(head, buffers, is_last=True)
        elif what < 0.8:
            frame.fail(
                head, self.random.choice(("INVALID_ARGUMENT", "INTERNAL", "CANCELLED", "NO_SUCH_CODE"))
            )
        elif what < 0.82:
            # Somebody has told it to end, and so it does.
            frame.fail(head, "UNAVAILABLE")
            self._end(next((number for number, one in self.frames.items() if one is frame), 0))
        elif what < 0.84:
            frame.send({"kind": "result", "id": [head["id"]], "outputs": 5})
        elif what < 0.86:
            frame.send({"kind": "result", "id": head["id"], "outputs": [], "times_ns": "soon"})
        elif what < 0.88:
            # Somebody else's, who may be there or not; then its own, twice.
            for number in (head["id"] + 1, head["id"], head["id"]):
                frame.answer({**head, "id": number}, buffers)
        elif what < 0.9:
            frame.cut()
        else:
            # It hangs, until peace comes or somebody ends it.
            await self._peace.wait()
            frame.answer(head, buffers)

    async def _wanted(self, route: Route) -> ReadyFrame:
        what = self.random.random()
        for _ in range(self.random.choice((0, 1, 10))):
            await asyncio.sleep(0)
        if not self._peace.is_set() and what < 0.1:
            raise CannotBeLoaded("no weights")
        if not self._peace.is_set() and what < 0.3:
            await asyncio.sleep(0.005)
            raise LoadTimeout("it was not loaded in time")
        found = next(iter(self.world.source.frames.values()), None)
        return found or await self.add()

    def die(self) -> None:
        """kill -9 of a frame; its end is told a little later."""
        self._end(self._some_frame())

    def _end(self, number: int) -> None:
        if number:
            self._start(self._die(number, self.frames.pop(number)))

    async def _die(self, number: int, frame: ScriptedFrame) -> None:
        is_told_first = self.random.random() < 0.3
        if is_told_first:
            self._close(number)
        await frame.die()
        for _ in range(self.random.choice((0, 3, 30))):
            await asyncio.sleep(0)
        self._close(number)

    def cut(self) -> None:
        """A connection is lost, and the frame lives."""
        number = self._some_frame()
        if number:
            self.frames[number].cut()

    def drain(self) -> None:
        """A frame makes room."""
        number = self._some_frame()
        if number:
            frame = self.frames.pop(number)
            self.world.source.frames.pop(number, None)
            self._start(self._drain(number, frame))

    async def _drain(self, number: int, frame: ScriptedFrame) -> None:
        await self.world.calls.drain(number, self.random.choice((0.0, 0.002, 0.05)))
        self._close(number)
        await frame.die()

    def _close(self, number: int) -> None:
        self.world.source.frames.pop(number, None)
        self.world.calls.close(number, ENDED)

    def _some_frame(self) -> int:
        return self.random.choice(list(self.frames)) if self.frames else 0

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    # The whole.

    async def step(self) -> None:
        """One thing, and whatever of the loop runs after it."""
        what = self.random.random()
        if what < 0.6:
            self.call()
        elif what < 0.8:
            self.leave()
        elif what < 0.82:
            self.die()
        elif what < 0.84:
            self.drain()
        elif what < 0.85:
            self.cut()
        elif what < 0.88 and len(self.frames) < 4:
            await self.add()
        for _ in range(self.random.choice((0, 0, 1, 2, 8))):
            await asyncio.sleep(0)

    async def settle(self) -> None:
        """No more harm: frames answer, and every call comes to its end."""
        self._peace.set()
        await asyncio.gather(*self._beside)
        for _ in range(len(self.frames) // 2):
            self.die()
        await asyncio.gather(*self._beside)
        if self.calls:
            await asyncio.wait(self.calls, timeout=20)

    async def close(self) -> None:
        """Nothing of it stays."""
        for task in [*self.calls, *self._beside]:
            task.cancel()
        await asyncio.gather(*self.calls, *self._beside, return_exceptions=True)
        for frame in self._all:
            await frame.die()
