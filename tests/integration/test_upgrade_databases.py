"""Databases of older versions come forward, with a copy of what they were; a kill in the middle costs nothing (issue 7,
point 4)."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from services.chassis.storage.sqlite import Database, load_migrations
from tests.support.wait import wait_until_sync
from tests.support.yard import ROOT

SERVICES = ("scheduler", "store", "graph", "trainer", "models")
FIRST = ("0001_item", "CREATE TABLE item (number INTEGER PRIMARY KEY, name TEXT NOT NULL);")
SECOND = ("0002_colour", "ALTER TABLE item ADD COLUMN colour TEXT NOT NULL DEFAULT 'red';")
ENDLESS = (
    "0002_colour",
    "ALTER TABLE item ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'; CREATE TABLE long (text TEXT);"
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    " INSERT INTO long SELECT hex(zeroblob(500)) FROM n;",
)
UPGRADE = """
import asyncio, sys
from pathlib import Path
from services.chassis.storage.sqlite import Database
from tests.integration.test_upgrade_databases import ENDLESS, FIRST
asyncio.run(Database.open(Path(sys.argv[1]), [FIRST, ENDLESS]))
"""
COLUMNS = "SELECT name, type, [notnull], coalesce(dflt_value, '') FROM pragma_table_info(?)"
WAL_BYTES = 1 << 20


def tables(path: Path) -> dict[tuple[str, str], str]:
    """What the file is made of, as SQLite keeps it; the order of columns that were added apart."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        found = {}
        for kind, name, text in database.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_schema"):
            if kind == "table" and not name.startswith("sqlite_"):
                columns = database.execute(
                    "SELECT name, type, [notnull], dflt_value FROM pragma_table_info(?)", (name,)
                )
                text = str(sorted(columns.fetchall()))
            found[kind, name] = text
        return found


def rows(path: Path) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT * FROM item").fetchall()


async def old(path: Path) -> None:
    """A file of the version before, with something in it."""
    database = await Database.open(path, [FIRST])
    await database.write(lambda c: c.execute("INSERT INTO item (name) VALUES ('kept')"))
    await database.close()


def killed_in_the_middle(path: Path) -> None:
    """A process that upgrades it, by a change without an end, and is killed once some of that is in the file's log."""
    wal = path.with_name(f"{path.name}-wal")
    process = subprocess.Popen([sys.executable, "-c", UPGRADE, str(path)], cwd=ROOT)
    try:
        wait_until_sync(
            lambda: wal.exists() and wal.stat().st_size > WAL_BYTES, "it is in the middle", timeout_s=60
        )
    finally:
        process.kill()
        process.wait()


@pytest.mark.asyncio
@pytest.mark.parametrize("service", SERVICES)
async def test_database_of_every_older_version_comes_forward_with_a_copy(
    service: str, tmp_path: Path
) -> None:
    steps = load_migrations(f"services.{service}")
    fresh = tmp_path / "fresh.db"
    await (await Database.open(fresh, steps)).close()
    wanted = tables(fresh)
    for seen in range(1, len(steps)):
        path = tmp_path / f"{seen}.db"
        await (await Database.open(path, steps[:seen])).close()
        before = tables(path)
        await (await Database.open(path, steps)).close()
        assert tables(path) == wanted
        copy = path.with_name(f"{path.name}-before-{steps[seen][0]}")
        assert tables(copy) == before
        # The program of before takes it, as the page on upgrades promises.
        await (await Database.open(copy, steps[:seen])).close()


@pytest.mark.asyncio
async def test_upgrade_that_is_killed_in_the_middle_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await old(path)
    killed_in_the_middle(path)
    copy = path.with_name("a.db-before-0002_colour")
    assert rows(copy) == [(1, "kept")]
    # The old program still takes the file; so does the new one.
    await (await Database.open(path, [FIRST])).close()
    await (await Database.open(path, [FIRST, SECOND])).close()
    assert rows(path) == [(1, "kept", "red")]
    assert rows(copy) == [(1, "kept")]


@pytest.mark.asyncio
async def test_copy_that_was_half_done_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await old(path)
    part = path.with_name("a.db-before-0002_colour.part")
    part.write_bytes(b"half of a copy")
    await (await Database.open(path, [FIRST, SECOND])).close()
    assert rows(path.with_name("a.db-before-0002_colour")) == [(1, "kept")]
    assert not part.exists()
