"""The trainer's disk, which outlives it: its real tables in a real SQLite in memory, where a commit is one instant."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tests.simulation.jobs.clockwork import Died
from tests.support.memory_database import changed, connect

T = TypeVar("T")
PACKAGE = "services.trainer"


class Disk:
    """What is left when the trainer dies."""

    def __init__(self) -> None:
        self.connection = connect(PACKAGE)
        self.writer: Handle | None = None
        self.on_commit: Callable[[], None] = lambda: None

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, values).fetchall()

    def close(self) -> None:
        self.connection.close()


class Handle:
    """`services.chassis.storage.sqlite.Database` of one process: no threads, a transaction for each write, at once."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        disk.writer = self

    async def write(self, change: Callable[[sqlite3.Connection], T], *, is_small: bool = False) -> T:
        if self._disk.writer is not self:
            raise Died
        result = changed(self._disk.connection, change)
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
