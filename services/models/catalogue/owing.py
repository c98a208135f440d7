"""What a step wants of scheduler and store, as errands: their rows go with the step's, and stay until they are done."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from services.chassis.steps.errands import Errand, Errands
from services.models.catalogue import effects as e

_PACK = msgspec.msgpack.Encoder().encode
_TASK = msgspec.msgpack.Decoder(str)


class Kind(StrEnum):
    """Also the text in the table."""

    CANCELLATION = "catalogue.cancellation"
    """Work that nobody needs."""
    REFERENCES = "catalogue.references"
    """What the store keeps for a version, or lets go."""


def tasks_of(content: bytes) -> tuple[str]:
    """Of a cancellation."""
    return (_TASK.decode(content),)


def owed(wishes: Iterable[e.Wish], errands: Errands) -> list[Errand]:
    """New errands, to be handed over once their rows are on disk."""
    found = []
    for wish in wishes:
        if isinstance(wish, e.Cancel):
            found.append(errands.take(Kind.CANCELLATION, wish.account, _PACK(wish.task)))
        elif isinstance(wish, e.Hold):
            found.append(errands.take(Kind.REFERENCES, wish.account, _PACK((wish.holder, wish.digests))))
    return found
