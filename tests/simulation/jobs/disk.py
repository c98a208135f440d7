"""The trainer's disk, which outlives it: its real tables in a real SQLite in memory, where a commit is one instant."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from services.chassis.sqlite import load_migrations
from tests.simulation.jobs.clockwork import Died

T = TypeVar("T")
PACKAGE = "services.trainer"


@functools.cache
def _empty() -> bytes:
    connection = sqlite3.connect(":memory:")
    for _, script in load_migrations(PACKAGE):
        connection.executescript(script)
    image = connection.serialize()
    connection.close()
    return image


class Disk:
    """What is left when the trainer dies."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.deserialize(_empty())
        self.writer: Handle | None = None
        self.on_commit: Callable[[], None] = lambda: None

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, values).fetchall()

    def close(self) -> None:
        self.connection.close()


class Handle:
    """`services.chassis.sqlite.Database` of one process: without threads, a transaction for each write, at once."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        disk.writer = self

    async def write(self, change: Callable[[sqlite3.Connection], T], *, is_small: bool = False) -> T:
        if self._disk.writer is not self:
            raise Died
        connection = self._disk.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = change(connection)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        self._disk.on_commit()
        return result

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        return query(self._disk.connection)

    async def close(self) -> None:
        """Nothing to do."""


class Opener:
    """Stands for the class `Database` where a service opens its own."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    async def open(self, path: Path, migrations: Sequence[tuple[str, str]]) -> Handle:
        return Handle(self._disk)
