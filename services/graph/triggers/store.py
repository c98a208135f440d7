"""Triggers, firings and back-fills as rows. Knows SQL, decides nothing.

A firing is one by (trigger, key): whatever comes twice is on disk once. Functions that take a connection run inside a
transaction of somebody else's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from services.chassis.marks import Kept
from services.chassis.sqlite import Database
from services.graph.triggers.model import (
    Backfill,
    Firing,
    FiringsFull,
    FiringState,
    NewFiring,
    Reprocess,
    RunTrigger,
    TriggerChanged,
    TriggerNameTaken,
    TriggerNotFound,
    Wish,
    kind_of,
)
from services.graph.triggers.model import Sequence as Order

FIRINGS_KEPT = 10_000
"""Of one trigger; the oldest go."""
BACKLOG_MOST = 10_000
"""Firings of one trigger that may wait, back-fills apart, whatever its concurrency."""

_PACK = msgspec.msgpack.Encoder().encode
_WISH = msgspec.msgpack.Decoder(Wish)


class Position(msgspec.Struct, frozen=True):
    """Where a trigger stands after a look: written only if nobody changed it since."""

    cursor: int
    next_ms: int | None = None
    missed: tuple[int, int] | None = None


class TriggerStore:
    """The repository. Every method is one transaction and durable when it returns."""

    def __init__(self, database: Database, sql: Mapping[str, str]) -> None:
        self._database = database
        self._sql = sql

    # Triggers

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
            row = c.execute(self._sql["insert_trigger"], values).fetchone()
            if row is None:
                raise TriggerNameTaken(
                    f"account {account} has a trigger {name!r}", field="trigger.name",
                    next_step=f"choose another name, or change it: yard trigger get {name}",
                )  # fmt: skip
            trigger = self._get(c, row[0])
            kept(c, trigger)
            return trigger

        return await self._database.write(change)

    async def get(self, number: int) -> RunTrigger:
        """Raises TriggerNotFound."""
        return await self._database.read(lambda c: self._get(c, number))

    async def number_of(self, account: str, name: str) -> int | None:
        """Of the account's trigger of this name."""
        row = await self._database.read(
            lambda c: c.execute(self._sql["number_of_name"], (account, name)).fetchone()
        )
        return row[0] if row else None

    async def count(self, account: str) -> int:
        """How many the account has."""
        [number] = await self._database.read(
            lambda c: c.execute(self._sql["count_triggers"], (account,)).fetchone()
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
        [found] = await self._database.read(lambda c: c.execute(self._sql["next_due"]).fetchone())
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
            if self._get(c, trigger.number).revision != trigger.revision:
                raise TriggerChanged(field="changes.revision", next_step=f"yard trigger get {trigger.id}")
            c.execute(self._sql["change_trigger"], values)
            changed = self._get(c, trigger.number)
            kept(c, changed)
            return changed

        return await self._database.write(write)

    async def pause(self, number: int, reason: str, now_ms: int) -> None:
        """By the service itself. Idempotent."""
        values = (reason, now_ms, number)
        await self._database.write(lambda c: c.execute(self._sql["pause_trigger"], values))

    async def delete(self, number: int, kept: Kept[None]) -> None:
        """With its firings and back-fills. Idempotent."""

        def change(c: sqlite3.Connection) -> None:
            c.execute(self._sql["delete_trigger"], (number,))
            kept(c, None)

        await self._database.write(change)

    async def secrets(self, number: int, now_ms: int) -> list[bytes]:
        """Those that count, the present one first; still encrypted. None: there is no such trigger."""
        row = await self._database.read(lambda c: c.execute(self._sql["get_secrets"], (number,)).fetchone())
        if row is None or row[0] is None:
            return []
        return [row[0]] + ([row[1]] if row[1] is not None and row[2] > now_ms else [])

    async def rotate(
        self, number: int, secret: bytes, until_ms: int, now_ms: int, kept: Kept[RunTrigger]
    ) -> RunTrigger:
        """Raises TriggerNotFound."""
        values = {"number": number, "secret": secret, "until_ms": until_ms, "now_ms": now_ms}

        def change(c: sqlite3.Connection) -> RunTrigger:
            c.execute(self._sql["rotate_secret"], values)
            trigger = self._get(c, number)
            kept(c, trigger)
            return trigger

        return await self._database.write(change)

    # Firings

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
            if not c.execute(self._sql["advance_trigger"], values).rowcount:
                return 0
            return sum(self._add(c, trigger, one, now_ms)[1] for one in firings)

        return await self._database.write(change)

    async def add(self, trigger: RunTrigger, firing: NewFiring, now_ms: int, kept: Kept[Firing]) -> Firing:
        """The firing of this key, whether it is new or not. Raises FiringsFull, TriggerNotFound."""

        def change(c: sqlite3.Connection) -> Firing:
            self._get(c, trigger.number)
            found = c.execute(self._sql["firing_of_key"], (trigger.number, firing.key)).fetchone()
            if found is None:
                [waiting] = c.execute(self._sql["count_waiting"], (trigger.number,)).fetchone()
                if waiting >= BACKLOG_MOST:
                    raise FiringsFull(next_step=f"yard trigger firings {trigger.id} shows why they wait")
            number, _ = self._add(c, trigger, firing, now_ms)
            made = self._firing(c, number)
            kept(c, made)
            return made

        return await self._database.write(change)

    async def firing(self, number: int) -> Firing:
        """Raises TriggerNotFound: it went with its trigger."""
        return await self._database.read(lambda c: self._firing(c, number))

    async def firings(
        self, trigger: int, states: Sequence[FiringState], backfill: int, before: int, most: int
    ) -> list[Firing]:
        """Newest first."""
        listed = f",{','.join(states)}," if states else ""
        values = {"trigger": trigger, "states": listed, "backfill": backfill, "before": before, "most": most}
        rows = await self._database.read(lambda c: c.execute(self._sql["list_firings"], values).fetchall())
        return [_firing(row) for row in rows]

    async def heads(self) -> list[Firing]:
        """Of each trigger, and of each back-fill, the first that waits."""
        rows = await self._database.read(lambda c: c.execute(self._sql["waiting_heads"]).fetchall())
        return [_firing(row) for row in rows]

    async def counts(self, trigger: int) -> tuple[int, int]:
        """Runs that go on and firings that wait, back-fills apart."""

        def query(c: sqlite3.Connection) -> tuple[int, int]:
            values = {"trigger": trigger, "backfill": None}
            [running] = c.execute(self._sql["count_running"], values).fetchone()
            [waiting] = c.execute(self._sql["count_waiting"], (trigger,)).fetchone()
            return running, waiting

        return await self._database.read(query)

    async def running(self, trigger: int, backfill: int | None) -> int:
        """Runs of a trigger, or of a back-fill of it, that go on."""
        values = {"trigger": trigger, "backfill": backfill}
        [found] = await self._database.read(
            lambda c: c.execute(self._sql["count_running"], values).fetchone()
        )
        return int(found)

    def started(self, firing: int) -> Kept[int]:
        """For the transaction that creates the run: from then on the firing has it."""

        def kept(c: sqlite3.Connection, run: int) -> None:
            c.execute(self._sql["start_firing"], (run, firing))

        return kept

    async def end(self, firing: int, state: FiringState, reason: str, message: str) -> None:
        """It gets no run. Nothing happens to one that does not wait."""
        values = (state.value, reason, message[:2_000], firing)
        await self._database.write(lambda c: c.execute(self._sql["end_firing"], values))

    async def prune(self) -> None:
        """Forgets the oldest firings of triggers that have many."""
        numbers = await self._database.read(lambda c: c.execute(self._sql["trigger_numbers"]).fetchall())
        for (number,) in numbers:
            while await self._prune(number):
                pass

    async def _prune(self, number: int) -> int:
        values = {"trigger": number, "most": FIRINGS_KEPT}
        return await self._database.write(lambda c: c.execute(self._sql["prune_firings"], values).rowcount)

    # Back-fills

    async def states_at(self, trigger: int, times: Sequence[int]) -> list[list[tuple[str, int]]]:
        """For each time the firings that count: state of the run ("waiting" before it), and the run."""
        return await self._database.read(lambda c: [self._states(c, trigger, one) for one in times])

    async def create_backfill(
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
            self._get(c, trigger.number)
            [number] = c.execute(self._sql["insert_backfill"], values).fetchone()
            for one in firings:
                own = msgspec.structs.replace(one, backfill=number)
                if c.execute(self._sql["firing_of_key"], (trigger.number, one.key)).fetchone():
                    own = msgspec.structs.replace(own, key=f"{one.key}/b-{number}")
                self._add(c, trigger, own, now_ms)
            # What was missed is made good: from its begin, which is not in it, to its end, which is.
            forget = (trigger.number, backfill.from_ms - 1, backfill.to_ms)
            c.execute(self._sql["forget_missed"], forget)
            made = self._backfill(c, number)
            assert made is not None
            kept(c, made)
            return made

        return await self._database.write(change)

    async def backfill(self, number: int) -> Backfill | None:
        """None: there is none."""
        return await self._database.read(lambda c: self._backfill(c, number))

    async def backfill_counts(self, number: int) -> dict[tuple[str, str], int]:
        """How many firings by their state and their run's."""
        rows = await self._database.read(
            lambda c: c.execute(self._sql["count_backfill"], (number,)).fetchall()
        )
        return {(state, run_state): count for state, run_state, count in rows}

    async def cancel_backfill(self, number: int, kept: Kept[Backfill]) -> list[int]:
        """Nothing of it starts any more; runs of it that go on. Idempotent."""

        def change(c: sqlite3.Connection) -> list[int]:
            if c.execute(self._sql["cancel_firings"], (number,)).rowcount:
                c.execute(self._sql["cancel_backfill"], (number,))
            found = self._backfill(c, number)
            assert found is not None
            kept(c, found)
            return [row[0] for row in c.execute(self._sql["live_runs_of_backfill"], (number,))]

        return await self._database.write(change)

    # Within a transaction

    def _get(self, c: sqlite3.Connection, number: int) -> RunTrigger:
        row = c.execute(self._sql["get_trigger"], (number,)).fetchone()
        if row is None:
            raise missing(f"tr-{number}")
        return _trigger(row)

    def _firing(self, c: sqlite3.Connection, number: int) -> Firing:
        row = c.execute(self._sql["get_firing"], (number,)).fetchone()
        if row is None:
            raise missing(f"f-{number}")
        return _firing(row)

    def _backfill(self, c: sqlite3.Connection, number: int) -> Backfill | None:
        row = c.execute(self._sql["get_backfill"], (number,)).fetchone()
        if row is None:
            return None
        of, trigger, account, from_ms, to_ms, most, sequence, reprocess, params, kept, cancelled, create = row
        return Backfill(
            of, trigger, account, from_ms, to_ms, most, Order(sequence), Reprocess(reprocess), params, kept,
            bool(cancelled), create,
        )  # fmt: skip

    def _states(self, c: sqlite3.Connection, trigger: int, time_ms: int) -> list[tuple[str, int]]:
        rows = c.execute(self._sql["firings_at"], (trigger, time_ms))
        return [("waiting" if state == "waiting" else run_state, run) for state, run_state, run in rows]

    def _add(
        self, c: sqlite3.Connection, trigger: RunTrigger, one: NewFiring, now_ms: int
    ) -> tuple[int, bool]:
        """Its number, and whether it is new."""
        state, reason, message = FiringState.WAITING, "", ""
        wish = trigger.wish
        if one.backfill is None and wish.concurrency == "queue":
            [waiting] = c.execute(self._sql["count_waiting"], (trigger.number,)).fetchone()
            if waiting >= wish.max_waiting:
                state, reason = FiringState.SKIPPED, "QUEUE_FULL"
                message = f"{waiting} firings waited already"
        values = {
            "trigger": trigger.number, "key": one.key, "state": state.value, "logical_ms": one.logical_ms,
            "backfill": one.backfill, "event": one.event, "params": one.params, "now_ms": now_ms,
            "reason": reason, "message": message,
        }  # fmt: skip
        row = c.execute(self._sql["insert_firing"], values).fetchone()
        if row is not None:
            return row[0], True
        [number] = c.execute(self._sql["firing_of_key"], (trigger.number, one.key)).fetchone()
        return number, False

    async def _triggers(self, query: str, values: Any) -> list[RunTrigger]:
        rows = await self._database.read(lambda c: c.execute(self._sql[query], values).fetchall())
        return [_trigger(row) for row in rows]


def missing(name: str) -> TriggerNotFound:
    """The error that names it."""
    return TriggerNotFound(
        f"there is no trigger {name[:80]!r}, or it is not yours to see", field="trigger",
        next_step="yard trigger ls shows yours",
    )  # fmt: skip


def _trigger(row: Sequence[Any]) -> RunTrigger:
    (
        number,
        account,
        name,
        project,
        wish,
        paused,
        reason,
        cursor,
        next_ms,
        first,
        last,
        until,
        revision,
        made,
        changed,
    ) = row
    return RunTrigger(
        number=number, account=account, name=name, project=project, wish=_WISH.decode(wish), is_paused=bool(paused),
        pause_reason=reason, cursor=cursor, next_ms=next_ms, missed=None if first is None else (first, last),
        old_until_ms=until, revision=revision, create_time_ms=made, update_time_ms=changed,
    )  # fmt: skip


def _firing(row: Sequence[Any]) -> Firing:
    number, trigger, key, state, *rest = row
    return Firing(number, trigger, key, FiringState(state), *rest)
