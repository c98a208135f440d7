"""What operators report of their progress, passed through to whoever watches their run (peer: the scheduler).

Asked for only where somebody watches, and only of nodes that run for a while: short ones are told of at their commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import grpc
import grpc.aio

from modelyard.v1 import task_pb2, task_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.peers.sessions import on_behalf_of
from services.graph.engine import Engine
from services.graph.runs.events import NodeProgressed
from services.graph.runs.places import Place

LOOK_S = 0.5
AGE_MS = 400
"""How long a node has run before it is asked about."""
TASKS_MOST = 1_000
"""Of one account at a time."""

Places = Mapping[str, tuple[int, Place]]
"""By task, the run and the place."""

_log = get_logger("graph.progress")


class Progress:
    """One stream for each account that has something to be watched."""

    def __init__(self, engine: Engine, channel: grpc.aio.Channel, clock: Clock) -> None:
        self._engine = engine
        self._stub = task_pb2_grpc.TaskServiceStub(channel)
        self._clock = clock
        self._streams: dict[str, tuple[Places, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """For ever."""
        try:
            while True:
                self._look()
                await self._clock.sleep(LOOK_S)
        finally:
            for _, stream in self._streams.values():
                stream.cancel()

    def _look(self) -> None:
        wanted = self._engine.watched_tasks(self._clock.now_ms() - AGE_MS, TASKS_MOST)
        for account in [*self._streams]:
            places, stream = self._streams[account]
            if wanted.get(account) != places or stream.done():
                stream.cancel()
                del self._streams[account]
        for account, places in wanted.items():
            if account not in self._streams:
                stream = asyncio.get_running_loop().create_task(self._follow(account, places))
                self._streams[account] = (places, stream)

    async def _follow(self, account: str, places: Places) -> None:
        call = self._stub.WatchTasks(
            task_pb2.WatchTasksRequest(task_ids=sorted(places)), metadata=on_behalf_of(account)
        )
        try:
            async for response in call:
                for task in response.tasks:
                    if task.HasField("progress") and task.id in places:
                        run, place = places[task.id]
                        self._engine.post(
                            NodeProgressed(run, place, task.progress.ratio, task.progress.message)
                        )
        except grpc.aio.AioRpcError as error:
            _log.warning("progress_not_followed", account=account, code=error.code().name)
        finally:
            call.cancel()
