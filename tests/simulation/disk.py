"""The scheduler's disk: the real store on a real SQLite in memory, where a commit is one instant.

What was not committed at the instant of a crash was never written. Owns no time: the scheduler's host says when.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from services.chassis.storage.sqlite import Database
from services.scheduler.records.rows import Counters, Recovered
from services.scheduler.records.store import PACKAGE, SchedulerStore
from services.scheduler.state.effects import Row
from services.scheduler.state.events import EndedTask
from tests.support.memory_database import MemoryDatabase, finish


class Disk:
    """`SchedulerStore` for callers that do not await."""

    def __init__(self) -> None:
        self.database = MemoryDatabase(PACKAGE)
        self.store = SchedulerStore(cast(Database, self.database))

    def persist(self, rows: Sequence[Row], counters: Counters, time_ms: int) -> None:
        finish(self.store.persist(rows, counters, time_ms))

    def begin_epoch(self) -> None:
        finish(self.store.begin_epoch())

    def recover(self, now_ms: int, most_requests: int, most_changes: int) -> Recovered:
        return finish(self.store.recover(now_ms, most_requests, most_changes))

    def ended(self, key: int, *, with_elements: bool = False) -> EndedTask:
        return finish(self.store.get_ended(key, with_elements=with_elements))

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.database.connection.execute(sql, values).fetchall()

    def close(self) -> None:
        self.database.connection.close()
