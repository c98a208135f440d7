"""The private uses of aiosqlite (in `services.chassis.storage.sqlite`) still mean what we rely on."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import aiosqlite
import pytest


@pytest.mark.asyncio
async def test_execute_runs_whole_function_in_one_hop_on_the_connection_thread(tmp_path: Path) -> None:
    connection = await aiosqlite.connect(tmp_path / "a.db", isolation_level=None)
    threads: list[threading.Thread] = []

    def function(raw: sqlite3.Connection, one: int, two: int) -> int:
        threads.append(threading.current_thread())
        raw.execute("CREATE TABLE t (a)")
        raw.execute("INSERT INTO t VALUES (?)", (one + two,))
        return int(raw.execute("SELECT a FROM t").fetchone()[0])

    try:
        assert isinstance(connection._conn, sqlite3.Connection)
        assert await connection._execute(function, connection._conn, 1, 2) == 3
        assert threads == [connection._thread]
    finally:
        await connection.close()


@pytest.mark.asyncio
async def test_execute_error_reaches_the_caller_and_keeps_the_thread(tmp_path: Path) -> None:
    connection = await aiosqlite.connect(tmp_path / "a.db", isolation_level=None)

    def broken(raw: sqlite3.Connection) -> None:
        raise LookupError("x")

    try:
        with pytest.raises(LookupError):
            await connection._execute(broken, connection._conn)
        assert await connection._execute(lambda raw: 5, connection._conn) == 5
    finally:
        await connection.close()


@pytest.mark.asyncio
async def test_execute_keeps_the_order_of_calls(tmp_path: Path) -> None:
    connection = await aiosqlite.connect(tmp_path / "a.db", isolation_level=None)
    seen: list[int] = []
    try:
        await asyncio.gather(*(connection._execute(seen.append, number) for number in range(50)))
        assert seen == list(range(50))
    finally:
        await connection.close()
