"""The outbox as rows: what is due, and what became of it."""

import sqlite3
from collections.abc import Iterable

from services.chassis.clock import Clock
from services.scheduler.notify.model import Contact, Delivery, DeliveryNotFound, DeliveryState
from services.scheduler.records.store import SchedulerStore

# Delivered and dead messages are kept for so long.
KEPT_MS = 30 * 86_400_000
_ALL_STATES = sum(1 << state for state in DeliveryState)


class Deliveries:
    """The repository. A delivered message stays delivered unless it is replayed."""

    def __init__(self, store: SchedulerStore, clock: Clock) -> None:
        self._database = store.database
        self._sql = store.sql
        self._clock = clock

    async def add_test(self, contact: Contact, event_id: str, title: str) -> None:
        """A test message; it is due at once."""
        now_ms = self._clock.now_ms()
        values = (event_id, contact.id, contact.account, contact.name, "", "test", title, now_ms, now_ms, 0)
        await self._database.write(lambda c: c.execute(self._sql["insert_delivery"], values), is_small=True)

    async def get(self, event_id: str) -> Delivery:
        """Raises `DeliveryNotFound`."""
        found = await self._database.read(
            lambda c: c.execute(self._sql["get_delivery"], (event_id,)).fetchone()
        )
        if found is None:
            raise DeliveryNotFound(
                f"there is no delivery {event_id[:80]!r}",
                field="event_id",
                next_step="yard contacts deliveries",
            )
        return Delivery(*found)

    async def list(
        self, account: str, before: int, most: int, contact: str, subject: str, states: Iterable[int]
    ) -> "list[Delivery]":
        """Newest first; empty conditions hold for all."""
        named = {
            "account": account, "before": before, "most": most, "contact": contact or None, "subject": subject or None,
            "states": sum(1 << state for state in set(states)) or _ALL_STATES,
        }  # fmt: skip
        sql = self._sql["list_deliveries"]
        return await self._database.read(lambda c: [Delivery(*row) for row in c.execute(sql, named)])

    async def pending(self) -> dict[str, int]:
        """Contacts with something to be sent, and when the first of it is due."""
        return await self._database.read(
            lambda c: dict(c.execute(self._sql["contacts_with_pending"]).fetchall())
        )

    async def backlog(self) -> tuple[int, int]:
        """How many messages are still to be sent, and when the oldest of them was made; 0: there is none."""
        sql = self._sql["backlog_of_deliveries"]
        count, oldest_ms = await self._database.read(lambda c: c.execute(sql).fetchone())
        return count, oldest_ms or 0

    async def next(self, contact_id: str) -> Delivery | None:
        """What is due first at a contact, now or later."""
        values = (contact_id,)
        found = await self._database.read(lambda c: c.execute(self._sql["next_delivery"], values).fetchone())
        return Delivery(*found) if found else None

    async def mark_delivered(self, delivery: Delivery) -> None:
        """It was taken. A message that was cancelled meanwhile stays cancelled."""
        values = (self._clock.now_ms(), delivery.event_id)
        await self._database.write(lambda c: c.execute(self._sql["mark_delivered"], values), is_small=True)

    async def mark_failed(self, delivery: Delivery, error: str, delay_ms: int | None) -> None:
        """It was not taken; without a delay it is given up."""
        now_ms = self._clock.now_ms()
        state = DeliveryState.DEAD if delay_ms is None else DeliveryState.PENDING
        next_ms = now_ms + (delay_ms or 0)
        values = (state, delivery.failures + 1, now_ms, next_ms, error, delivery.event_id)
        await self._database.write(lambda c: c.execute(self._sql["mark_failed"], values), is_small=True)

    async def replay(self, delivery: Delivery) -> Delivery:
        """Makes it due again, under the same event id; how it is then."""
        values = (self._clock.now_ms(), delivery.event_id)
        await self._database.write(lambda c: c.execute(self._sql["replay_delivery"], values))
        return await self.get(delivery.event_id)

    async def prune(self) -> None:
        """Forgets what was settled long ago, some at a time."""
        values = (self._clock.now_ms() - KEPT_MS,)

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(self._sql["prune_deliveries"], values)
            connection.execute(self._sql["prune_messages"], values)

        await self._database.write(change)
