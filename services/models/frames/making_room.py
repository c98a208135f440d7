"""Where nodes have no room for a frame: asks the scheduler which idle frames would have to end for it.

Owns when it is asked: not before the scheduler had its own chance, and not again soon for what it has answered.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc.aio

from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.peers.seeking_room import SeekingRoom
from services.models.frames import budget, wanted
from services.models.frames.engine import FrameEngine
from services.models.frames.events import RoomFound
from services.models.frames.model import FrameState
from services.models.frames.state import Frame

ROUND_S = 0.25
PATIENCE_MS = 400
"""So long the scheduler may take to place a frame before others are asked to make room."""
AGAIN_MS = 2_000
CANDIDATES_MOST = 32
_log = get_logger("models.making_room")


class MakingRoom(SeekingRoom):
    """Frames that do not fit, and idle ones."""

    def __init__(self, engine: FrameEngine, scheduler: grpc.aio.Channel, clock: Clock) -> None:
        super().__init__(scheduler, clock, ROUND_S)
        self._engine = engine
        self._asked: dict[int, int] = {}

    async def _round(self) -> None:
        now, frames = self._clock.now_ms(), self._engine.state.frames
        self._asked = {number: at for number, at in self._asked.items() if number in frames}
        if any(one.is_ending for one in frames.values()):
            # What they give may be enough.
            return
        for frame in [*frames.values()]:
            if not self._is_stuck(frame, now):
                continue
            self._asked[frame.number] = now
            others = await self._chosen(frame)
            if others:
                _log.info("room_found", frame=frame.number, others=others)
                self._engine.post(RoomFound(frame.number, others))
                return

    def _is_stuck(self, frame: Frame, now: int) -> bool:
        waits = frame.state is FrameState.PENDING and bool(frame.task) and not frame.at_node
        is_due = now - self._asked.get(frame.number, 0) >= AGAIN_MS
        return waits and now - frame.submit_ms >= PATIENCE_MS and is_due

    async def _chosen(self, frame: Frame) -> tuple[int, ...]:
        """The fewest of those that are unused longest; none where all would not be enough."""
        counts, _ = wanted.kept(self._engine.state)
        open_to = budget.evictable(self._engine.state, counts, self._clock.now_ms())[:CANDIDATES_MOST]
        open_to = [one for one in open_to if one.task]
        if not open_to or not await self._fits(frame, open_to):
            return ()
        low, high = 1, len(open_to)
        while low < high:
            middle = (low + high) // 2
            if await self._fits(frame, open_to[:middle]):
                high = middle
            else:
                low = middle + 1
        # The last one was needed; those before it may not have been.
        chosen = open_to[:low]
        if low > 1 and await self._fits(frame, chosen[-1:]):
            chosen = chosen[-1:]
        return tuple(one.number for one in chosen)

    async def _fits(self, frame: Frame, without: Sequence[Frame]) -> bool:
        return await self._would_fit(frame.task, [one.task for one in without], frame.shape.account)
