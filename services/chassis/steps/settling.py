"""Who waits until what was posted to an engine is on disk.

Owns their futures. An engine takes those who wait when the last of its inbox goes into a step, and lets them go
once the step is committed.
"""

from __future__ import annotations

import asyncio


class Waiters:
    """Those who came since the last `take`. Whoever is cancelled meanwhile has left, and hinders nobody."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def join(self) -> asyncio.Future[None]:
        """To be awaited; safe to cancel."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        return future

    def take(self) -> list[asyncio.Future[None]]:
        """All of them, for `let_go` after the commit; who joins from now on waits for the next one."""
        taken, self._waiting = self._waiting, []
        return taken


def let_go(waiting: list[asyncio.Future[None]]) -> None:
    """What they waited for is on disk."""
    for future in waiting:
        if not future.done():
            future.set_result(None)
