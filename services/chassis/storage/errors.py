"""SQLite's errors in the service's own words, translated once, here.

An error that says something about the service's data (a constraint, a type) is not translated: it
is for the service that ran the statement.
"""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from services.chassis.errors import Internal, ResourceExhausted, StartRefused, Unavailable


class DiskFull(ResourceExhausted):
    """The disk that holds the service's state is full; free some space and repeat."""


class StorageReadOnly(Unavailable):
    """The service's state cannot be written; an administrator must make its disk writable."""


class StorageBusy(Unavailable):
    """Another program holds the service's database; repeat in a moment."""


class StorageFailed(Unavailable):
    """The disk that holds the service's state failed; an administrator must look at it."""


class StorageDamaged(Internal):
    """The service's database is damaged; an administrator must restore it from a backup."""


class DatabaseDamaged(StartRefused):
    """The database is damaged."""


class DatabaseUnusable(StartRefused):
    """The database cannot be opened."""


_LEAVES: dict[int, type[Exception]] = {
    sqlite3.SQLITE_FULL: DiskFull,
    sqlite3.SQLITE_READONLY: StorageReadOnly,
    sqlite3.SQLITE_CANTOPEN: StorageFailed,
    sqlite3.SQLITE_BUSY: StorageBusy,
    sqlite3.SQLITE_LOCKED: StorageBusy,
    sqlite3.SQLITE_IOERR: StorageFailed,
    sqlite3.SQLITE_CORRUPT: StorageDamaged,
    sqlite3.SQLITE_NOTADB: StorageDamaged,
}


def translate(error: sqlite3.Error) -> Exception:
    """The service's error for a storage failure, or `error` itself if it is about the data."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    # The low byte is the primary code; the rest says more about it.
    leaf = _LEAVES.get(code & 0xFF) if code is not None else None
    return leaf() if leaf else error


def refusal(error: sqlite3.Error | OSError, path: Path) -> StartRefused:
    """Why the database at `path` could not be opened, for the operator."""
    if isinstance(error, OSError):
        full = error.errno == errno.ENOSPC
        why = "the disk is full" if full else (error.strerror or str(error)).lower()
        return DatabaseUnusable(f"cannot use the database {path}: {why}")
    leaf = translate(error)
    if isinstance(leaf, StorageDamaged):
        return DatabaseDamaged(f"the database {path} is damaged ({error}); restore it from a backup")
    if isinstance(leaf, StorageReadOnly):
        return DatabaseUnusable(f"cannot write the database {path}; is its directory read-only?")
    return DatabaseUnusable(f"cannot use the database {path}: {error}")
