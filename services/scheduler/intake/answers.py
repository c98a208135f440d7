"""The scheduler's first answers (`chassis.answers`), together with what the machine remembers of requests.

An RPC that changes things by an event of the machine (`Engine.post`) has its id recorded in the same transaction. The
repetition is then not applied again, its `Answer` has the first one's ``first`` and ``count``.
"""

import sqlite3
from typing import TypeVar

from google.protobuf.descriptor import FileDescriptor

from services.chassis.requests import answers as chassis
from services.chassis.requests.marks import Mark
from services.scheduler.engine import Engine
from services.scheduler.intake.submission import check_request_id, recall
from services.scheduler.state.events import RequestRecalled

# These are told apart by the machine: a submission's answer is its numbers, a modification's lies with its tasks.
OWN_PROMISE = frozenset({"SubmitTasks", "ModifyTask", "ModifyTasks"})

T = TypeVar("T")


class Answers(chassis.Answers):
    """The memory of first answers. ``key`` (32 bytes) lies in the state directory, not in the database."""

    def __init__(self, engine: Engine, key: bytes) -> None:
        super().__init__(engine.store.database, engine.store.sql, engine.clock.now_ms, key)
        self._engine = engine

    def check_id(self, text: str) -> None:
        check_request_id(text)

    async def before(self, mark: Mark) -> None:
        await recall(self._engine, mark.account, mark.request_id)

    def after(self, mark: Mark) -> None:
        if (mark.account, mark.request_id) not in self._engine.state.requests:
            # Submissions look there whether an id was used.
            self._engine.post(RequestRecalled(mark.account, mark.request_id, mark.content, 0, 0))

    def require_unused(self, connection: sqlite3.Connection, mark: Mark) -> None:
        """The id may have been used by a request that the machine answered."""
        found = connection.execute(self._sql["get_request"], (mark.account, mark.request_id)).fetchone()
        if found is not None and found[0] != mark.content:
            raise chassis.reused()

    def recorded(self, connection: sqlite3.Connection, mark: Mark, time_ms: int) -> None:
        own = (mark.account, mark.request_id, mark.content)
        connection.execute(self._sql["insert_request_if_new"], (*own, 0, 0, time_ms))


def repeatable(servicer: T, file: FileDescriptor, answers: Answers) -> T:
    """The servicer, with the promise around each of its RPCs that the machine does not keep."""
    return chassis.repeatable(servicer, file, answers, OWN_PROMISE)
