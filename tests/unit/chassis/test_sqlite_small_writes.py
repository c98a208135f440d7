"""Small writes are committed without a hop while the disk is swift, and behave like all others."""

import sqlite3
import threading
from pathlib import Path

import pytest

from services.chassis.storage.sqlite import HOPS_WHEN_SLOW, SWIFT_S, Database, _Pace

TABLE = [("0001_table", "CREATE TABLE thing (name TEXT PRIMARY KEY)")]


@pytest.mark.asyncio
async def test_small_write_swift_disk_commits_on_the_loop(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "a.db", TABLE)
    threads: list[threading.Thread] = []

    def change(connection: sqlite3.Connection) -> None:
        threads.append(threading.current_thread())
        connection.execute("INSERT INTO thing VALUES ('a')")

    try:
        await database.write(change, is_small=True)
        found = await database.read(lambda c: c.execute("SELECT count(*) FROM thing").fetchone())
    finally:
        await database.close()
    assert threads == [threading.main_thread()]
    assert found == (1,)


@pytest.mark.asyncio
async def test_small_write_that_raises_is_undone_and_leaves_the_database_usable(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "a.db", TABLE)

    def twice(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO thing VALUES ('a')")
        connection.execute("INSERT INTO thing VALUES ('a')")

    try:
        with pytest.raises(sqlite3.IntegrityError):
            await database.write(twice, is_small=True)
        await database.write(lambda c: c.execute("INSERT INTO thing VALUES ('b')"), is_small=True)
        found = await database.read(lambda c: c.execute("SELECT name FROM thing").fetchall())
    finally:
        await database.close()
    assert found == [("b",)]


def test_pace_after_slow_commits_sends_writes_to_the_thread_for_a_while() -> None:
    pace = _Pace()
    slow = 0
    while pace.is_swift():
        pace.learn(10 * SWIFT_S)
        slow += 1
    assert slow < 10
    swift = [pace.is_swift() for _ in range(HOPS_WHEN_SLOW)]
    assert swift[-1]
    assert not any(swift[:-1])


def test_pace_with_a_checkpoint_now_and_then_stays_swift() -> None:
    pace = _Pace()
    for number in range(1_000):
        assert pace.is_swift()
        pace.learn(20 * SWIFT_S if number % 50 == 49 else SWIFT_S / 2)
