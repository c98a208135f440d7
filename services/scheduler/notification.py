"""What the machine knows of notifications: who can be told, and what somebody wants to hear of. Pure."""

import uuid
from enum import IntFlag

import msgspec


class Event(IntFlag):
    """`NotificationEvent` of ``task.proto`` as bits: what somebody wants to hear of."""

    SUCCEEDED = 1
    FAILED = 2
    BOTH_ENDS = 3
    GATE_WAITING = 4
    ALL = 7


class Notice(msgspec.Struct, frozen=True):
    """What a specification, or a run, says of notifications. No contact: the account's defaults."""

    contact: str = ""
    events: int = int(Event.ALL)
    silent: bool = False
    # Whether events were named.
    is_asked: bool = False


class KnownContact(msgspec.Struct, frozen=True):
    """What the machine needs to know of a contact."""

    id: str
    name: str
    is_verified: bool
    default_for: int = 0


def event_id(contact_id: str, event: str) -> str:
    """The same for the same event, however often it is sent; contacts' ids are unique in the world, so it is too."""
    return str(uuid.uuid5(uuid.UUID(contact_id), event))
