"""Who called which version how often, by day: statistics, added up; not accounting."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from services.chassis.storage.sqlite import Database

DAY_MS = 24 * 3_600_000
TASKS_KEPT_MS = 400 * DAY_MS
"""So long it is known which task called which version."""


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one account to one version since the last count."""

    model: str
    version: int
    account: str
    time_ms: int
    """Of the last of them."""
    calls: int
    failures: int = 0
    compute_s: float = 0.0
    task: str = ""
    """That made them; empty: no task did."""


class Caller(msgspec.Struct, frozen=True):
    """Calls of one task to one version."""

    task: str
    model: str
    version: int
    account: str
    calls: int
    last_ms: int


class Day(msgspec.Struct, frozen=True):
    """Of one account to one version on one day."""

    version: int
    account: str
    day: int
    calls: int
    failures: int
    compute_s: float

    @property
    def begin_ms(self) -> int:
        """Its midnight, UTC."""
        return self.day * DAY_MS


class Usage:
    """The table, and totals by version."""

    def __init__(self, database: Database, sql: Mapping[str, str]) -> None:
        self._database = database
        self._sql = sql

    async def add(self, counts: Sequence[Count]) -> None:
        """Adds them up; durable on return. Not idempotent: who is not answered does not count again."""
        rows = [
            (
                one.model, one.version, one.account, one.time_ms // DAY_MS, one.calls, one.failures, one.compute_s,
                one.time_ms,
            )
            for one in counts
        ]  # fmt: skip
        tasks = [
            (one.task, one.model, one.version, one.account, one.calls, one.time_ms)
            for one in counts
            if one.task
        ]
        oldest_ms = max((one.time_ms for one in counts), default=0) - TASKS_KEPT_MS

        def change(c: sqlite3.Connection) -> None:
            c.executemany(self._sql["add_usage"], rows)
            if tasks:
                c.executemany(self._sql["add_task_usage"], tasks)
                c.execute(self._sql["prune_task_usage"], (oldest_ms,))

        await self._database.write(change, is_small=len(rows) <= 16)

    async def of_task(self, task: str) -> list[Caller]:
        """Which versions a task called."""
        found = await self._database.read(lambda c: c.execute(self._sql["calls_of_task"], (task,)).fetchall())
        return [Caller(*row) for row in found]

    async def tasks(
        self, model: str, version: int, account: str | None, start: int, most: int
    ) -> list[Caller]:
        """Which tasks called a version, latest first, from the start-th on; `account` None: of all."""
        values = {"model": model, "version": version, "account": account, "start": start, "most": most}
        found = await self._database.read(
            lambda c: c.execute(self._sql["tasks_that_called"], values).fetchall()
        )
        return [Caller(*row) for row in found]

    async def accounts(self, model: str, version: int) -> list[tuple[str, int, int]]:
        """Account, calls and the time of the last one (ms), of one version."""
        values = (model, version)
        return await self._database.read(
            lambda c: c.execute(self._sql["usage_by_account"], values).fetchall()
        )

    async def totals(self, model: str) -> dict[int, tuple[int, int]]:
        """By version: calls, and when the last one was."""
        found = await self._database.read(lambda c: c.execute(self._sql["usage_totals"], (model,)).fetchall())
        return {version: (calls, last_ms) for version, calls, last_ms in found}

    async def days(self, model: str, version: int, since_ms: int) -> list[Day]:
        """Latest first; version 0: all."""
        values = {"model": model, "version": version, "day": since_ms // DAY_MS}
        found = await self._database.read(lambda c: c.execute(self._sql["usage_days"], values).fetchall())
        return [Day(*row) for row in found]
