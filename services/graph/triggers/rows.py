"""Rows of triggers, firings and back-fills as values, and what is done with them within somebody's transaction.

A firing is one by (trigger, key): whatever comes twice is on disk once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from services.graph.triggers.model import (
    Backfill,
    Firing,
    FiringState,
    NewFiring,
    Reprocess,
    RunTrigger,
    TriggerNotFound,
    Wish,
)
from services.graph.triggers.model import Sequence as Order

_WISH = msgspec.msgpack.Decoder(Wish)


class Rows:
    """Shared by the tables of this room. `sql`: its queries by name."""

    def __init__(self, sql: Mapping[str, str]) -> None:
        self.sql = sql

    def trigger(self, c: sqlite3.Connection, number: int) -> RunTrigger:
        """Raises TriggerNotFound."""
        row = c.execute(self.sql["get_trigger"], (number,)).fetchone()
        if row is None:
            raise missing(f"tr-{number}")
        return trigger_of(row)

    def firing(self, c: sqlite3.Connection, number: int) -> Firing:
        """Raises TriggerNotFound: it went with its trigger."""
        row = c.execute(self.sql["get_firing"], (number,)).fetchone()
        if row is None:
            raise missing(f"f-{number}")
        return firing_of(row)

    def backfill(self, c: sqlite3.Connection, number: int) -> Backfill | None:
        """None: there is none."""
        row = c.execute(self.sql["get_backfill"], (number,)).fetchone()
        if row is None:
            return None
        return backfill_of(row)

    def add(
        self, c: sqlite3.Connection, trigger: RunTrigger, one: NewFiring, now_ms: int
    ) -> tuple[int, bool]:
        """Its number, and whether it is new."""
        state, reason, message = FiringState.WAITING, "", ""
        wish = trigger.wish
        if one.backfill is None and wish.concurrency == "queue":
            [waiting] = c.execute(self.sql["count_waiting"], (trigger.number,)).fetchone()
            if waiting >= wish.max_waiting:
                state, reason = FiringState.SKIPPED, "QUEUE_FULL"
                message = f"{waiting} firings waited already"
        values = {
            "trigger": trigger.number, "key": one.key, "state": state.value, "logical_ms": one.logical_ms,
            "backfill": one.backfill, "event": one.event, "params": one.params, "now_ms": now_ms,
            "reason": reason, "message": message,
        }  # fmt: skip
        row = c.execute(self.sql["insert_firing"], values).fetchone()
        if row is not None:
            return row[0], True
        [number] = c.execute(self.sql["firing_of_key"], (trigger.number, one.key)).fetchone()
        return number, False


def missing(name: str) -> TriggerNotFound:
    """The error that names it."""
    return TriggerNotFound(
        f"there is no trigger {name[:80]!r}, or it is not yours to see", field="trigger",
        next_step="yard trigger ls shows yours",
    )  # fmt: skip


def trigger_of(row: Sequence[Any]) -> RunTrigger:
    """Of the columns of get_trigger."""
    (
        number, account, name, project, wish, paused, reason, cursor, next_ms, first, last, until, revision, made,
        changed,
    ) = row  # fmt: skip
    return RunTrigger(
        number=number, account=account, name=name, project=project, wish=_WISH.decode(wish), is_paused=bool(paused),
        pause_reason=reason, cursor=cursor, next_ms=next_ms, missed=None if first is None else (first, last),
        old_until_ms=until, revision=revision, create_time_ms=made, update_time_ms=changed,
    )  # fmt: skip


def firing_of(row: Sequence[Any]) -> Firing:
    """Of the columns of get_firing."""
    number, trigger, key, state, *rest = row
    return Firing(number, trigger, key, FiringState(state), *rest)


def backfill_of(row: Sequence[Any]) -> Backfill:
    """Of the columns of get_backfill."""
    of, trigger, account, from_ms, to_ms, most, sequence, reprocess, params, kept, cancelled, create = row
    return Backfill(
        of, trigger, account, from_ms, to_ms, most, Order(sequence), Reprocess(reprocess), params, kept,
        bool(cancelled), create,
    )  # fmt: skip
