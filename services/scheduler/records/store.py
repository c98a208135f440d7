"""The scheduler's database: writes what a step wants kept, and gives it back after a restart.

Knows SQL and rows, decides nothing. Every function handed to the database runs inside one transaction.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from services.chassis.storage.sqlite import Database, load_migrations, load_queries
from services.scheduler.model import (
    STRIDE,
    Condition,
    Dependency,
    FieldVerdict,
    Spec,
    number_of,
)
from services.scheduler.records import restart
from services.scheduler.records.holders import holder_of
from services.scheduler.records.restart import DAY_MS
from services.scheduler.records.rows import (
    VERDICTS,
    ChangeRow,
    Counters,
    ModificationRow,
    Recovered,
    TaskRow,
    modification_of,
)
from services.scheduler.state.effects import (
    ForgetNode,
    ForgetQueue,
    InsertDelivery,
    InsertDependency,
    InsertSpec,
    InsertTask,
    RecordAccount,
    RecordChange,
    RecordGang,
    RecordGrace,
    RecordModification,
    RecordNode,
    RecordQueue,
    RecordRequest,
    Row,
    SharingRow,
)
from services.scheduler.state.events import EndedTask

PACKAGE = "services.scheduler"
NOTIFY_PACKAGE = "services.scheduler.notify"
# Revisions of progress are shown and not stored: a new epoch begins beyond them.
EPOCH_REVISIONS = 1_000_000
# So few are committed without a hop to the database's thread.
SMALL_ROWS = 8


class SchedulerStore:
    """Open with `open`; must be closed."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.sql = {**load_queries(PACKAGE), **load_queries(NOTIFY_PACKAGE)}

    @classmethod
    async def open(cls, path: Any) -> "SchedulerStore":
        return cls(await Database.open(path, load_migrations(PACKAGE)))

    async def close(self) -> None:
        await self.database.close()

    async def persist(self, rows: Sequence[Row], counters: Counters, time_ms: int) -> None:
        """One transaction with everything that one step wants kept."""
        await self.database.write(
            lambda connection: self._persist(connection, rows, counters, time_ms),
            is_small=len(rows) <= SMALL_ROWS,
        )

    def _persist(
        self, connection: sqlite3.Connection, rows: Iterable[Row], counters: Counters, time_ms: int
    ) -> None:
        sql = self.sql
        tasks: list[tuple[Any, ...]] = []
        changes: list[tuple[Any, ...]] = []
        dependencies: list[tuple[Any, ...]] = []
        for row in rows:
            if type(row) is RecordChange:
                changes.append(
                    (row.revision, row.task, row.state, row.attempt, row.epoch, row.node, row.time_ms, row.start_ms,
                     row.cause, row.detail, row.payload, ",".join(map(str, row.devices)))
                )  # fmt: skip
            elif type(row) is InsertTask:
                tasks.append((row.key, row.revision, row.spec, row.account, row.params, row.submit_ms))
                if row.request is not None:
                    account, request_id, content, count = row.request
                    first = number_of(row.key)
                    connection.execute(
                        sql["insert_request"], (account, request_id, content, first, count, time_ms)
                    )
            elif type(row) is InsertSpec:
                self._insert_spec(connection, row.spec)
            elif type(row) is RecordModification:
                self._insert_modification(connection, row)
            elif type(row) is RecordRequest:
                connection.execute(
                    sql["insert_request"],
                    (row.account, row.request_id, row.content, row.first, row.count, time_ms),
                )
            elif type(row) is RecordNode:
                labels = msgspec.json.encode(row.labels).decode()
                connection.execute(
                    sql["put_node"], (row.node, row.is_cordoned, labels, row.drain_deadline_ms)
                )
            elif isinstance(row, SharingRow):
                self._persist_sharing(connection, row)
            elif type(row) is RecordGang:
                last = max(key for key, _ in row.units)
                units = msgspec.json.encode(row.units)
                connection.execute(sql["put_gang"], (row.key, last, row.name, units, row.is_loose))
            elif type(row) is RecordGrace:
                connection.execute(sql["put_grace"], (row.task, row.grace_ms))
            elif type(row) is ForgetNode:
                connection.execute(sql["delete_node"], (row.node,))
                connection.execute(sql["delete_tokens_of_node"], (row.node,))
            elif type(row) is InsertDependency:
                on = row.dependency
                dependencies.append((row.task, row.place, on.on, on.condition, on.is_element_wise))
            elif type(row) is InsertDelivery:
                connection.execute(
                    sql["insert_delivery"],
                    (row.event_id, row.contact_id, row.account, row.contact, row.subject, row.event, row.title,
                     row.time_ms, row.time_ms, 0),
                )  # fmt: skip
        if tasks:
            connection.executemany(sql["insert_task"], tasks)
        if dependencies:
            connection.executemany(sql["insert_dependency"], dependencies)
        if changes:
            connection.executemany(sql["insert_change"], changes)
        connection.execute(sql["set_meta"], ("counters", msgspec.json.encode(counters)))

    def _persist_sharing(self, connection: sqlite3.Connection, row: SharingRow) -> None:
        sql = self.sql
        if isinstance(row, RecordQueue):
            connection.execute(sql["put_queue"], (row.name, msgspec.json.encode(row.settings)))
        elif isinstance(row, RecordAccount):
            connection.execute(sql["put_share"], (row.name, msgspec.json.encode(row.settings)))
        elif isinstance(row, ForgetQueue):
            connection.execute(sql["delete_queue"], (row.name,))
            connection.execute(sql["delete_uses_of_queue"], (row.name,))
        else:
            connection.executemany(sql["put_use"], [msgspec.structs.astuple(use) for use in row.uses])

    def _insert_modification(self, connection: sqlite3.Connection, row: RecordModification) -> None:
        connection.execute(
            self.sql["insert_modification"],
            (row.revision, row.task, row.request_revision, row.attempt, row.time_ms, row.spec, row.params,
             msgspec.json.encode(row.pending), msgspec.json.encode(row.verdicts)),
        )  # fmt: skip
        if row.request is not None:
            # No tasks: what is remembered is where its verdicts are.
            connection.execute(self.sql["insert_request"], (*row.request, row.revision, 0, row.time_ms))

    def _insert_spec(self, connection: sqlite3.Connection, spec: Spec) -> None:
        account, head = spec.shape.account, msgspec.json.encode(msgspec.structs.replace(spec, body=b""))
        holder = holder_of(account, spec.digests)
        connection.execute(
            self.sql["insert_spec"], (spec.number, account, spec.name, spec.body, head, holder)
        )

    async def begin_epoch(self, skip: int = 0) -> Counters:
        """The counters with the epoch raised, on disk. ``skip`` keeps a restored copy clear of what came after it."""
        return await self.database.write(lambda connection: self._begin_epoch(connection, skip))

    def _begin_epoch(self, connection: sqlite3.Connection, skip: int) -> Counters:
        counters = restart.read_counters(connection, self.sql)
        counters.epoch += 1 + skip
        counters.next_number += skip
        counters.revision += EPOCH_REVISIONS + skip
        connection.execute(self.sql["set_meta"], ("counters", msgspec.json.encode(counters)))
        return counters

    async def recover(self, now_ms: int, most_requests: int, most_changes: int) -> Recovered:
        """Everything that is unfinished, as of the last commit."""
        return await self.database.read(
            lambda c: restart.read_back(c, self.sql, now_ms, most_requests, most_changes)
        )

    async def get_ended(self, key: int, *, with_elements: bool) -> EndedTask:
        """How a task ended; its ``state`` is None until then; never made counts as CANCELLED."""
        return await self.database.read(
            lambda c: restart.ended(c, self.sql, key, with_elements=with_elements)
        )

    async def get_dependencies(self, key: int) -> list[Dependency]:
        """What a task depends on, in the order of its specification."""
        sql = self.sql["dependencies_of_task"]
        return await self.database.read(
            lambda c: [
                Dependency(on, Condition(condition), bool(e)) for on, condition, e in c.execute(sql, (key,))
            ]
        )

    async def get_task(self, key: int) -> tuple[TaskRow, list[ChangeRow]] | None:
        """A task and all that happened to it, oldest first; None: there is none."""

        def query(connection: sqlite3.Connection) -> tuple[TaskRow, list[ChangeRow]] | None:
            found = connection.execute(self.sql["get_task"], (key,)).fetchone()
            if found is None:
                return None
            changes = connection.execute(self.sql["changes_of_task"], (key,))
            return TaskRow(*found), [ChangeRow(*row) for row in changes]

        return await self.database.read(query)

    async def get_modifications(self, key: int) -> list[ModificationRow]:
        """What was changed of a task after its submission, oldest first."""
        sql = self.sql["modifications_of_task"]
        return await self.database.read(lambda c: list(map(modification_of, c.execute(sql, (key,)))))

    async def get_verdicts(self, key: int, revision: int) -> list[FieldVerdict]:
        """What became of one modification, the latest word last."""
        sql = self.sql["verdicts_of_modification"]

        def query(connection: sqlite3.Connection) -> list[FieldVerdict]:
            rows = connection.execute(sql, (key, revision))
            return [verdict for (verdicts,) in rows for verdict in VERDICTS.decode(verdicts)]

        return await self.database.read(query)

    async def get_modifications_of_request(self, first: int, count: int) -> list[ModificationRow]:
        """What was recorded of the changes that were made under these revisions, oldest first."""
        named = {"first": first, "last": first + count - 1}
        sql = self.sql["modifications_of_request"]
        return await self.database.read(lambda c: list(map(modification_of, c.execute(sql, named))))

    async def list_tasks(
        self, account: str | None, before: int, ended_after_ms: int, most: int, array: int = 0
    ) -> list[int]:
        """Keys, newest first; elements of ``array`` where one is given. ``account`` None: everybody's."""
        name = "list_elements" if array else "list_tasks"
        if array:
            before = min(before, array + STRIDE)
        named: Mapping[str, Any] = {
            "account": account, "before": before, "ended_after_ms": ended_after_ms, "most": most, "array": array,
        }  # fmt: skip
        return await self.database.read(lambda c: [key for (key,) in c.execute(self.sql[name], named)])

    async def get_request(self, account: str, request_id: str) -> tuple[bytes, int, int] | None:
        """Content, first number and count of a request that was taken; None: it is not known (any more)."""
        values = (account, request_id)
        return await self.database.read(lambda c: c.execute(self.sql["get_request"], values).fetchone())

    async def get_tally(self, key: int) -> dict[int, int]:
        """How the elements of an array ended, by state."""
        return await self.database.read(lambda c: restart.tally(c, self.sql, key))

    async def prune_requests(self, now_ms: int) -> None:
        """Forgets request ids of more than a day ago and what they were answered, some at a time."""
        before = (now_ms - DAY_MS,)
        await self.database.write(lambda c: c.execute(self.sql["prune_requests"], before))
        await self.database.write(lambda c: c.execute(self.sql["prune_answers"], before))
