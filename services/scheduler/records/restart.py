"""What a restart finds: everything that is unfinished, read from the database in one transaction.

Functions of a connection and the queries by name; `SchedulerStore` says when they run.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain

import msgspec

from services.scheduler.model import (
    STRIDE,
    Condition,
    Dependency,
    Spec,
    TaskState,
    array_of,
    index_of,
)
from services.scheduler.notification import KnownContact
from services.scheduler.queues.shares import AccountSettings, QueueSettings
from services.scheduler.records.rows import (
    ArrayRow,
    ChangeRow,
    Counters,
    ModificationRow,
    Recovered,
    TaskRow,
    is_in_order,
    modification_of,
)
from services.scheduler.state.effects import RecordGang, UseRow
from services.scheduler.state.events import EndedTask
from services.scheduler.state.tally import STARTED

Sql = Mapping[str, str]
DAY_MS = 86_400_000


def read_back(
    connection: sqlite3.Connection, sql: Sql, now_ms: int, most_requests: int, most_changes: int
) -> Recovered:
    """Everything that is unfinished, as of the last commit."""
    known = read_counters(connection, sql)
    live = (known.live_from,)
    tasks = [TaskRow(*row) for row in connection.execute(sql["live_tasks"], live)]
    specs, accounts = _specs(connection, sql)
    dependencies = _dependencies(connection, sql, live)
    day_ago = now_ms - DAY_MS
    requests = list(connection.execute(sql["recent_requests"], (day_ago, most_requests)))
    older = connection.execute(sql["older_request"], (day_ago,)).fetchone()
    recent = list(connection.execute(sql["recent_changes"], (most_changes,)))
    queues, account_settings, uses = _sharing(connection, sql)
    return Recovered(
        counters=known,
        specs=specs,
        accounts_of_specs=accounts,
        tasks=tasks,
        changes=_changes(connection, sql, live),
        arrays=_arrays(connection, sql, tasks, {spec.number: spec for spec in specs}),
        requests=requests[::-1],
        has_more_requests=older is not None or len(requests) >= most_requests,
        recent=recent[::-1],
        nodes=_nodes(connection, sql),
        modifications=_modifications(connection, sql, live),
        dependencies=dependencies,
        ended=_ended_of(connection, sql, dependencies.values(), {row.key for row in tasks}),
        contacts=_known_contacts(connection, sql),
        gangs=_gangs(connection, sql, live),
        queues=queues,
        account_settings=account_settings,
        uses=uses,
        pruned_revision=_pruned_revision(connection, sql),
        graces=dict(connection.execute(sql["graces_of_live_tasks"], live).fetchall()),
    )


def _changes(connection: sqlite3.Connection, sql: Sql, live: tuple[int]) -> dict[int, list[ChangeRow]]:
    found: dict[int, list[ChangeRow]] = defaultdict(list)
    for values in connection.execute(sql["changes_of_live_tasks"], live):
        task, state, attempt, epoch, node, time_ms, start_ms, cause, detail, revision, devices = values
        found[task].append(
            ChangeRow(revision, state, attempt, epoch, node, time_ms, start_ms, cause, detail, b"", devices)
        )
    return found


def _modifications(
    connection: sqlite3.Connection, sql: Sql, live: tuple[int]
) -> dict[int, list[ModificationRow]]:
    found: dict[int, list[ModificationRow]] = defaultdict(list)
    for values in connection.execute(sql["modifications_of_live_tasks"], live):
        found[values[0]].append(modification_of(values))
    return found


def _dependencies(connection: sqlite3.Connection, sql: Sql, live: tuple[int]) -> dict[int, list[Dependency]]:
    found: dict[int, list[Dependency]] = defaultdict(list)
    for task, on, condition, is_element_wise in connection.execute(sql["dependencies_of_live_tasks"], live):
        found[task].append(Dependency(on, Condition(condition), bool(is_element_wise)))
    return found


def _nodes(
    connection: sqlite3.Connection, sql: Sql
) -> list[tuple[str, bool, list[tuple[str, str, bool]], int]]:
    return [
        (node, bool(cordoned), msgspec.json.decode(labels, type=list[tuple[str, str, bool]]), deadline_ms)
        for node, cordoned, labels, deadline_ms in connection.execute(sql["all_nodes"])
    ]


def _gangs(connection: sqlite3.Connection, sql: Sql, live: tuple[int]) -> list[RecordGang]:
    return [
        RecordGang(key, name, msgspec.json.decode(units, type=tuple[tuple[int, int], ...]), bool(is_loose))
        for key, name, units, is_loose in connection.execute(sql["live_gangs"], live)
    ]


def read_counters(connection: sqlite3.Connection, sql: Sql) -> Counters:
    """Where numbering goes on; of a new database from the start."""
    found = connection.execute(sql["get_meta"], ("counters",)).fetchone()
    return msgspec.json.decode(found[0], type=Counters) if found else Counters()


def _pruned_revision(connection: sqlite3.Connection, sql: Sql) -> int:
    found = connection.execute(sql["get_meta"], ("pruned_revision",)).fetchone()
    return int(found[0]) if found else 0


def _known_contacts(connection: sqlite3.Connection, sql: Sql) -> dict[str, dict[str, KnownContact]]:
    contacts: dict[str, dict[str, KnownContact]] = defaultdict(dict)
    for account, id, name, verify_ms, default_for in connection.execute(sql["known_contacts"]):
        contacts[account][name] = KnownContact(id, name, verify_ms > 0, default_for)
    return dict(contacts)


def _sharing(
    connection: sqlite3.Connection, sql: Sql
) -> tuple[list[tuple[str, QueueSettings]], list[tuple[str, AccountSettings]], list[UseRow]]:
    queues = [
        (name, msgspec.json.decode(settings, type=QueueSettings))
        for name, settings in connection.execute(sql["all_queues"])
    ]
    accounts = [
        (name, msgspec.json.decode(settings, type=AccountSettings))
        for name, settings in connection.execute(sql["all_shares"])
    ]
    return queues, accounts, [UseRow(*row) for row in connection.execute(sql["all_uses"])]


def _specs(connection: sqlite3.Connection, sql: Sql) -> tuple[list[Spec], dict[int, str]]:
    specs, accounts = [], {}
    decoder = msgspec.json.Decoder(Spec)
    for number, account, body, head in connection.execute(sql["all_specs"]):
        specs.append(msgspec.structs.replace(decoder.decode(head), number=number, body=body))
        accounts[number] = account
    return specs, accounts


def _ended_of(
    connection: sqlite3.Connection,
    sql: Sql,
    dependencies: Iterable[Sequence[Dependency]],
    live: Collection[int],
) -> dict[int, EndedTask]:
    """Of all that is depended on: what is not live has ended, or was never made; and elements that have."""
    by_elements: dict[int, bool] = {}
    for dependency in chain.from_iterable(dependencies):
        is_wanted = by_elements.get(dependency.on, False)
        by_elements[dependency.on] = is_wanted or dependency.is_element_wise
    return {
        on: ended(connection, sql, on, with_elements=with_elements, is_live=on in live)
        for on, with_elements in by_elements.items()
        if on not in live or with_elements
    }


def ended(
    connection: sqlite3.Connection, sql: Sql, key: int, *, with_elements: bool, is_live: bool = False
) -> EndedTask:
    """How a task ended; its `state` is None until then; never made counts as CANCELLED."""
    final, has_started = connection.execute(sql["outcome_of_task"], (key,)).fetchone()
    elements = _elements(connection, sql, key) if with_elements else b""
    if not final and not is_live and index_of(key) >= 0:
        # Without a row it was never made: it ended with its array, if that has.
        of_array, _ = connection.execute(sql["outcome_of_task"], (array_of(key),)).fetchone()
        final = TaskState.CANCELLED if of_array else 0
    if is_live or not final:
        return EndedTask(None, bool(has_started), elements)
    return EndedTask(TaskState(final), bool(has_started), elements)


def _elements(connection: sqlite3.Connection, sql: Sql, key: int) -> bytes:
    """How the elements of an array ended, by index, as in `Tally.ended`."""
    codes = bytearray()
    for element, final, has_started in connection.execute(
        sql["outcomes_of_elements"], (key, key + STRIDE - 1)
    ):
        if final:
            index = index_of(element)
            codes.extend(bytes(index + 1 - len(codes)))
            codes[index] = final | (STARTED if has_started else 0)
    return bytes(codes)


def _arrays(
    connection: sqlite3.Connection, sql: Sql, tasks: Iterable[TaskRow], specs: Mapping[int, Spec]
) -> dict[int, ArrayRow]:
    return {
        row.key: _array(connection, sql, row.key, is_in_order=is_in_order(specs[row.spec]))
        for row in tasks
        if index_of(row.key) < 0 and specs[row.spec].array_size
    }


def _array(connection: sqlite3.Connection, sql: Sql, key: int, *, is_in_order: bool) -> ArrayRow:
    last = key + STRIDE - 1
    if not is_in_order:
        made = tuple(index_of(element) for (element,) in connection.execute(sql["elements"], (key, last)))
        return ArrayRow(0, made, tally(connection, sql, key))
    found = connection.execute(sql["highest_assigned_element"], (key, last)).fetchone()
    highest = found[0] if found else key
    beyond = connection.execute(sql["elements"], (highest, last))
    skipped = tuple(index_of(element) for (element,) in beyond)
    return ArrayRow(index_of(highest) + 1, skipped, tally(connection, sql, key))


def tally(connection: sqlite3.Connection, sql: Sql, key: int) -> dict[int, int]:
    """How the elements of an array ended, by state."""
    return dict(connection.execute(sql["tally_of_array"], (key, key + STRIDE - 1)).fetchall())
