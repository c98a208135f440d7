"""Firings as rows: what has fired, what of it waits, what became of it. Every method is one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from services.chassis.requests.marks import Kept
from services.chassis.storage.sqlite import Database
from services.graph.triggers.model import Firing, FiringsFull, FiringState, NewFiring, RunTrigger
from services.graph.triggers.rows import Rows, firing_of

FIRINGS_KEPT = 10_000
"""Of one trigger; the oldest go."""
BACKLOG_MOST = 10_000
"""Firings of one trigger that may wait, back-fills apart, whatever its concurrency."""


class FiringTable:
    """Part of `TriggerStore`."""

    def __init__(self, database: Database, rows: Rows) -> None:
        self._database = database
        self._rows = rows

    async def add(self, trigger: RunTrigger, firing: NewFiring, now_ms: int, kept: Kept[Firing]) -> Firing:
        """The firing of this key, whether it is new or not. Raises FiringsFull, TriggerNotFound."""

        def change(c: sqlite3.Connection) -> Firing:
            self._rows.trigger(c, trigger.number)
            found = c.execute(self._rows.sql["firing_of_key"], (trigger.number, firing.key)).fetchone()
            if found is None:
                [waiting] = c.execute(self._rows.sql["count_waiting"], (trigger.number,)).fetchone()
                if waiting >= BACKLOG_MOST:
                    raise FiringsFull(next_step=f"yard trigger firings {trigger.id} shows why they wait")
            number, _ = self._rows.add(c, trigger, firing, now_ms)
            made = self._rows.firing(c, number)
            kept(c, made)
            return made

        return await self._database.write(change)

    async def get(self, number: int) -> Firing:
        """Raises TriggerNotFound: it went with its trigger."""
        return await self._database.read(lambda c: self._rows.firing(c, number))

    async def page(
        self, trigger: int, states: Sequence[FiringState], backfill: int, before: int, most: int
    ) -> list[Firing]:
        """Newest first."""
        listed = f",{','.join(states)}," if states else ""
        values = {"trigger": trigger, "states": listed, "backfill": backfill, "before": before, "most": most}
        rows = await self._database.read(
            lambda c: c.execute(self._rows.sql["list_firings"], values).fetchall()
        )
        return [firing_of(row) for row in rows]

    async def heads(self) -> list[Firing]:
        """Of each trigger, and of each back-fill, the first that waits."""
        rows = await self._database.read(lambda c: c.execute(self._rows.sql["waiting_heads"]).fetchall())
        return [firing_of(row) for row in rows]

    async def counts(self, trigger: int) -> tuple[int, int]:
        """Runs that go on and firings that wait, back-fills apart."""

        def query(c: sqlite3.Connection) -> tuple[int, int]:
            values = {"trigger": trigger, "backfill": None}
            [running] = c.execute(self._rows.sql["count_running"], values).fetchone()
            [waiting] = c.execute(self._rows.sql["count_waiting"], (trigger,)).fetchone()
            return running, waiting

        return await self._database.read(query)

    async def running(self, trigger: int, backfill: int | None) -> int:
        """Runs of a trigger, or of a back-fill of it, that go on."""
        values = {"trigger": trigger, "backfill": backfill}
        [found] = await self._database.read(
            lambda c: c.execute(self._rows.sql["count_running"], values).fetchone()
        )
        return int(found)

    def started(self, firing: int) -> Kept[int]:
        """For the transaction that creates the run: from then on the firing has it."""

        def kept(c: sqlite3.Connection, run: int) -> None:
            c.execute(self._rows.sql["start_firing"], (run, firing))

        return kept

    async def end(self, firing: int, state: FiringState, reason: str, message: str) -> None:
        """It gets no run. Nothing happens to one that does not wait."""
        values = (state.value, reason, message[:2_000], firing)
        await self._database.write(lambda c: c.execute(self._rows.sql["end_firing"], values))

    async def prune(self) -> None:
        """Forgets the oldest firings of triggers that have many."""
        numbers = await self._database.read(lambda c: c.execute(self._rows.sql["trigger_numbers"]).fetchall())
        for (number,) in numbers:
            while await self._prune(number):
                pass

    async def _prune(self, number: int) -> int:
        values = {"trigger": number, "most": FIRINGS_KEPT}
        return await self._database.write(
            lambda c: c.execute(self._rows.sql["prune_firings"], values).rowcount
        )
