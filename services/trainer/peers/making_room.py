"""Asks the scheduler whether others' places would be enough for a job that waits, and hands in who is to make room.

Owns when it is asked: not before the scheduler had its own chance, and not again soon for what it has answered.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc.aio

from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.peers.seeking_room import SeekingRoom
from services.trainer.engine import Engine
from services.trainer.jobs import preempting
from services.trainer.jobs.preempting import Wish
from services.trainer.state.events import RoomFound

ROUND_S = 1.0
AGAIN_MS = 15_000
"""The same question about the same others is asked again: what the nodes hold may have changed."""
WISHES_MOST = 8
"""Of one round."""

_log = get_logger("trainer.making_room")


class MakingRoom(SeekingRoom):
    """Jobs that wait for places, and those of others."""

    def __init__(self, engine: Engine, scheduler: grpc.aio.Channel, clock: Clock) -> None:
        super().__init__(scheduler, clock, ROUND_S)
        self._engine = engine
        self._asked: dict[Wish, int] = {}
        """When: in the round in which a wish is new nothing is asked."""

    async def _round(self) -> None:
        now = self._clock.now_ms()
        wishes = preempting.wishes(self._engine.state, now)[:WISHES_MOST]
        due = [wish for wish in wishes if now >= self._asked.get(wish, now + 1)]
        self._asked = {wish: self._asked.get(wish, now) for wish in wishes}
        for wish in due:
            self._asked[wish] = now + AGAIN_MS
            others = await self._chosen(wish)
            if others:
                _log.info("room_found", job=wish.job, others=others)
                self._engine.post(RoomFound(wish.job, others))
                return

    async def _chosen(self, wish: Wish) -> tuple[int, ...]:
        choice = preempting.choose(wish.candidates)
        answer: bool | None = None
        while True:
            try:
                asked = next(choice) if answer is None else choice.send(answer)
            except StopIteration as end:
                return tuple(end.value)
            answer = await self._fits(wish, asked)

    async def _fits(self, wish: Wish, others: Sequence[int]) -> bool:
        state = self._engine.state
        if any(number not in state.jobs for number in others):
            return False
        return await self._would_fit(wish.task, preempting.seats_of(state, others), wish.account)
