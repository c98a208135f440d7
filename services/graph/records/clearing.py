"""Lets go of ended runs: those that somebody deletes, those of deleted projects, and those that are old enough.

A run, its gates and its claim on artefacts go in one transaction; its nodes, which may be many, follow in portions that
a commit does not notice. What it does may be cut short anywhere and is done again.
"""

import asyncio
import sqlite3
from collections.abc import Mapping

import msgspec

from services.chassis.clock import Clock
from services.chassis.errors import FailedPrecondition
from services.chassis.logs import get_logger
from services.chassis.requests.marks import Kept
from services.chassis.steps.errands import Errands
from services.chassis.storage.sqlite import Database
from services.graph.records.keeping import RunGoesOn
from services.graph.records.owing import Kind, Reference
from services.graph.runs.state import State

ROUND_S = 600.0
PAUSE_S = 0.02
RUNS_A_LOOK = 200
NODES_A_PORTION = 1_000
DAY_MS = 86_400_000
_PARTS = ("delete_gates", "delete_kept", "delete_node_modifications", "delete_run", "insert_cleared")

_PACK = msgspec.msgpack.Encoder().encode
_log = get_logger("graph.clearing")


class RunContinued(FailedPrecondition):
    """Another run continues it."""


class Clearing:
    """`run` is a loop that the service starts; `keep_days` 0: ended runs stay until somebody deletes them."""

    def __init__(
        self,
        database: Database,
        sql: Mapping[str, str],
        state: State,
        errands: Errands,
        clock: Clock,
        keep_days: float,
    ) -> None:
        self._database = database
        self._sql = sql
        self._state = state
        self._errands = errands
        self._clock = clock
        self._keep_ms = round(keep_days * DAY_MS)
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something is to be let go of."""
        self._wake.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            self._wake.clear()
            await self.clear()
            try:
                async with asyncio.timeout(ROUND_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def delete(self, number: int, kept: Kept[None]) -> None:
        """One run, for whoever asks; `kept` is noted with it. Raises RunGoesOn, RunContinued. Idempotent."""
        if number in self._state.runs:
            raise RunGoesOn(
                f"r-{number} goes on", field="run_id", next_step=f"yard graph cancel r-{number}, or wait"
            )
        for live in self._state.runs.values():
            if live.spec.continued_from == number:
                raise RunContinued(
                    f"r-{live.spec.number} continues r-{number}", field="run_id",
                    next_step=f"wait for the end of r-{live.spec.number}",
                )  # fmt: skip
        await self._delete(number, kept)
        self.wake()

    async def clear(self) -> int:
        """Lets go of every run whose time is over or whose project is gone, and of what deleted ones left; how many."""
        count = 0
        before_ms = self._clock.now_ms() - self._keep_ms
        looks: list[tuple[str, tuple[int, ...]]] = [("runs_without_project", (RUNS_A_LOOK,))]
        if self._keep_ms:
            looks.append(("old_runs", (before_ms, RUNS_A_LOOK)))
        continued = {live.spec.continued_from for live in self._state.runs.values()}
        for query, values in looks:
            while going := [one for one in await self._numbers(query, values) if one not in continued]:
                for number in going:
                    await self._delete(number, _unasked)
                    await asyncio.sleep(PAUSE_S)
                count += len(going)
        for number in await self._numbers("cleared_runs", ()):
            await self._clear_nodes(number)
        if count:
            _log.info("ended_runs_cleared", runs=count)
        return count

    async def _numbers(self, query: str, values: tuple[int, ...]) -> list[int]:
        rows = await self._database.read(lambda c: c.execute(self._sql[query], values).fetchall())
        return [number for (number,) in rows]

    async def _delete(self, number: int, kept: Kept[None]) -> None:
        found = await self._database.read(
            lambda c: c.execute(self._sql["is_ended_run"], (number,)).fetchone()
        )
        if found is None:
            await self._database.write(lambda c: kept(c, None))
            return
        errand = self._errands.take(Kind.REFERENCES, found[0], _PACK(Reference(f"run:r-{number}", ())))

        def change(c: sqlite3.Connection) -> None:
            for part in _PARTS:
                c.execute(self._sql[part], (number,))
            last = c.execute(self._sql["get_meta"], ("last_run",)).fetchone()
            c.execute(self._sql["set_meta"], ("last_run", max(number, last[0] if last else 0)))
            self._errands.write(c, [errand])
            kept(c, None)

        await self._database.write(change)
        self._errands.owe([errand])

    async def _clear_nodes(self, number: int) -> None:
        values = {"run": number, "most": NODES_A_PORTION}
        is_whole = False
        while not is_whole:
            count = await self._database.write(
                lambda c: c.execute(self._sql["delete_some_nodes"], values).rowcount
            )
            is_whole = count < NODES_A_PORTION
            await asyncio.sleep(PAUSE_S)
        await self._database.write(lambda c: c.execute(self._sql["delete_cleared"], (number,)))


def _unasked(c: sqlite3.Connection, value: None) -> None:
    """Nobody waits for an answer."""
