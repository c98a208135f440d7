"""Texts that take long to judge are judged beside the event loop: whoever sends one waits for it, nobody else does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SMALL_CHARACTERS = 16_000
"""Judged within about 15 ms, whatever is written there: at once."""


class LargeTexts:
    """One at a time: what hostile files cost, they cost each other."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(1)

    async def judge(self, text: str, work: Callable[[], T]) -> T:
        """The result of pure work on a text, or what it raises. Who is cancelled leaves it to end by itself."""
        if len(text) <= SMALL_CHARACTERS:
            return work()
        async with self._turn:
            return await asyncio.to_thread(work)
