"""The request that the present RPC makes: what changes because of it is remembered together with its id.

`answers.Answers` sets the mark around a handler, `Answers.keep` takes it, and so does whoever changes things otherwise.
Pure but for the context variable.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from services.chassis.errors import AlreadyExists, InvalidArgument

T = TypeVar("T")
# Keeps an answer, made of what a change made, in the change's transaction: its last step.
Kept = Callable[[sqlite3.Connection, T], None]


class RequestIdReused(AlreadyExists):
    """This request_id was used before, with other content."""


class RequestIdInvalid(InvalidArgument):
    """A request id is a UUID."""


def nothing_kept(connection: sqlite3.Connection, made: object) -> None:
    """Nobody will ask again."""


class Mark:
    """One request of one account. It marks the first change of its RPC; what follows that one is not marked."""

    __slots__ = ("_is_free", "account", "content", "is_kept", "request_id")

    def __init__(self, account: str, request_id: str, content: bytes) -> None:
        self.account = account
        self.request_id = request_id
        # sha256 of who asks for what.
        self.content = content
        # Whether the answer is on disk already, with the change that it tells of.
        self.is_kept = False
        self._is_free = True

    def take(self) -> bool:
        """Whether what is changed now is to be marked: the first who asks is told so."""
        is_free, self._is_free = self._is_free, False
        return is_free

    def end(self) -> None:
        """The RPC is over: nothing that it left behind is marked."""
        self._is_free = False


_mark: ContextVar[Mark | None] = ContextVar("yard_mark", default=None)


def current() -> Mark | None:
    """The mark of the RPC that this code runs for; None: it made no promise."""
    return _mark.get()


@contextmanager
def marking(mark: Mark) -> Iterator[None]:
    """Marks what the block changes."""
    token = _mark.set(mark)
    try:
        yield
    finally:
        mark.end()
        _mark.reset(token)


@contextmanager
def unmarked() -> Iterator[None]:
    """For an event that is only a step on the way: the promise is kept by what follows it."""
    token = _mark.set(None)
    try:
        yield
    finally:
        _mark.reset(token)
