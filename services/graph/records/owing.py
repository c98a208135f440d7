"""What a step wants of other services, as errands: one for what belongs together. The rows go with the step's."""

import sqlite3
from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from services.chassis.steps.errands import Errand, Errands, Owed
from services.graph.runs import effects as e

_PACK = msgspec.msgpack.Encoder().encode


class Kind(StrEnum):
    """Also the text in the table."""

    NOTICE = "notice"
    REFERENCES = "references"
    CANCELLATION = "cancellation"
    WITHDRAWAL = "withdrawal"


class Reference(msgspec.Struct, frozen=True):
    """A holder refers to artefacts as well, or (none) to nothing any more."""

    holder: str
    digests: tuple[str, ...]


class Cancellation(msgspec.Struct, frozen=True):
    """Tasks that nobody needs."""

    tasks: tuple[str, ...]


class Notice(msgspec.Struct, frozen=True):
    """A run has ended, or (with `gate`) one of its gates waits."""

    run: int
    gate: str = ""
    asks: str = ""
    failed_node: str = ""


def owed(effects: e.Effects, errands: Errands) -> list[Errand]:
    """New errands, for what they are to be handed over once their rows, which are added here, are on disk."""
    wanted: list[tuple[Kind, str, object]] = []
    held: dict[tuple[str, str], int] = {}
    for wish in effects.wishes:
        if isinstance(wish, e.KeepArtifacts):
            _refer(wish, wanted, held)
        elif isinstance(wish, e.CancelTasks):
            wanted.append((Kind.CANCELLATION, wish.account, Cancellation(wish.tasks)))
        elif isinstance(wish, e.Tell):
            notice = Notice(wish.run, wish.gate, wish.asks, wish.failed_node)
            wanted.append((Kind.NOTICE, wish.account, notice))
    made = [errands.take(kind, account, _PACK(content)) for kind, account, content in wanted]
    effects.rows += [e.InsertErrand(each.number, each.kind, each.account, each.content) for each in made]
    return made


def _refer(
    wish: e.KeepArtifacts, wanted: list[tuple[Kind, str, object]], held: dict[tuple[str, str], int]
) -> None:
    """Together with what its holder refers to since this step. `held`: places of that in `wanted`."""
    holder = (wish.account, wish.holder)
    place = held.get(holder)
    if place is not None and wish.digests:
        before = wanted[place][2]
        assert isinstance(before, Reference)
        digests = before.digests + wish.digests
        wanted[place] = (Kind.REFERENCES, wish.account, Reference(wish.holder, digests))
        return
    if wish.digests:
        held[holder] = len(wanted)
    else:
        held.pop(holder, None)
    wanted.append((Kind.REFERENCES, wish.account, Reference(wish.holder, wish.digests)))


def withdrawals(c: sqlite3.Connection, sql: Mapping[str, str]) -> Iterable[Owed]:
    """What an earlier process sent for runs that ended before it was answered. Within the transaction of a start."""
    for batch, account, content in c.execute(sql["orphaned_batches"]).fetchall():
        c.execute(sql["delete_batch"], (batch,))
        yield Kind.WITHDRAWAL, account, content
