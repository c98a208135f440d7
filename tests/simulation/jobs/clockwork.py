"""An event loop whose time passes only when nobody has anything to do: seconds cost nothing, and a seed is a story."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any


class Deadlock(AssertionError):
    """Everybody waits, and nothing will ever happen."""


class Died(BaseException):
    """The process is gone: nobody may catch it."""


def is_death(error: BaseException | None) -> bool:
    """Whether it is nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_death, error.exceptions))
    return isinstance(error, Died)


class _Nothing(selectors.BaseSelector):
    """No file is ever ready; waiting for one is how time passes."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, 0, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("nothing will ever happen again")
        self.now_s += max(0.0, timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class Clockwork(asyncio.SelectorEventLoop):
    """Virtual time. Threads and files have no place in it."""

    def __init__(self) -> None:
        self._nothing = _Nothing()
        super().__init__(self._nothing)
        self.unhandled: list[BaseException] = []
        self.set_exception_handler(self._note)

    def time(self) -> float:
        return self._nothing.now_s

    def _note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception") or AssertionError(context["message"])
        if not is_death(error):
            self.unhandled.append(error)


class LoopClock:
    """`services.chassis.clock.Clock` on it."""

    START_MS = 1_700_000_000_000

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return self.START_MS + int(self._loop.time() * 1000)

    def monotonic_ms(self) -> int:
        return int(self._loop.time() * 1000)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
