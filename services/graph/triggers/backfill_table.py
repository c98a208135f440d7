"""Back-fills as rows: ranges of times, and how far each has come. Every method is one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from services.chassis.requests.marks import Kept
from services.chassis.storage.sqlite import Database
from services.graph.triggers.model import Backfill, NewFiring, RunTrigger
from services.graph.triggers.rows import Rows, backfill_of

Counts = Mapping[tuple[str, str], int]
"""How many firings of a back-fill by their state and their run's."""


class BackfillTable:
    """Part of `TriggerStore`."""

    def __init__(self, database: Database, rows: Rows) -> None:
        self._database = database
        self._rows = rows

    async def states_at(self, trigger: int, times: Sequence[int]) -> list[list[tuple[str, int]]]:
        """For each time the firings that count: state of the run ("waiting" before it), and the run."""
        return await self._database.read(lambda c: [self._states(c, trigger, one) for one in times])

    async def create(
        self,
        trigger: RunTrigger,
        backfill: Backfill,
        firings: Sequence[NewFiring],
        now_ms: int,
        kept: Kept[Backfill],
    ) -> Backfill:
        """With its firings, in this order; all or none."""
        values = {**msgspec.to_builtins(backfill), "trigger": trigger.number, "now_ms": now_ms}

        def change(c: sqlite3.Connection) -> Backfill:
            self._rows.trigger(c, trigger.number)
            [number] = c.execute(self._rows.sql["insert_backfill"], values).fetchone()
            for one in firings:
                own = msgspec.structs.replace(one, backfill=number)
                if c.execute(self._rows.sql["firing_of_key"], (trigger.number, one.key)).fetchone():
                    own = msgspec.structs.replace(own, key=f"{one.key}/b-{number}")
                self._rows.add(c, trigger, own, now_ms)
            # What was missed is made good: from its begin, which is not in it, to its end, which is.
            forget = (trigger.number, backfill.from_ms - 1, backfill.to_ms)
            c.execute(self._rows.sql["forget_missed"], forget)
            made = self._rows.backfill(c, number)
            assert made is not None
            kept(c, made)
            return made

        return await self._database.write(change)

    async def get(self, number: int) -> Backfill | None:
        """None: there is none."""
        return await self._database.read(lambda c: self._rows.backfill(c, number))

    async def counts(self, number: int) -> Counts:
        """How far it has come."""
        return await self._database.read(lambda c: self._counts(c, number))

    async def page(
        self, account: str | None, trigger: int, before: int, most: int
    ) -> list[tuple[Backfill, Counts]]:
        """Newest first, with how far each has come: of triggers that the account may see, None: of all.

        `trigger`: only of this one, 0: of any.
        """
        values = {"account": account, "trigger": trigger, "before": before, "most": most}

        def query(c: sqlite3.Connection) -> list[tuple[Backfill, Counts]]:
            found = [backfill_of(row) for row in c.execute(self._rows.sql["list_backfills"], values)]
            return [(one, self._counts(c, one.number)) for one in found]

        return await self._database.read(query)

    async def cancel(self, number: int, kept: Kept[Backfill]) -> list[int]:
        """Nothing of it starts any more; runs of it that go on. Idempotent."""

        def change(c: sqlite3.Connection) -> list[int]:
            if c.execute(self._rows.sql["cancel_firings"], (number,)).rowcount:
                c.execute(self._rows.sql["cancel_backfill"], (number,))
            found = self._rows.backfill(c, number)
            assert found is not None
            kept(c, found)
            return [row[0] for row in c.execute(self._rows.sql["live_runs_of_backfill"], (number,))]

        return await self._database.write(change)

    def _counts(self, c: sqlite3.Connection, number: int) -> Counts:
        rows = c.execute(self._rows.sql["count_backfill"], (number,))
        return {(state, run_state): count for state, run_state, count in rows}

    def _states(self, c: sqlite3.Connection, trigger: int, time_ms: int) -> list[tuple[str, int]]:
        rows = c.execute(self._rows.sql["firings_at"], (trigger, time_ms))
        return [("waiting" if state == "waiting" else run_state, run) for state, run_state, run in rows]
