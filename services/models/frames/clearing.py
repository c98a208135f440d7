"""Frames that are gone are shown for a day, then their rows go."""

from __future__ import annotations

from services.chassis.clock import Clock
from services.models.frames.store import FrameStore

SHOWN_MS = 24 * 3_600_000
ROUND_S = 600.0


class Clearing:
    """`run` is a loop that the service starts."""

    def __init__(self, store: FrameStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        """For ever."""
        while True:
            while await self._store.clear(self._clock.now_ms() - SHOWN_MS):
                pass
            await self._clock.sleep(ROUND_S)
