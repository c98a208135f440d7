"""The clock that tests turn by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class FakeClock:
    """A clock that stands still until `advance` is called; sleepers wake in the order of their times."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic_ms = 0
        self._order = itertools.count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_ms(self) -> int:
        return self._monotonic_ms

    def jump(self, milliseconds: int) -> None:
        """Move wall time only, as a clock correction does; monotonic time and sleepers do not notice."""
        self._now_ms += milliseconds

    def turn(self, milliseconds: int) -> None:
        """Move both clocks without letting anything run; for synchronous tests."""
        self._now_ms += milliseconds
        self._monotonic_ms += milliseconds

    async def advance(self, milliseconds: int) -> None:
        """Move both clocks, stopping at each sleeper's time and letting it run there."""
        end_ms = self._monotonic_ms + milliseconds
        await _let_run()
        while self._sleepers and self._sleepers[0][0] <= end_ms:
            due_ms, _, waiter = heapq.heappop(self._sleepers)
            self.turn(max(0, due_ms - self._monotonic_ms))
            if not waiter.done():
                waiter.set_result(None)
                await _let_run()
        self.turn(end_ms - self._monotonic_ms)
        await _let_run()

    async def sleep(self, seconds: float) -> None:
        waiter = asyncio.get_running_loop().create_future()
        due_ms = self._monotonic_ms + round(seconds * 1000)
        heapq.heappush(self._sleepers, (due_ms, next(self._order), waiter))
        await waiter


async def _let_run() -> None:
    """Give every ready task, and what it makes ready, a few turns of the event loop."""
    for _ in range(10):
        await asyncio.sleep(0)
