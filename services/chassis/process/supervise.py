"""The background loops of a service.

Owns their tasks: a loop that crashes is logged with its reason and stops the whole service, so
that none goes on half alive. Restarting is the business of whoever started the process.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

from services.chassis.errors import StartRefused
from services.chassis.logs import get_logger

_log = get_logger("chassis.supervise")


class Loops:
    """Named loops; the first crash is kept in `crash` and wakes `wait_crashed`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._crashed = asyncio.Event()
        self._closing = False
        self.crash: BaseException | None = None

    def start(self, name: str, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `coro` until it ends, crashes or `close` cancels it. A loop that returns has finished.

        It gets an empty context: one started by an RPC has neither that RPC's caller nor its deadline.
        """
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._watch(name, coro), name=name, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # One that is cancelled before its first turn would never have been awaited.
        task.add_done_callback(lambda _: coro.close())
        return task

    async def _watch(self, name: str, coro: Coroutine[Any, Any, None]) -> None:
        try:
            await coro
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # A refused start is told to the operator in one line; only a defect shows where it is.
            trace = None if isinstance(error, StartRefused) else error
            _log.error("loop_crashed", loop=name, reason=f"{type(error).__name__}: {error}", exc_info=trace)
            self.crash = self.crash or error
            self._crashed.set()

    async def wait_crashed(self) -> BaseException:
        """Return the first crash; waits for ever when there is none. Safe to cancel."""
        await self._crashed.wait()
        assert self.crash is not None
        return self.crash

    async def close(self) -> None:
        """Cancel every loop and wait until all have ended. Idempotent."""
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
