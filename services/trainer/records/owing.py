"""What a step wants of other services, as errands: their rows go with the step's, and stay until they are done."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from services.chassis.steps.errands import Errand, Errands
from services.trainer.state import effects as e

_PACK = msgspec.msgpack.Encoder().encode
_TASKS = msgspec.msgpack.Decoder(tuple[str, ...])


class Kind(StrEnum):
    """Also the text in the table."""

    CANCELLATION = "cancellation"
    """Tasks of seats that nobody wants."""
    REFERENCES = "references"
    """What the store keeps for a job, or lets go."""
    NOTICE = "notice"
    """A job has ended."""
    SWEEP_NOTICE = "sweep_notice"
    """A sweep has ended."""


def tasks_of(content: bytes) -> tuple[str, ...]:
    """Of a cancellation."""
    return _TASKS.decode(content)


def owed(wishes: Iterable[e.Wish], errands: Errands) -> list[Errand]:
    """New errands, for what they are to be handed over once their rows are on disk."""
    found = []
    for wish in wishes:
        if isinstance(wish, e.CancelSeats):
            found.append(errands.take(Kind.CANCELLATION, wish.account, _PACK(wish.tasks)))
        elif isinstance(wish, e.HoldReferences):
            found.append(errands.take(Kind.REFERENCES, wish.account, _PACK((wish.holder, wish.digests))))
        elif isinstance(wish, e.TellEnd):
            found.append(errands.take(Kind.NOTICE, wish.account, _PACK(wish.job)))
        elif isinstance(wish, e.TellSweepEnd):
            found.append(errands.take(Kind.SWEEP_NOTICE, wish.account, _PACK(wish.sweep)))
    return found
