"""What was posted to an engine and is in no step yet, and who waits until it is on disk.

Owns the events, and the futures of those who wait. An engine waits for something to do, then works it off: in steps of
so many events at most, each committed before the next. Whoever waits is let go after the step that emptied the inbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """Of one engine, on its loop. Its length is the number of events that no step has taken."""

    def __init__(self, step_most: int) -> None:
        self.quiet = asyncio.Lock()
        """Held while a step is on its way to the disk, and by whoever shows what is live: what is shown is on disk."""
        self._step_most = step_most
        self._events: list[T] = []
        self._waiting: list[asyncio.Future[None]] = []
        # Set while there is something to work off.
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._events)

    def post(self, event: T) -> None:
        """Takes effect with the next step."""
        self._events.append(event)
        self._wake.set()

    def take(self, most: int) -> list[T]:
        """The oldest, so many at most: they are the next step's."""
        taken, self._events = self._events[:most], self._events[most:]
        return taken

    async def settled(self) -> None:
        """Until what was posted before is on disk. Safe to cancel."""
        if not self._events and not self.quiet.locked():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._wake.set()
        await future

    async def wait(self, most_s: float | None = None) -> bool:
        """Until there is something to work off; False: so long there was nothing."""
        if most_s is None:
            return await self._wake.wait()
        try:
            # wait_for could swallow a cancellation that comes together with an event.
            async with asyncio.timeout(most_s):
                return await self._wake.wait()
        except TimeoutError:
            return False

    async def work_off(self, step: Callable[[list[T]], Awaitable[None]]) -> None:
        """Until nothing is left, what is posted meanwhile included. Raises what a step raises."""
        while self._events or self._waiting:
            events = self.take(self._step_most)
            waiting: list[asyncio.Future[None]] = []
            if not self._events:
                self._wake.clear()
                waiting, self._waiting = self._waiting, []
            async with self.quiet:
                await step(events)
            for future in waiting:
                if not future.done():
                    future.set_result(None)
