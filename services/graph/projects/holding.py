"""What versions of projects need of the store, bundles and parameters: referred to for as long as the project exists.

Else the store would collect, after its grace, what a version that never changes is made of.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from services.chassis.requests.marks import Kept
from services.chassis.steps.errands import Errand, Errands
from services.graph.canvases.canvas import Canvas
from services.graph.canvases.identifiers import is_digest
from services.graph.records.owing import Kind, Reference

T = TypeVar("T")
_PACK = msgspec.msgpack.Encoder().encode


class Holding:
    """Owes the store what is saved and what is deleted, in the transaction that does it."""

    def __init__(self, errands: Errands) -> None:
        self._errands = errands

    def saved(self, project: str, account: str, canvas: Canvas) -> list[Errand]:
        """For a new version that an account saves: one for each artefact, so that one that is gone stops no other."""
        return [self._refer(project, account, (digest,)) for digest in sorted(set(_digests(canvas)))]

    def deleted(self, project: str, account: str) -> list[Errand]:
        """For a project that goes."""
        return [self._refer(project, account, ())]

    def within(self, errands: Sequence[Errand], kept: Kept[T]) -> Kept[T]:
        """`kept`, and the errands, in one transaction."""

        def both(db: sqlite3.Connection, value: T) -> None:
            kept(db, value)
            self._errands.write(db, errands)

        return both

    def owe(self, errands: Sequence[Errand]) -> None:
        """They are on disk."""
        self._errands.owe(errands)

    def _refer(self, project: str, account: str, digests: tuple[str, ...]) -> Errand:
        wish = Reference(f"project:{project}", digests)
        return self._errands.take(Kind.REFERENCES, account, _PACK(wish))


def _digests(canvas: Canvas) -> Iterator[str]:
    """Of the drawing and all bodies, each body of a body included."""
    waiting = [canvas]
    for drawing in waiting:
        waiting += [body.canvas for body in drawing.subgraphs.values()]
        for node in drawing.nodes:
            for text in (node.bundle_digest, node.parameter_address.removeprefix("artifact:")):
                if is_digest(text):
                    yield text
