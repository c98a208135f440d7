"""Calls that are sent to another version as well, whose answers are compared and dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from modelyard.serving.wire import Message
from services.chassis.errors import ServiceError
from services.chassis.security import Principal
from services.models.calls.messages import Request
from services.models.calls.statistics import Statistics
from services.models.seams import Route

AT_ONCE_MOST = 32
"""Beyond it calls are not mirrored: a slow mirror must not hold requests in memory."""


class Mirror:
    """What it finds is counted with the version whose calls are mirrored."""

    def __init__(self, call: Callable[[Route, Principal, Request], Awaitable[Message]]) -> None:
        self._call = call
        self._tasks: set[asyncio.Task[None]] = set()

    def send(
        self, route: Route, caller: Principal, request: Request, answer: Message, statistics: Statistics
    ) -> None:
        """Returns at once."""
        if route.mirror is None:
            return
        if len(self._tasks) >= AT_ONCE_MOST:
            statistics.mirrored["skipped"] += 1
            return
        other = replace(route, served=route.mirror, mirror=None)
        task = asyncio.create_task(self._compare(other, caller, request, answer, statistics), name="mirror")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compare(
        self, route: Route, caller: Principal, request: Request, answer: Message, statistics: Statistics
    ) -> None:
        try:
            other = await self._call(route, caller, request)
        except ServiceError:
            statistics.mirrored["failed"] += 1
            return
        statistics.mirrored["same" if _same(answer, other) else "different"] += 1

    async def close(self) -> None:
        """Those that are under way are given up."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _same(one: Message, other: Message) -> bool:
    """The same outputs of the same types, byte by byte."""
    heads = [(o["name"], o["datatype"], o["shape"]) for o in one.header["outputs"]]
    others = [(o["name"], o["datatype"], o["shape"]) for o in other.header["outputs"]]
    return heads == others and one.buffers == other.buffers
