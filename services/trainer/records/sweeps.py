"""The rows of sweeps: what a step wants kept goes with the step's other rows; here it is read. Decides nothing."""

import sqlite3
from collections.abc import Mapping
from typing import Any

import msgspec

from services.chassis.storage.sqlite import Database
from services.trainer.state.effects import PutSweep, PutTrial
from services.trainer.state.sweeps import Sweep, Trial

_PACK = msgspec.msgpack.Encoder().encode
_SWEEP = msgspec.msgpack.Decoder(Sweep)
_TRIAL = msgspec.msgpack.Decoder(Trial)


class SweepsFound(msgspec.Struct, frozen=True):
    """What is there after a start."""

    next_sweep: int
    revision: int
    sweeps: list[tuple[Sweep, list[Trial]]]
    """Those that have not ended."""


class SweepStore:
    """The repository of sweeps, on the trainer's database."""

    def __init__(self, database: Database, sql: Mapping[str, str]) -> None:
        self._database = database
        self._sql = sql

    async def begin(self) -> SweepsFound:
        """Everything that has not ended."""
        return await self._database.read(self._begin)

    def _begin(self, c: sqlite3.Connection) -> SweepsFound:
        last, revision = c.execute(self._sql["last_sweep"]).fetchone()
        sweeps = [_SWEEP.decode(content) for (content,) in c.execute(self._sql["live_sweeps"]).fetchall()]
        return SweepsFound(last + 1, revision, [(one, self._trials(c, one.number)) for one in sweeps])

    def _trials(self, c: sqlite3.Connection, sweep: int) -> list[Trial]:
        return [_TRIAL.decode(content) for (content,) in c.execute(self._sql["trials"], (sweep,))]

    async def sweep(self, number: int) -> tuple[Sweep, list[Trial]] | None:
        """As it lies on disk, with its trials by number."""

        def query(c: sqlite3.Connection) -> tuple[Sweep, list[Trial]] | None:
            found = c.execute(self._sql["get_sweep"], (number,)).fetchone()
            return (_SWEEP.decode(found[0]), self._trials(c, number)) if found else None

        return await self._database.read(query)

    async def sweeps(self, **values: Any) -> list[Sweep]:
        """Newest first; see the query for what is asked."""
        found = await self._database.read(lambda c: c.execute(self._sql["list_sweeps"], values).fetchall())
        return [_SWEEP.decode(content) for (content,) in found]


Values = dict[str, list[tuple[Any, ...]]]


def put_sweep(row: PutSweep, values: Values) -> None:
    """For the step's transaction."""
    one = row.sweep
    head = (one.number, one.account, one.name, one.state.value, one.revision, one.create_ms, one.end_ms)
    values["put_sweep"].append((*head, _PACK(one)))


def put_trial(row: PutTrial, values: Values) -> None:
    """For the step's transaction."""
    values["put_trial"].append((row.sweep, row.trial.number, _PACK(row.trial)))
