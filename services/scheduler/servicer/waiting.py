"""Waiting for the end of one task."""

import asyncio

from services.scheduler.engine import Engine
from services.scheduler.state.effects import RecordChange


class Waiter:
    """Follows one task until it ends."""

    def __init__(self, engine: Engine, key: int) -> None:
        self._engine = engine
        self._key = key
        self._ended = asyncio.Event()

    def on_outcome(self, outcome: RecordChange) -> None:
        self._ended.set()

    async def wait(self, timeout_s: float) -> bool:
        """True when the task has ended within the time, or before."""
        if not self._engine.follow(self._key, self):
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:
            return False
        finally:
            self._engine.unfollow(self._key, self)
        return True
