"""Where nodes have no room for a task: the scheduler is asked whether it would fit without others.

Owns the rounds, and the question. Who is stuck, who might make room and when to ask again is each service's to say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import grpc.aio

from modelyard.v1 import task_pb2, task_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.peers.sessions import on_behalf_of

CALL_S = 5.0

_log = get_logger("seeking_room")


class SeekingRoom(ABC):
    """`run` is a loop that the service starts."""

    def __init__(self, scheduler: grpc.aio.Channel, clock: Clock, round_s: float) -> None:
        self._tasks = task_pb2_grpc.TaskServiceStub(scheduler)
        self._clock = clock
        self._round_s = round_s

    async def run(self) -> None:
        """For ever; a scheduler that does not answer is asked again."""
        while True:
            await self._clock.sleep(self._round_s)
            try:
                await self._round()
            except grpc.aio.AioRpcError as error:
                _log.warning("scheduler_not_asked", code=error.code().name, message=error.details())

    @abstractmethod
    async def _round(self) -> None:
        """Looks for one who is stuck, and hands in who is to make room. Raises AioRpcError."""

    async def _would_fit(self, task: str, without: Sequence[str], account: str) -> bool:
        """Whether the task would have a place at once if those others were gone. Raises AioRpcError."""
        request = task_pb2.ExplainTaskRequest(task_id=task, without=without)
        answer = await self._tasks.ExplainTask(request, metadata=on_behalf_of(account), timeout=CALL_S)
        return answer.fits_without
