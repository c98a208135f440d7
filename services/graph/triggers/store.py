"""Triggers as rows, with the tables of their firings and back-fills. Knows SQL, decides nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from services.chassis.requests.marks import Kept
from services.chassis.storage.sqlite import Database
from services.graph.triggers.backfill_table import BackfillTable
from services.graph.triggers.firing_table import FiringTable
from services.graph.triggers.model import (
    NewFiring,
    RunTrigger,
    TriggerChanged,
    TriggerNameTaken,
    Wish,
    kind_of,
)
from services.graph.triggers.rows import Rows, trigger_of

_PACK = msgspec.msgpack.Encoder().encode


class Position(msgspec.Struct, frozen=True):
    """Where a trigger stands after a look: written only if nobody changed it since."""

    cursor: int
    next_ms: int | None = None
    missed: tuple[int, int] | None = None


class TriggerStore:
    """The repository. Every method is one transaction and durable when it returns."""

    def __init__(self, database: Database, sql: Mapping[str, str]) -> None:
        self._database = database
        self._rows = Rows(sql)
        self.firings = FiringTable(database, self._rows)
        self.backfills = BackfillTable(database, self._rows)

    async def create(
        self, account: str, name: str, project: int, wish: Wish, position: Position, secret: bytes | None,
        now_ms: int, kept: Kept[RunTrigger],
    ) -> RunTrigger:  # fmt: skip
        """Raises TriggerNameTaken."""
        values = {
            "account": account, "name": name, "project": project, "wish": _PACK(wish), "kind": kind_of(wish.source),
            "cursor": position.cursor, "next_ms": position.next_ms, "secret": secret, "now_ms": now_ms,
        }  # fmt: skip

        def change(c: sqlite3.Connection) -> RunTrigger:
            row = c.execute(self._rows.sql["insert_trigger"], values).fetchone()
            if row is None:
                raise TriggerNameTaken(
                    f"account {account} has a trigger {name!r}", field="trigger.name",
                    next_step=f"choose another name, or change it: yard trigger get {name}",
                )  # fmt: skip
            trigger = self._rows.trigger(c, row[0])
            kept(c, trigger)
            return trigger

        return await self._database.write(change)

    async def get(self, number: int) -> RunTrigger:
        """Raises TriggerNotFound."""
        return await self._database.read(lambda c: self._rows.trigger(c, number))

    async def number_of(self, account: str, name: str) -> int | None:
        """Of the account's trigger of this name."""
        row = await self._database.read(
            lambda c: c.execute(self._rows.sql["number_of_name"], (account, name)).fetchone()
        )
        return row[0] if row else None

    async def count(self, account: str) -> int:
        """How many the account has."""
        [number] = await self._database.read(
            lambda c: c.execute(self._rows.sql["count_triggers"], (account,)).fetchone()
        )
        return int(number)

    async def page(self, account: str | None, project: int, before: int, most: int) -> list[RunTrigger]:
        """Newest first: the account's own and those of projects that it may see; None: all."""
        values = {"account": account, "project": project, "before": before, "most": most}
        return await self._triggers("list_triggers", values)

    async def due(self, now_ms: int) -> list[RunTrigger]:
        """Those that are not paused and whose time has come."""
        return await self._triggers("due_triggers", (now_ms,))

    async def next_due(self) -> int | None:
        """When the first of all comes."""
        [found] = await self._database.read(lambda c: c.execute(self._rows.sql["next_due"]).fetchone())
        return None if found is None else int(found)

    async def watching(self) -> list[RunTrigger]:
        """Those that wait for what other services have."""
        return await self._triggers("watching_triggers", ())

    async def change(
        self, trigger: RunTrigger, wish: Wish, position: Position, *, is_paused: bool, now_ms: int,
        kept: Kept[RunTrigger],
    ) -> RunTrigger:  # fmt: skip
        """What was asked for. Raises TriggerNotFound, and TriggerChanged where somebody else was first."""
        values = {
            "number": trigger.number, "wish": _PACK(wish), "is_paused": is_paused, "pause_reason": "",
            "cursor": position.cursor, "next_ms": position.next_ms, "now_ms": now_ms,
        }  # fmt: skip

        def write(c: sqlite3.Connection) -> RunTrigger:
            if self._rows.trigger(c, trigger.number).revision != trigger.revision:
                raise TriggerChanged(field="changes.revision", next_step=f"yard trigger get {trigger.id}")
            c.execute(self._rows.sql["change_trigger"], values)
            changed = self._rows.trigger(c, trigger.number)
            kept(c, changed)
            return changed

        return await self._database.write(write)

    async def pause(self, number: int, reason: str, now_ms: int) -> None:
        """By the service itself. Idempotent."""
        values = (reason, now_ms, number)
        await self._database.write(lambda c: c.execute(self._rows.sql["pause_trigger"], values))

    async def delete(self, number: int, kept: Kept[None]) -> None:
        """With its firings and back-fills. Idempotent."""

        def change(c: sqlite3.Connection) -> None:
            c.execute(self._rows.sql["delete_trigger"], (number,))
            kept(c, None)

        await self._database.write(change)

    async def secrets(self, number: int, now_ms: int) -> list[bytes]:
        """Those that count, the present one first; still encrypted. None: there is no such trigger."""
        row = await self._database.read(
            lambda c: c.execute(self._rows.sql["get_secrets"], (number,)).fetchone()
        )
        if row is None or row[0] is None:
            return []
        return [row[0]] + ([row[1]] if row[1] is not None and row[2] > now_ms else [])

    async def rotate(
        self, number: int, secret: bytes, until_ms: int, now_ms: int, kept: Kept[RunTrigger]
    ) -> RunTrigger:
        """Raises TriggerNotFound."""
        values = {"number": number, "secret": secret, "until_ms": until_ms, "now_ms": now_ms}

        def change(c: sqlite3.Connection) -> RunTrigger:
            c.execute(self._rows.sql["rotate_secret"], values)
            trigger = self._rows.trigger(c, number)
            kept(c, trigger)
            return trigger

        return await self._database.write(change)

    async def advance(
        self, trigger: RunTrigger, position: Position, firings: Sequence[NewFiring], now_ms: int
    ) -> int:
        """What came since the last look, and where the trigger stands now: together or not at all.

        How many firings are new; none where the trigger was changed or paused meanwhile: it is looked at again.
        """
        missed = position.missed or (None, None)
        values = {
            "number": trigger.number, "was": trigger.cursor, "revision": trigger.revision,
            "cursor": position.cursor, "next_ms": position.next_ms, "missed_from": missed[0], "missed_to": missed[1],
        }  # fmt: skip

        def change(c: sqlite3.Connection) -> int:
            if not c.execute(self._rows.sql["advance_trigger"], values).rowcount:
                return 0
            return sum(self._rows.add(c, trigger, one, now_ms)[1] for one in firings)

        return await self._database.write(change)

    async def _triggers(self, query: str, values: Any) -> list[RunTrigger]:
        rows = await self._database.read(lambda c: c.execute(self._rows.sql[query], values).fetchall())
        return [trigger_of(row) for row in rows]
