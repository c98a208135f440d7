"""The scheduler's database: writes what a step wants kept, and gives it back after a restart.

Knows SQL and rows, decides nothing. Every function handed to the database runs inside one transaction.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec

from services.chassis.sqlite import Database, load_migrations, load_queries
from services.scheduler.effects import (
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
    UseRow,
)
from services.scheduler.events import EndedTask
from services.scheduler.holders import holder_of
from services.scheduler.model import (
    STRIDE,
    Condition,
    Dependency,
    FieldVerdict,
    PendingChange,
    Spec,
    TaskState,
    array_of,
    index_of,
    number_of,
)
from services.scheduler.notify.model import KnownContact
from services.scheduler.tally import STARTED
from services.scheduler.tenants import AccountSettings, QueueSettings

PACKAGE = "services.scheduler"
NOTIFY_PACKAGE = "services.scheduler.notify"
DAY_MS = 86_400_000
# Revisions of progress are shown and not stored: a new epoch begins beyond them.
EPOCH_REVISIONS = 1_000_000
# So few are committed without a hop to the database's thread.
SMALL_ROWS = 8


class Counters(msgspec.Struct):
    """Where numbering goes on; written with every transaction."""

    epoch: int = 0
    next_number: int = 1
    revision: int = 0
    next_spec: int = 1
    # No task below this key is unfinished.
    live_from: int = 0


class TaskRow(msgspec.Struct, frozen=True):
    key: int
    spec: int
    account: str
    params: str
    submit_ms: int
    revision: int
    body: bytes = b""


class ChangeRow(msgspec.Struct, frozen=True):
    revision: int
    state: int
    attempt: int
    epoch: int
    node: str
    time_ms: int
    start_ms: int
    cause: int
    detail: str
    payload: bytes
    # Comma-separated indexes.
    devices: str = ""


class ModificationRow(msgspec.Struct, frozen=True):
    task: int
    revision: int
    request_revision: int
    attempt: int
    time_ms: int
    spec: int
    params: str
    pending: tuple[PendingChange, ...]
    verdicts: tuple[FieldVerdict, ...]


class ArrayRow(msgspec.Struct, frozen=True):
    """How far an array is: elements below ``next_index`` had their turn, and so did those in ``skipped``."""

    next_index: int
    skipped: tuple[int, ...]
    ended: Mapping[int, int]


def is_in_order(spec: Spec) -> bool:
    """Whether elements of an array have their turn one after the other."""
    return not spec.array_indexes and not any(one.is_element_wise for one in spec.dependencies)


class Recovered(msgspec.Struct):
    """What a restart finds."""

    counters: Counters
    specs: list[Spec]
    accounts_of_specs: dict[int, str]
    tasks: list[TaskRow]
    changes: dict[int, list[ChangeRow]]
    arrays: dict[int, "ArrayRow"]
    # Of the last day, and whether there are more.
    requests: list[tuple[str, str, bytes, int, int]]
    has_more_requests: bool
    recent: list[tuple[int, int, str]]
    # (id, whether it is cordoned, labels, when a drain ends what runs).
    nodes: list[tuple[str, bool, list[tuple[str, str, bool]], int]]
    modifications: dict[int, list[ModificationRow]] = {}
    dependencies: dict[int, list[Dependency]] = {}
    # Of what they are on, where it has ended; of arrays with what became of their elements, where that matters.
    ended: dict[int, EndedTask] = {}
    # By account and name.
    contacts: dict[str, dict[str, KnownContact]] = {}
    gangs: list[RecordGang] = []
    queues: list[tuple[str, QueueSettings]] = []
    account_settings: list[tuple[str, AccountSettings]] = []
    uses: list[UseRow] = []
    # Up to here changes of tasks that are no longer kept are missing.
    pruned_revision: int = 0
    # How long tasks that are asked to end have, where that is not the usual time.
    graces: dict[int, int] = {}


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
        counters = self._counters(connection)
        counters.epoch += 1 + skip
        counters.next_number += skip
        counters.revision += EPOCH_REVISIONS + skip
        connection.execute(self.sql["set_meta"], ("counters", msgspec.json.encode(counters)))
        return counters

    def _counters(self, connection: sqlite3.Connection) -> Counters:
        found = connection.execute(self.sql["get_meta"], ("counters",)).fetchone()
        return msgspec.json.decode(found[0], type=Counters) if found else Counters()

    async def recover(self, now_ms: int, most_requests: int, most_changes: int) -> Recovered:
        """Everything that is unfinished, as of the last commit."""
        return await self.database.read(lambda c: self._recover(c, now_ms, most_requests, most_changes))

    def _recover(
        self, connection: sqlite3.Connection, now_ms: int, most_requests: int, most_changes: int
    ) -> Recovered:
        sql = self.sql
        counters = self._counters(connection)
        tasks = [TaskRow(*row) for row in connection.execute(sql["live_tasks"], (counters.live_from,))]
        changes: dict[int, list[ChangeRow]] = defaultdict(list)
        for (
            task,
            state,
            attempt,
            epoch,
            node,
            time_ms,
            start_ms,
            cause,
            detail,
            revision,
            devices,
        ) in connection.execute(sql["changes_of_live_tasks"], (counters.live_from,)):
            changes[task].append(
                ChangeRow(
                    revision, state, attempt, epoch, node, time_ms, start_ms, cause, detail, b"", devices
                )
            )
        specs, accounts = self._specs(connection)
        by_number = {spec.number: spec for spec in specs}
        arrays = {
            row.key: self._array(connection, row.key, is_in_order=is_in_order(by_number[row.spec]))
            for row in tasks
            if index_of(row.key) < 0 and by_number[row.spec].array_size
        }
        dependencies: dict[int, list[Dependency]] = defaultdict(list)
        for task, on, condition, is_element_wise in connection.execute(
            sql["dependencies_of_live_tasks"], (counters.live_from,)
        ):
            dependencies[task].append(Dependency(on, Condition(condition), bool(is_element_wise)))
        ended = self._ended_of(connection, dependencies.values(), {row.key for row in tasks})
        day_ago = now_ms - DAY_MS
        requests = list(connection.execute(sql["recent_requests"], (day_ago, most_requests)))
        older = connection.execute(sql["older_request"], (day_ago,)).fetchone()
        recent = list(connection.execute(sql["recent_changes"], (most_changes,)))
        nodes = [
            (node, bool(cordoned), msgspec.json.decode(labels, type=list[tuple[str, str, bool]]), deadline_ms)
            for node, cordoned, labels, deadline_ms in connection.execute(sql["all_nodes"])
        ]
        gangs = [
            RecordGang(
                key, name, msgspec.json.decode(units, type=tuple[tuple[int, int], ...]), bool(is_loose)
            )
            for key, name, units, is_loose in connection.execute(sql["live_gangs"], (counters.live_from,))
        ]
        has_more = older is not None or len(requests) >= most_requests
        modifications: dict[int, list[ModificationRow]] = defaultdict(list)
        for values in connection.execute(sql["modifications_of_live_tasks"], (counters.live_from,)):
            modifications[values[0]].append(_modification(values))
        return Recovered(
            counters, specs, accounts, tasks, changes, arrays, requests[::-1], has_more, recent[::-1], nodes,
            modifications, dependencies, ended, self._known_contacts(connection), gangs,
            *self._sharing(connection),
            pruned_revision=self._pruned_revision(connection),
            graces=dict(connection.execute(sql["graces_of_live_tasks"], (counters.live_from,)).fetchall()),
        )  # fmt: skip

    def _pruned_revision(self, connection: sqlite3.Connection) -> int:
        found = connection.execute(self.sql["get_meta"], ("pruned_revision",)).fetchone()
        return int(found[0]) if found else 0

    def _known_contacts(self, connection: sqlite3.Connection) -> dict[str, dict[str, KnownContact]]:
        contacts: dict[str, dict[str, KnownContact]] = defaultdict(dict)
        for account, id, name, verify_ms, default_for in connection.execute(self.sql["known_contacts"]):
            contacts[account][name] = KnownContact(id, name, verify_ms > 0, default_for)
        return dict(contacts)

    def _sharing(
        self, connection: sqlite3.Connection
    ) -> tuple[list[tuple[str, QueueSettings]], list[tuple[str, AccountSettings]], list[UseRow]]:
        queues = [
            (name, msgspec.json.decode(settings, type=QueueSettings))
            for name, settings in connection.execute(self.sql["all_queues"])
        ]
        accounts = [
            (name, msgspec.json.decode(settings, type=AccountSettings))
            for name, settings in connection.execute(self.sql["all_shares"])
        ]
        return queues, accounts, [UseRow(*row) for row in connection.execute(self.sql["all_uses"])]

    def _specs(self, connection: sqlite3.Connection) -> tuple[list[Spec], dict[int, str]]:
        specs, accounts = [], {}
        decoder = msgspec.json.Decoder(Spec)
        for number, account, body, head in connection.execute(self.sql["all_specs"]):
            specs.append(msgspec.structs.replace(decoder.decode(head), number=number, body=body))
            accounts[number] = account
        return specs, accounts

    def _ended_of(
        self,
        connection: sqlite3.Connection,
        dependencies: Iterable[Sequence[Dependency]],
        live: Collection[int],
    ) -> dict[int, EndedTask]:
        """Of all that is depended on: what is not live has ended, or was never made; and elements that have."""
        by_elements: dict[int, bool] = {}
        for dependency in chain.from_iterable(dependencies):
            is_wanted = by_elements.get(dependency.on, False)
            by_elements[dependency.on] = is_wanted or dependency.is_element_wise
        return {
            on: self._ended(connection, on, with_elements=with_elements, is_live=on in live)
            for on, with_elements in by_elements.items()
            if on not in live or with_elements
        }

    def _ended(
        self, connection: sqlite3.Connection, key: int, *, with_elements: bool, is_live: bool = False
    ) -> EndedTask:
        final, has_started = connection.execute(self.sql["outcome_of_task"], (key,)).fetchone()
        elements = self._elements(connection, key) if with_elements else b""
        if not final and not is_live and index_of(key) >= 0:
            # Without a row it was never made: it ended with its array, if that has.
            of_array, _ = connection.execute(self.sql["outcome_of_task"], (array_of(key),)).fetchone()
            final = TaskState.CANCELLED if of_array else 0
        if is_live or not final:
            return EndedTask(None, bool(has_started), elements)
        return EndedTask(TaskState(final), bool(has_started), elements)

    def _elements(self, connection: sqlite3.Connection, key: int) -> bytes:
        """How the elements of an array ended, by index, as in `Tally.ended`."""
        codes = bytearray()
        for element, final, has_started in connection.execute(
            self.sql["outcomes_of_elements"], (key, key + STRIDE - 1)
        ):
            if final:
                index = index_of(element)
                codes.extend(bytes(index + 1 - len(codes)))
                codes[index] = final | (STARTED if has_started else 0)
        return bytes(codes)

    async def get_ended(self, key: int, *, with_elements: bool) -> EndedTask:
        """How a task ended; its ``state`` is None is None until then; never made counts as CANCELLED."""
        return await self.database.read(lambda c: self._ended(c, key, with_elements=with_elements))

    async def get_dependencies(self, key: int) -> list[Dependency]:
        """What a task depends on, in the order of its specification."""
        sql = self.sql["dependencies_of_task"]
        return await self.database.read(
            lambda c: [
                Dependency(on, Condition(condition), bool(e)) for on, condition, e in c.execute(sql, (key,))
            ]
        )

    def _array(self, connection: sqlite3.Connection, key: int, *, is_in_order: bool) -> ArrayRow:
        last = key + STRIDE - 1
        if not is_in_order:
            made = tuple(
                index_of(element) for (element,) in connection.execute(self.sql["elements"], (key, last))
            )
            return ArrayRow(0, made, self._tally(connection, key))
        found = connection.execute(self.sql["highest_assigned_element"], (key, last)).fetchone()
        highest = found[0] if found else key
        beyond = connection.execute(self.sql["elements"], (highest, last))
        skipped = tuple(index_of(element) for (element,) in beyond)
        return ArrayRow(index_of(highest) + 1, skipped, self._tally(connection, key))

    def _tally(self, connection: sqlite3.Connection, key: int) -> dict[int, int]:
        """How the elements of an array ended, by state."""
        return dict(connection.execute(self.sql["tally_of_array"], (key, key + STRIDE - 1)).fetchall())

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
        return await self.database.read(lambda c: list(map(_modification, c.execute(sql, (key,)))))

    async def get_verdicts(self, key: int, revision: int) -> list[FieldVerdict]:
        """What became of one modification, the latest word last."""
        sql = self.sql["verdicts_of_modification"]

        def query(connection: sqlite3.Connection) -> list[FieldVerdict]:
            rows = connection.execute(sql, (key, revision))
            return [verdict for (verdicts,) in rows for verdict in _VERDICTS.decode(verdicts)]

        return await self.database.read(query)

    async def get_modifications_of_request(self, first: int, count: int) -> list[ModificationRow]:
        """What was recorded of the changes that were made under these revisions, oldest first."""
        named = {"first": first, "last": first + count - 1}
        sql = self.sql["modifications_of_request"]
        return await self.database.read(lambda c: list(map(_modification, c.execute(sql, named))))

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
        return await self.database.read(lambda c: self._tally(c, key))

    async def prune_requests(self, now_ms: int) -> None:
        """Forgets request ids of more than a day ago and what they were answered, some at a time."""
        before = (now_ms - DAY_MS,)
        await self.database.write(lambda c: c.execute(self.sql["prune_requests"], before))
        await self.database.write(lambda c: c.execute(self.sql["prune_answers"], before))


_PENDING = msgspec.json.Decoder(tuple[PendingChange, ...])
_VERDICTS = msgspec.json.Decoder(tuple[FieldVerdict, ...])


def _modification(values: tuple[Any, ...]) -> ModificationRow:
    task, revision, request_revision, attempt, time_ms, spec, params, pending, verdicts = values
    return ModificationRow(
        task, revision, request_revision, attempt, time_ms, spec, params,
        _PENDING.decode(pending), _VERDICTS.decode(verdicts),
    )  # fmt: skip
