"""The scheduler's disk: the real store on a real SQLite in memory, where a commit is one instant.

What was not committed at the instant of a crash was never written. Owns no time: the scheduler's host says when.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar, cast

from services.chassis.sqlite import Database, load_migrations
from services.scheduler.effects import Row
from services.scheduler.events import EndedTask
from services.scheduler.rows import Counters, Recovered
from services.scheduler.store import PACKAGE, SchedulerStore

T = TypeVar("T")


@functools.cache
def _empty() -> bytes:
    connection = sqlite3.connect(":memory:")
    for _, script in load_migrations(PACKAGE):
        connection.executescript(script)
    image = connection.serialize()
    connection.close()
    return image


class MemoryDatabase:
    """`services.chassis.sqlite.Database` without threads: a transaction for each write, at once."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.deserialize(_empty())

    async def write(self, change: Callable[[sqlite3.Connection], T], *, is_small: bool = False) -> T:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            result = change(self.connection)
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")
        return result

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        return query(self.connection)

    async def close(self) -> None:
        self.connection.close()


class Disk:
    """`SchedulerStore` for callers that do not await."""

    def __init__(self) -> None:
        self.database = MemoryDatabase()
        self.store = SchedulerStore(cast(Database, self.database))

    def persist(self, rows: Sequence[Row], counters: Counters, time_ms: int) -> None:
        _finish(self.store.persist(rows, counters, time_ms))

    def begin_epoch(self) -> None:
        _finish(self.store.begin_epoch())

    def recover(self, now_ms: int, most_requests: int, most_changes: int) -> Recovered:
        return _finish(self.store.recover(now_ms, most_requests, most_changes))

    def ended(self, key: int, *, with_elements: bool = False) -> EndedTask:
        return _finish(self.store.get_ended(key, with_elements=with_elements))

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.database.connection.execute(sql, values).fetchall()

    def close(self) -> None:
        self.database.connection.close()


def _finish(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        return cast(T, end.value)
    raise AssertionError("the memory database waited for something")
