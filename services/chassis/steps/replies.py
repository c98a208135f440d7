"""Requests that wait for what a step of an engine makes of them: each has a number, which its event carries.

Owns their futures, and what keeps an answer in the transaction of what it tells of (see `answers.py`). A request that
is refused, or whose caller has left, leaves nothing behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Generic, TypeVar

from services.chassis.errors import ServiceError
from services.chassis.requests.marks import Kept

T = TypeVar("T")


class Replies(Generic[T]):
    """Of one engine, on its loop. Its length is the number of requests that wait."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[asyncio.Future[T], Kept[T] | None]] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def new(self, kept: Kept[T] | None = None) -> tuple[int, asyncio.Future[T]]:
        """A number for an event that wants an answer, and the answer to come: raised where it is a refusal.

        `kept` keeps the answer in the transaction of what it tells of. Safe to cancel.
        """
        self._last += 1
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting[self._last] = (future, kept)
        return self._last, future

    def kept(self, given: Iterable[tuple[int, T]]) -> list[tuple[Kept[T], T]]:
        """Of answers by number those that are to be kept, with what keeps each."""
        found = []
        for reply, answer in given:
            _, kept = self._waiting.get(reply, (None, None))
            if kept is not None:
                found.append((kept, answer))
        return found

    def answer(self, reply: int, answer: T, error: ServiceError | None) -> None:
        """After the commit: hands it to whoever waits, if anybody does; with an error the refusal instead."""
        future, _ = self._waiting.pop(reply, (None, None))
        if future is None or future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(answer)
