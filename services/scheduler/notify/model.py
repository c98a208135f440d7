"""The nouns of notification: rows as the database has them, and reasons to refuse. Pure."""

from enum import IntEnum

import msgspec

from services.chassis.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from services.scheduler.notification import KnownContact


class DeliveryState(IntEnum):
    """`ContactDeliveryState` of ``contact.proto``."""

    PENDING = 1
    DELIVERED = 2
    DEAD = 3


class Contact(msgspec.Struct, frozen=True):
    """A row; the address is redacted, the sealed ones are for the sender alone."""

    id: str
    account: str
    name: str
    scheme: str
    address: str
    sealed_url: bytes
    sealed_secret: bytes
    default_for: int
    create_ms: int
    verify_ms: int

    @property
    def known(self) -> KnownContact:
        return KnownContact(self.id, self.name, self.verify_ms > 0, self.default_for)


class Delivery(msgspec.Struct, frozen=True):
    """A row: one message to one contact."""

    number: int
    event_id: str
    contact_id: str
    account: str
    contact: str
    # "t-7", "r-12"; empty: a test message.
    subject: str
    event: str
    title: str
    state: int
    attempt_count: int
    # Attempts since it was made, or taken up again.
    failures: int
    create_ms: int
    attempt_ms: int
    next_ms: int
    error: str
    # What it says lies in this row of `message`; 0: what it says is read off the task.
    message: int = 0

    @property
    def is_test(self) -> bool:
        return not self.subject


class Message(msgspec.Struct, frozen=True):
    """What a service wants told of an account's work, to whoever is to hear of it."""

    account: str
    # What happened, in the service's words, once for all time.
    event_id: str
    subject: str
    # "run.failed".
    kind: str
    title: str
    text: str
    # A JSON object for webhooks.
    facts: str
    # Name, digest and size of artefacts that may go along.
    outputs: tuple[tuple[str, str, int], ...] = ()


class ContactNotFound(NotFound):
    """There is no such contact."""


class DeliveryNotFound(NotFound):
    """There is no such delivery."""


class ContactExists(AlreadyExists):
    """There is a contact of this name already."""


class ContactNotVerified(FailedPrecondition):
    """The contact has not taken its test message yet."""


class ContactUrlInvalid(InvalidArgument):
    """This is not a contact's URL."""


class ContactSchemeRefused(InvalidArgument):
    """Contacts of this scheme are not allowed."""


class NoticeInvalid(InvalidArgument):
    """What is said of notifications contradicts itself."""


class MessageInvalid(InvalidArgument):
    """This cannot be told to anybody."""


class NotifyNotInstalled(FailedPrecondition):
    """Only webhooks can be told: the extra "notify" is not installed."""


class TooManyContacts(ResourceExhausted):
    """The account has as many contacts as it may."""
