"""Where what instances wrote is found: their seats in order, and where in a seat's log an epoch begins.

Owns the rows about logs, numbers only: the bytes lie with the scheduler and outlive processes and
seats (I6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from services.chassis.storage.sqlite import Database
from services.trainer.state.jobs import Key


class SeatLog(msgspec.Struct, frozen=True):
    """One seat of an instance. ``sizes``: stdout and stderr, once somebody has read it to its end."""

    number: int
    task: str
    sizes: tuple[int, int] | None


class Began(msgspec.Struct, frozen=True):
    """Where the output of an epoch begins: offsets of stdout and stderr in the log of its seat."""

    job: int
    task: str
    epoch: int
    stdout_offset: int
    stderr_offset: int


class LogIndex:
    """On the trainer's database."""

    def __init__(self, database: Database, sql: Mapping[str, str]) -> None:
        self._database = database
        self._sql = sql
        self._fresh: dict[Began, None] = {}
        """On their way to the disk."""

    async def seats(self, job: int, key: Key) -> list[SeatLog]:
        """Of one instance, in their order."""
        rows = await self._database.read(lambda c: c.execute(self._sql["seats"], (job, *key)).fetchall())
        return [
            SeatLog(number, task, None if stdout is None else (stdout, stderr))
            for number, task, stdout, stderr in rows
        ]

    async def seated(self, job: int) -> list[Key]:
        """Every instance that ever had a seat, those that are no more as well."""
        return await self._database.read(lambda c: c.execute(self._sql["seated"], (job,)).fetchall())

    async def close(self, seat: SeatLog, sizes: tuple[int, int]) -> None:
        """Nothing more is written there."""
        await self._database.write(
            lambda c: c.execute(self._sql["close_seat"], (*sizes, seat.number)), is_small=True
        )

    async def note(self, launches: Sequence[Began]) -> None:
        """On disk when it returns, known at once. Repeating changes nothing."""
        if not launches:
            return
        for one in launches:
            self._fresh[one] = None
        values = [msgspec.structs.astuple(one) for one in launches]
        try:
            await self._database.write(lambda c: c.executemany(self._sql["insert_launch"], values))
        finally:
            for one in launches:
                self._fresh.pop(one, None)

    async def launches(self, job: int, task: str) -> list[tuple[int, tuple[int, int]]]:
        """Epochs of one seat, lowest first, and where they begin."""
        fresh = {
            one.epoch: (one.stdout_offset, one.stderr_offset)
            for one in self._fresh
            if (one.job, one.task) == (job, task)
        }
        rows = await self._database.read(lambda c: c.execute(self._sql["launches"], (job, task)).fetchall())
        return sorted((fresh | {epoch: (stdout, stderr) for epoch, stdout, stderr in rows}).items())
