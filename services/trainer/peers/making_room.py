"""Asks the scheduler whether others' places would be enough for a job that waits, and hands in who is to make room.

Owns when it is asked: not before the scheduler had its own chance, and not again soon for what it has answered.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc.aio

from modelyard.v1 import task_pb2, task_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.peers.sessions import on_behalf_of
from services.trainer.engine import Engine
from services.trainer.jobs import preempting
from services.trainer.jobs.preempting import Wish
from services.trainer.state.events import RoomFound

ROUND_S = 1.0
AGAIN_MS = 15_000
"""The same question about the same others is asked again: what the nodes hold may have changed."""
WISHES_MOST = 8
"""Of one round."""
CALL_S = 5.0

_log = get_logger("trainer.making_room")


class MakingRoom:
    """`run` is a loop that the service starts."""

    def __init__(self, engine: Engine, scheduler: grpc.aio.Channel, clock: Clock) -> None:
        self._engine = engine
        self._tasks = task_pb2_grpc.TaskServiceStub(scheduler)
        self._clock = clock
        self._asked: dict[Wish, int] = {}
        """When: in the round in which a wish is new nothing is asked."""

    async def run(self) -> None:
        """For ever; a scheduler that does not answer is asked again."""
        while True:
            await self._clock.sleep(ROUND_S)
            try:
                await self._round()
            except grpc.aio.AioRpcError as error:
                _log.warning("scheduler_not_asked", code=error.code().name, message=error.details())

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
            answer = await self._would_fit(wish, asked)

    async def _would_fit(self, wish: Wish, others: Sequence[int]) -> bool:
        state = self._engine.state
        if any(number not in state.jobs for number in others):
            return False
        request = task_pb2.ExplainTaskRequest(task_id=wish.task, without=preempting.seats_of(state, others))
        answer = await self._tasks.ExplainTask(request, metadata=on_behalf_of(wish.account), timeout=CALL_S)
        return answer.fits_without
