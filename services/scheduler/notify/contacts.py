"""The accounts' contacts: rows, and telling the machine what they are now. Addresses never leave unredacted."""

import sqlite3
import uuid
from typing import Any

import msgspec

from services.chassis.clock import Clock
from services.chassis.requests.marks import Kept, nothing_kept
from services.chassis.security import make_secret
from services.scheduler.engine import Engine
from services.scheduler.notification import KnownContact
from services.scheduler.notify.model import (
    Contact,
    ContactExists,
    ContactNotFound,
    TooManyContacts,
)
from services.scheduler.notify.schemes import WEBHOOKS, redacted
from services.scheduler.notify.seal import Seal
from services.scheduler.state.events import ContactsChanged

MOST_CONTACTS = 100
CANCELLED = "the contact was deleted"


class Contacts:
    """The repository. ``kept`` of a mutation is called as the last step of its transaction."""

    def __init__(self, engine: Engine, clock: Clock, seal: Seal) -> None:
        self._engine = engine
        self._database = engine.store.database
        self._sql = engine.store.sql
        self._clock = clock
        self._seal = seal

    async def create(
        self, account: str, name: str, scheme: str, url: str, default_for: int, kept: Kept[Any] = nothing_kept
    ) -> tuple[Contact, str]:
        """The contact, and the key that signs a webhook's messages. Raises `ContactExists`, `TooManyContacts`."""
        contact_id = str(uuid.uuid4())
        secret = make_secret("webhook") if scheme in WEBHOOKS else ""
        contact = Contact(
            contact_id, account, name, scheme, redacted(url), self._seal.close(url, contact_id),
            self._seal.close(secret, contact_id), default_for, self._clock.now_ms(), 0,
        )  # fmt: skip

        def insert(connection: sqlite3.Connection) -> tuple[KnownContact, ...]:
            if connection.execute(self._sql["get_contact"], (account, name)).fetchone():
                raise ContactExists(f"there is a contact {name!r} already", field="name",
                                    next_step=f"choose another name, or: yard contacts rm {name}")  # fmt: skip
            if connection.execute(self._sql["count_contacts"], (account,)).fetchone()[0] >= MOST_CONTACTS:
                raise TooManyContacts(f"{account} has {MOST_CONTACTS} contacts", next_step="yard contacts ls")
            connection.execute(self._sql["insert_contact"], msgspec.structs.astuple(contact))
            kept(connection, (contact, secret))
            return self.known(connection, account)

        self._tell(account, await self._database.write(insert))
        return contact, secret

    async def get(self, account: str, name: str) -> Contact:
        """Raises `ContactNotFound`."""
        found = await self._database.read(lambda c: self._row(c, "get_contact", (account, name)))
        if found is None:
            raise _not_found(name)
        return found

    async def by_id(self, contact_id: str) -> Contact | None:
        """None: it was deleted."""
        return await self._database.read(lambda c: self._row(c, "contact_by_id", (contact_id,)))

    async def list(self, account: str, after: str, most: int) -> "list[Contact]":
        """By name."""
        sql = self._sql["contacts_of_account"]
        return await self._database.read(
            lambda c: [Contact(*row) for row in c.execute(sql, (account, after, most))]
        )

    async def set_default(
        self, contact: Contact, default_for: int, kept: Kept[Any] = nothing_kept
    ) -> Contact:
        """The contact as it is then."""
        changed = msgspec.structs.replace(contact, default_for=default_for)
        await self._change(changed, "set_default_contact", (default_for, contact.id), kept)
        return changed

    async def verify(self, contact: Contact) -> Contact:
        """It has taken a test message."""
        changed = msgspec.structs.replace(contact, verify_ms=self._clock.now_ms())
        await self._change(changed, "verify_contact", (changed.verify_ms, contact.id), nothing_kept)
        return changed

    async def _change(self, contact: Contact, query: str, values: tuple[Any, ...], kept: Kept[Any]) -> None:
        def change(connection: sqlite3.Connection) -> tuple[KnownContact, ...]:
            connection.execute(self._sql[query], values)
            kept(connection, contact)
            return self.known(connection, contact.account)

        self._tell(contact.account, await self._database.write(change))

    async def delete(self, contact: Contact, kept: Kept[Any] = nothing_kept) -> int:
        """How many messages were still to be sent; now they never are."""

        def change(connection: sqlite3.Connection) -> tuple[int, tuple[KnownContact, ...]]:
            connection.execute(self._sql["delete_contact"], (contact.id,))
            cancelled = connection.execute(self._sql["cancel_deliveries"], (CANCELLED, contact.id)).rowcount
            kept(connection, cancelled)
            return cancelled, self.known(connection, contact.account)

        cancelled, known = await self._database.write(change)
        self._tell(contact.account, known)
        return cancelled

    async def need_library(self) -> bool:
        """Whether any verified contact is told through the library."""
        schemes = self._sql["schemes_in_use"]
        return bool(await self._database.read(lambda c: {s for (s,) in c.execute(schemes)}) - WEBHOOKS)

    def address_of(self, contact: Contact) -> tuple[str, str]:
        """URL and signing key, for the sender alone. Raises `SealBroken`."""
        url = self._seal.open(contact.sealed_url, contact.id)
        return url, self._seal.open(contact.sealed_secret, contact.id)

    def _row(self, connection: sqlite3.Connection, query: str, values: tuple[str, ...]) -> Contact | None:
        found = connection.execute(self._sql[query], values).fetchone()
        return Contact(*found) if found else None

    def known(self, connection: sqlite3.Connection, account: str) -> tuple[KnownContact, ...]:
        """What the account's contacts are at this point of a transaction."""
        rows = connection.execute(self._sql["contacts_of_account"], (account, "", MOST_CONTACTS))
        return tuple(Contact(*row).known for row in rows)

    def _tell(self, account: str, known: tuple[KnownContact, ...]) -> None:
        self._engine.post(ContactsChanged(account, known))


def _not_found(name: str) -> ContactNotFound:
    return ContactNotFound(f"there is no contact {name[:80]!r}", field="name", next_step="yard contacts ls")
