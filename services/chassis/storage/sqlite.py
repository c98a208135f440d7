"""One SQLite file of one service: a writer that groups commits, a reader that cannot write.

Owns connections, pragmas, transactions and the translation of storage errors. Knows no table:
services pass functions that run inside its thread. The writer is the only connection that
checkpoints, because old SQLite can corrupt a WAL when two do so at the same instant.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from services.chassis.errors import InvariantViolation
from services.chassis.storage.errors import DatabaseDamaged, refusal, translate
from services.chassis.storage.migrations import load_migrations, load_queries, migrate

__all__ = ["Database", "load_migrations", "load_queries"]

T = TypeVar("T")
Change = Callable[[sqlite3.Connection], Any]

SWIFT_S = 0.001
"""Commits that take less, in the mean, may hold the event loop."""
HOPS_WHEN_SLOW = 500
"""How many small writes go through the thread once commits were slow."""

GROUP_MOST = 512
"""The most changes that share one transaction."""

_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF")
_WRITER = (*_PRAGMAS, "wal_autocheckpoint=1000", "journal_size_limit=67108864")
_READER = (*_PRAGMAS, "wal_autocheckpoint=0", "query_only=ON")
_BUSY_TIMEOUT_S = 5.0


class Database:
    """An open database file. Made by `open`; every instance must be closed."""

    def __init__(self, writer: aiosqlite.Connection, reader: aiosqlite.Connection) -> None:
        self._writer = writer
        self._reader = reader
        self._waiting: list[tuple[Change, asyncio.Future[Any]]] = []
        self._committer: asyncio.Task[None] | None = None
        self._pace = _Pace()
        self._closed = False

    @classmethod
    async def open(cls, path: Path, migrations: Sequence[tuple[str, str]]) -> Database:
        """Open or create `path` and bring it to the newest migration.

        Raises a StartRefused leaf if the file is newer than the migrations, damaged, or cannot be
        written. Nothing stays open when it raises.
        """
        try:
            return await cls._open(path, migrations)
        except (sqlite3.Error, OSError) as error:
            raise refusal(error, path) from error

    @classmethod
    async def _open(cls, path: Path, migrations: Sequence[tuple[str, str]]) -> Database:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite removes the WAL when the last connection closes: one left over means a crash.
        crashed = path.with_name(path.name + "-wal").exists()
        writer = await _connect(path)
        reader: aiosqlite.Connection | None = None
        try:
            await _hop(writer, _prepare_writer, path, crashed, migrations)
            reader = await _connect(path)
            await _hop(reader, _set, _READER)
            return cls(writer, reader)
        except BaseException:  # cancelled, too: its threads would keep the process alive
            if reader is not None:
                await reader.close()
            await writer.close()
            raise

    async def write(self, change: Callable[[sqlite3.Connection], T], *, is_small: bool = False) -> T:
        """Run `change` inside a transaction and return its result once that is on the disk.

        `change` runs in the writer's thread and must not begin or commit. Calls made while a
        transaction is under way share the next one, each in its own savepoint: if a change raises,
        only it is undone and its caller gets the error. Storage errors arrive translated (DiskFull,
        StorageReadOnly, ...) and leave the database usable. If the caller is cancelled the change
        may or may not be kept.

        A change of a few rows may say so: while the disk is swift it is committed right here, which
        saves the two thread hops that cost as much as the commit itself.
        """
        if self._closed:
            raise InvariantViolation("write to a closed database")
        if is_small and self._committer is None and self._pace.is_swift():
            return self._write_here(change)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._waiting.append((change, done))
        if self._committer is None:
            self._committer = loop.create_task(self._commit_waiting(), name="sqlite-commit")
        return await done

    def _write_here(self, change: Callable[[sqlite3.Connection], T]) -> T:
        begun_s = time.perf_counter()
        try:
            [outcome] = _transaction(_raw(self._writer), [change])
        except sqlite3.Error as error:
            raise translate(error) from error
        finally:
            self._pace.learn(time.perf_counter() - begun_s)
        if not isinstance(outcome, _Failed):
            result: T = outcome
            return result
        if isinstance(outcome.error, sqlite3.Error):
            raise translate(outcome.error) from outcome.error
        raise outcome.error

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run `query` in the reader's thread on one consistent snapshot; it sees all finished writes."""
        if self._closed:
            raise InvariantViolation("read from a closed database")
        try:
            return await _hop(self._reader, _snapshot, query)
        except sqlite3.Error as error:
            raise translate(error) from error

    async def close(self) -> None:
        """Finish the writes under way, then close both connections. Idempotent; never hangs."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._committer is not None:
                await self._committer
        finally:
            # The reader first: the last to close checkpoints, and only the writer may.
            try:
                await self._reader.close()
            finally:
                await self._writer.close()

    async def _commit_waiting(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:GROUP_MOST], self._waiting[GROUP_MOST:]
            await self._commit(group)
        self._committer = None

    async def _commit(self, group: list[tuple[Change, asyncio.Future[Any]]]) -> None:
        try:
            outcomes = await _hop(self._writer, _transaction, [change for change, _ in group])
        except asyncio.CancelledError:  # the loop is being torn down
            for _, done in group:
                done.cancel()
            raise
        for (_, done), outcome in zip(group, outcomes, strict=True):
            _settle(done, outcome)


class _Pace:
    """Whether commits are quick enough to be waited for on the event loop."""

    def __init__(self) -> None:
        self._mean_s = 0.0
        self._hops_left = 0

    def is_swift(self) -> bool:
        """True while they are; after slow ones only now and then, to see whether that has changed."""
        if self._hops_left:
            self._hops_left -= 1
            return False
        return True

    def learn(self, seconds: float) -> None:
        """Takes in how long a commit held the event loop. One with a checkpoint to make says little of the others."""
        self._mean_s += 0.1 * (min(seconds, 2 * SWIFT_S) - self._mean_s)
        if self._mean_s > SWIFT_S:
            self._mean_s = SWIFT_S / 2
            self._hops_left = HOPS_WHEN_SLOW


class _Failed:
    """The outcome of a change that did not happen."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _settle(done: asyncio.Future[Any], outcome: Any) -> None:
    if done.done():  # its caller was cancelled
        return
    if not isinstance(outcome, _Failed):
        done.set_result(outcome)
    elif isinstance(outcome.error, sqlite3.Error):
        error = translate(outcome.error)
        error.__cause__ = outcome.error if error is not outcome.error else None
        done.set_exception(error)
    else:
        done.set_exception(outcome.error)


async def _hop(connection: aiosqlite.Connection, function: Callable[..., T], *arguments: Any) -> T:
    """Run `function(sqlite3 connection, *arguments)` in the connection's thread: one hop there and back.

    The private use of aiosqlite, with `_connect`'s: its public methods cost a hop for each statement.
    tests/contract/test_aiosqlite_hop.py holds it to this.
    """
    result: T = await connection._execute(  # type: ignore[no-untyped-call]
        function, _raw(connection), *arguments
    )
    return result


def _raw(connection: aiosqlite.Connection) -> sqlite3.Connection:
    """The SQLite connection inside; used by one thread at a time, the committer sees to that."""
    raw: sqlite3.Connection = connection._conn
    return raw


async def _connect(path: Path) -> aiosqlite.Connection:
    connection = aiosqlite.connect(
        path, isolation_level=None, timeout=_BUSY_TIMEOUT_S, cached_statements=512, check_same_thread=False
    )
    try:
        return await connection
    except BaseException:
        # Its thread is ending, and tells the loop so: a start that is refused must not close that before.
        connection._thread.join()
        raise


def _set(connection: sqlite3.Connection, pragmas: Sequence[str]) -> None:
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _prepare_writer(
    connection: sqlite3.Connection, path: Path, crashed: bool, migrations: Sequence[tuple[str, str]]
) -> None:
    _set(connection, _WRITER)
    if crashed:
        _check(connection, path)
    migrate(connection, path, migrations)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    [(verdict,)] = connection.execute("PRAGMA quick_check(1)").fetchall()
    if verdict != "ok":
        raise DatabaseDamaged(f"the database {path} is damaged ({verdict}); restore it from a backup")


def _transaction(connection: sqlite3.Connection, changes: Sequence[Change]) -> list[Any]:
    """Apply the changes and commit; one outcome each. If the whole fails, each outcome says so."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        if len(changes) == 1:
            outcomes = [changes[0](connection)]
        else:
            outcomes = [_savepoint(connection, change) for change in changes]
        _require_transaction(connection)
        connection.execute("COMMIT")
    except BaseException as error:  # of a caller's function, or of SQLite: the callers get it
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        return [_Failed(error)] * len(changes)
    return outcomes


def _savepoint(connection: sqlite3.Connection, change: Change) -> Any:
    connection.execute("SAVEPOINT change")
    try:
        outcome = change(connection)
    except BaseException as error:  # of one caller's function; the others must not notice
        if not connection.in_transaction:  # SQLite gave up the whole transaction (disk full, I/O error)
            raise
        connection.execute("ROLLBACK TO change")
        outcome = _Failed(error)
    connection.execute("RELEASE change")
    return outcome


def _require_transaction(connection: sqlite3.Connection) -> None:
    if not connection.in_transaction:
        raise InvariantViolation("a change ended the transaction that it ran in")


def _snapshot(connection: sqlite3.Connection, query: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN")
    try:
        return query(connection)
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")
