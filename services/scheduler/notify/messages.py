"""Messages of services about an account's work: into the outbox once, whatever is repeated (S0.8, S1.6)."""

import sqlite3
from typing import Any

import msgspec

from modelyard.v1 import task_pb2
from services.chassis.clock import Clock
from services.chassis.requests.marks import Kept, nothing_kept
from services.scheduler.notification import Event, Notice, event_id
from services.scheduler.notify.contacts import Contacts
from services.scheduler.notify.model import Delivery, Message
from services.scheduler.notify.notices import check_told
from services.scheduler.records.store import SchedulerStore
from services.scheduler.tasks.announce import told


class Messages:
    """The repository. A task's end is told by `announce`, whose rows lie in the same outbox."""

    def __init__(self, store: SchedulerStore, contacts: Contacts, clock: Clock) -> None:
        self._database = store.database
        self._sql = store.sql
        self._contacts = contacts
        self._clock = clock

    async def who(self, account: str, notice: Notice, event: Event) -> list[str]:
        """Who would be told of an event, by name. Raises `ContactNotFound`, `ContactNotVerified`."""
        known = await self._database.read(lambda c: self._contacts.known(c, account))
        contacts = {contact.name: contact for contact in known}
        check_told(notice, contacts, "")
        return [contact.name for contact in told(notice, contacts, event)]

    async def add(
        self,
        message: Message,
        notice: Notice,
        event: Event,
        kept: Kept[list[Delivery]] = nothing_kept,
    ) -> list[Delivery]:
        """One delivery for each who is to hear of it, on disk; of an event that was told before, those of then.

        Raises `ContactNotFound`, `ContactNotVerified`; then nothing was told, and it may be told later.
        """

        def change(c: sqlite3.Connection) -> list[Delivery]:
            found = c.execute(self._sql["find_message"], (message.account, message.event_id)).fetchone()
            number = found[0] if found else self._insert(c, message, notice, event)
            rows = [Delivery(*row) for row in c.execute(self._sql["deliveries_of_message"], (number,))]
            kept(c, rows)
            return rows

        return await self._database.write(change)

    def _insert(self, c: sqlite3.Connection, message: Message, notice: Notice, event: Event) -> int:
        contacts = {contact.name: contact for contact in self._contacts.known(c, message.account)}
        check_told(notice, contacts, "")
        now_ms = self._clock.now_ms()
        who = told(notice, contacts, event)
        # Of what nobody is told, that is all that is kept.
        said = (
            (message.text, message.facts, msgspec.json.encode(message.outputs).decode())
            if who
            else ("", "", "")
        )
        values: tuple[Any, ...] = (message.account, message.event_id, *said, now_ms)
        [number] = c.execute(self._sql["insert_message"], values).fetchone()
        for contact in who:
            own_id = event_id(contact.id, f"message {message.event_id}")
            c.execute(
                self._sql["insert_delivery"],
                (own_id, contact.id, message.account, contact.name, message.subject, message.kind, message.title,
                 now_ms, now_ms, number),
            )  # fmt: skip
        return int(number)

    async def said(self, number: int) -> tuple[str, str, list[task_pb2.Output]]:
        """Text, facts and artefacts of a message that somebody is told."""
        text, facts, outputs = await self._database.read(
            lambda c: c.execute(self._sql["get_message"], (number,)).fetchone()
        )
        files = msgspec.json.decode(outputs or "[]", type=list[tuple[str, str, int]])
        return text, facts, [task_pb2.Output(name=n, digest=d, size_bytes=size) for n, d, size in files]
