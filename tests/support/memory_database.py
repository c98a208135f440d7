"""A service's real tables on a real SQLite in memory, where a commit is one instant and nothing is ever waited for."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from services.chassis.storage.sqlite import load_migrations

T = TypeVar("T")


@functools.cache
def _empty(package: str, first: str) -> bytes:
    connection = sqlite3.connect(":memory:")
    for _, script in load_migrations(package):
        connection.executescript(script)
    connection.executescript(first)
    connection.commit()
    image = connection.serialize()
    connection.close()
    return image


def connect(package: str, first: str = "") -> sqlite3.Connection:
    """The tables of a service; ``first`` is executed before anybody sees them."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.deserialize(_empty(package, first))
    return connection


def changed(connection: sqlite3.Connection, change: Callable[[sqlite3.Connection], T]) -> T:
    """What a change gives, in a transaction of its own."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = change(connection)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return result


class MemoryDatabase:
    """`services.chassis.storage.sqlite.Database` without threads: a transaction for each write, at once."""

    def __init__(self, package: str, first: str = "") -> None:
        self.connection = connect(package, first)

    async def write(self, change: Callable[[sqlite3.Connection], T], *, is_small: bool = False) -> T:
        return changed(self.connection, change)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        return query(self.connection)

    async def close(self) -> None:
        self.connection.close()


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        return cast(T, end.value)
    raise AssertionError("something waited, which nothing on a memory database does")
