"""The blocking steps of one transfer: a thread takes one after the other.

Owns their order, which does not hang on who waits for them: a call whose message could not be sent any more is
cancelled while it tidies up.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from typing import Any, TypeVar

T = TypeVar("T")


class InOrder:
    """Steps on shared threads, each after the one before it. For one event loop."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._last: Future[Any] | None = None

    def start(self, step: Callable[[], T]) -> asyncio.Future[T]:
        """Begins when the steps before it have ended, well or not."""
        before = self._last

        def run() -> T:
            # No thread waits for one that is not running: steps begin in the order in which they were given.
            if before is not None:
                wait([before])
            return step()

        self._last = found = self._threads.submit(run)
        return asyncio.wrap_future(found)

    async def end(self, step: Callable[[], None]) -> None:
        """The last step: is taken also where whoever waits for it is cancelled."""
        await asyncio.shield(self.start(step))
