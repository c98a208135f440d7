"""Database: groups, isolation of changes, storage errors, start and end."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from services.chassis.errors import InvariantViolation, StartRefused
from services.chassis.storage.errors import DatabaseDamaged, DiskFull, StorageBusy, StorageReadOnly
from services.chassis.storage.migrations import DatabaseTooNew, MigrationFailed
from services.chassis.storage.sqlite import Database

TABLE = ("0001_initial", "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, body BLOB);")
SECOND = ("0002_colour", "ALTER TABLE item ADD COLUMN colour TEXT; UPDATE item SET colour = 'red';")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "a.db"


@pytest_asyncio.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    database = await Database.open(path, [TABLE])
    yield database
    await database.close()


def insert(name: str) -> Callable[[sqlite3.Connection], int]:
    return lambda c: int(c.execute("INSERT INTO item (name) VALUES (?)", (name,)).lastrowid or 0)


def names(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM item ORDER BY id")]


@pytest.mark.asyncio
async def test_write_alone_returns_result_and_is_seen_by_read(database: Database) -> None:
    assert await database.write(insert("a")) == 1
    assert await database.read(names) == ["a"]


@pytest.mark.asyncio
async def test_write_concurrent_shares_transactions_and_keeps_order(database: Database) -> None:
    commits: list[str] = []
    await database.write(lambda c: c.set_trace_callback(commits.append))
    ids = await asyncio.gather(*(database.write(insert(f"n{number}")) for number in range(100)))
    assert ids == list(range(1, 101))
    assert sum(statement == "COMMIT" for statement in commits) <= 3
    await database.write(lambda c: c.set_trace_callback(None))


@pytest.mark.asyncio
async def test_write_in_group_that_raises_undoes_only_itself(database: Database) -> None:
    def half(connection: sqlite3.Connection) -> None:
        insert("half")(connection)
        raise LookupError("changed my mind")

    outcomes = await asyncio.gather(
        database.write(insert("a")), database.write(half), database.write(insert("b")), return_exceptions=True
    )
    assert isinstance(outcomes[1], LookupError)
    assert await database.read(names) == ["a", "b"]


@pytest.mark.asyncio
async def test_write_alone_that_raises_is_undone_and_leaves_the_database_usable(database: Database) -> None:
    await database.write(insert("a"))
    with pytest.raises(sqlite3.IntegrityError):
        await database.write(lambda c: (insert("b")(c), insert("a")(c)))
    await database.write(insert("c"))
    assert await database.read(names) == ["a", "c"]


@pytest.mark.asyncio
async def test_write_that_commits_itself_is_refused(database: Database) -> None:
    with pytest.raises(InvariantViolation):
        await database.write(lambda c: c.execute("COMMIT"))
    await database.write(insert("after"))


@pytest.mark.asyncio
async def test_write_with_cancelled_caller_does_not_disturb_the_others(database: Database) -> None:
    cancelled = asyncio.ensure_future(database.write(insert("a")))
    other = asyncio.ensure_future(database.write(insert("b")))
    await asyncio.sleep(0)
    cancelled.cancel()
    assert await other > 0
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert "b" in await database.read(names)


@pytest.mark.asyncio
async def test_write_disk_full_fails_every_waiter_clearly_and_recovers(database: Database) -> None:
    """max_page_count makes SQLite answer SQLITE_FULL just as a full disk does."""
    await database.write(lambda c: c.execute("PRAGMA max_page_count = 1").fetchall())

    def big(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO item (body) VALUES (zeroblob(1000000))")

    outcomes = await asyncio.gather(
        database.write(insert("a")), database.write(big), database.write(insert("b")), return_exceptions=True
    )
    assert any(isinstance(outcome, DiskFull) for outcome in outcomes)
    kept = await database.read(names)
    for name, outcome in (("a", outcomes[0]), ("b", outcomes[2])):
        assert (name in kept) == (not isinstance(outcome, Exception))
    with pytest.raises(DiskFull) as caught:
        await database.write(big)
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    await database.write(lambda c: c.execute("PRAGMA max_page_count = 1000000").fetchall())
    await database.write(big)


@pytest.mark.asyncio
async def test_write_while_another_program_holds_the_file_is_busy(database: Database, path: Path) -> None:
    await database.write(lambda c: c.execute("PRAGMA busy_timeout = 1").fetchall())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StorageBusy):
            await database.write(insert("a"))
    finally:
        other.execute("ROLLBACK")
        other.close()
    await database.write(insert("a"))


@pytest.mark.asyncio
async def test_read_cannot_write(database: Database) -> None:
    with pytest.raises(StorageReadOnly):
        await database.read(insert("a"))
    assert await database.read(names) == []


@pytest.mark.asyncio
async def test_read_sees_one_snapshot_while_a_write_commits(database: Database) -> None:
    started, go_on = threading.Event(), threading.Event()

    def count_twice(connection: sqlite3.Connection) -> tuple[int, int]:
        first = len(names(connection))
        started.set()
        assert go_on.wait(10)
        return first, len(names(connection))

    reading = asyncio.ensure_future(database.read(count_twice))
    await asyncio.to_thread(started.wait, 10)
    await database.write(insert("a"))
    go_on.set()
    assert await reading == (0, 0)


@pytest.mark.asyncio
async def test_open_sets_durable_pragmas_and_one_checkpointer(database: Database) -> None:
    def pragmas(connection: sqlite3.Connection) -> list[object]:
        wanted = ("journal_mode", "synchronous", "foreign_keys", "wal_autocheckpoint", "query_only")
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted]

    assert await database.write(pragmas) == ["wal", 2, 1, 1000, 0]
    assert await database.read(pragmas) == ["wal", 2, 1, 0, 1]


@pytest.mark.asyncio
async def test_open_again_keeps_data_and_applies_new_migrations_with_a_copy(path: Path) -> None:
    first = await Database.open(path, [TABLE])
    await first.write(insert("a"))
    await first.close()
    second = await Database.open(path, [TABLE, SECOND])
    assert await second.read(lambda c: c.execute("SELECT name, colour FROM item").fetchall()) == [
        ("a", "red")
    ]
    await second.close()
    with sqlite3.connect(path.with_name("a.db-before-0002_colour")) as copy:
        assert copy.execute("SELECT * FROM item").fetchall() == [(1, "a", None)]
    copy.close()


@pytest.mark.asyncio
async def test_open_newer_file_is_refused_and_leaves_it_alone(path: Path) -> None:
    await (await Database.open(path, [TABLE, SECOND])).close()
    before = path.read_bytes()
    with pytest.raises(DatabaseTooNew, match="version 2, this program knows only 1"):
        await Database.open(path, [TABLE])
    assert path.read_bytes() == before


@pytest.mark.asyncio
async def test_open_failing_migration_is_undone_and_named(path: Path) -> None:
    await (await Database.open(path, [TABLE])).close()
    broken = ("0002_broken", "CREATE TABLE other (a); INSERT INTO absent VALUES (1);")
    with pytest.raises(MigrationFailed, match="0002_broken"):
        await Database.open(path, [TABLE, broken])
    database = await Database.open(path, [TABLE, SECOND])
    assert await database.read(lambda c: c.execute("PRAGMA user_version").fetchone()) == (2,)
    await database.close()


@pytest.mark.asyncio
async def test_open_of_something_else_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(DatabaseDamaged, match="restore it from a backup"):
        await Database.open(path, [TABLE])


@pytest.mark.asyncio
async def test_open_of_what_cannot_be_opened_leaves_no_thread(tmp_path: Path) -> None:
    # One that is late says to a closed loop that it has ended, in so many words on the terminal.
    before = set(threading.enumerate())
    for _ in range(20):
        with pytest.raises(StartRefused, match="cannot use the database"):
            await Database.open(tmp_path, [TABLE])
        assert set(threading.enumerate()) == before


@pytest.mark.asyncio
async def test_open_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartRefused, match="cannot use the database"):
        await Database.open(tmp_path / "file" / "a.db", [TABLE])


@pytest.mark.asyncio
async def test_open_checks_the_file_after_a_crash(path: Path) -> None:
    """A WAL left over means that nobody closed the file."""
    database = await Database.open(path, [TABLE])
    await database.write(
        lambda c: (
            c.executemany(
                "INSERT INTO item (name, body) VALUES (?, zeroblob(500))", [(f"n{n}",) for n in range(200)]
            )
            and None
        )
    )
    await database.close()
    content = bytearray(path.read_bytes())
    content[4096 : 4096 + 64] = b"\xff" * 64
    path.write_bytes(content)
    path.with_name("a.db-wal").write_bytes(b"")
    with pytest.raises(DatabaseDamaged):
        await Database.open(path, [TABLE])


@pytest.mark.asyncio
async def test_close_finishes_writes_under_way_and_is_idempotent(path: Path) -> None:
    database = await Database.open(path, [TABLE])
    writes = [asyncio.ensure_future(database.write(insert(f"n{number}"))) for number in range(20)]
    await asyncio.sleep(0)
    await database.close()
    await database.close()
    assert len(await asyncio.gather(*writes)) == 20
    assert not path.with_name("a.db-wal").exists()
    with pytest.raises(InvariantViolation):
        await database.write(insert("late"))
    with pytest.raises(InvariantViolation):
        await database.read(names)
