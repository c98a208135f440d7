"""Numbered SQL files that make and change a service's tables, and its named queries.

Owns `PRAGMA user_version`: the number of migrations that a file has seen. A migration is never
changed once released; a file newer than the program is refused.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from services.chassis.errors import StartRefused

_FILE_NAME = re.compile(r"(\d{4})_\w+\.sql")
_QUERY_NAME = re.compile(r"^-- name: (\w+)[ \t]*$", re.MULTILINE)


class DatabaseTooNew(StartRefused):
    """The database was written by a newer version of the program."""


class MigrationFailed(StartRefused):
    """A migration could not be applied; the database is as it was before it."""


def load_migrations(package: str) -> list[tuple[str, str]]:
    """(name, SQL) of `<package>/migrations/NNNN_name.sql`, in order; numbers run from 0001 without gaps."""
    folder = resources.files(package) / "migrations"
    files = sorted((item for item in folder.iterdir() if item.name.endswith(".sql")), key=lambda f: f.name)
    for number, file in enumerate(files, start=1):
        match = _FILE_NAME.fullmatch(file.name)
        if match is None or int(match[1]) != number:
            raise ValueError(f"{package}/migrations/{file.name}: expected {number:04}_<name>.sql")
    return [(file.name.removesuffix(".sql"), file.read_text()) for file in files]


def load_queries(package: str) -> Mapping[str, str]:
    """Name -> SQL of `<package>/queries.sql`, whose blocks start with '-- name: insert_task'."""
    text = (resources.files(package) / "queries.sql").read_text()
    parts = _QUERY_NAME.split(text)[1:]
    names, bodies = parts[::2], [body.strip().rstrip(";") for body in parts[1::2]]
    if len(set(names)) != len(names):
        raise ValueError(f"{package}/queries.sql: a name stands twice")
    return dict(zip(names, bodies, strict=True))


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[tuple[str, str]]) -> None:
    """Apply the migrations that the file has not seen, each in a transaction of its own.

    A file that holds data is copied first, to `<name>-before-<migration>`, so that the older program
    can be used again.
    """
    [(seen,)] = connection.execute("PRAGMA user_version").fetchall()
    if seen > len(migrations):
        raise DatabaseTooNew(
            f"the database {path} is at version {seen}, this program knows only {len(migrations)};"
            " use the newer program, or restore an older backup"
        )
    if 0 < seen < len(migrations):
        _copy(connection, path.with_name(f"{path.name}-before-{migrations[seen][0]}"))
    for number, (name, sql) in enumerate(migrations[seen:], start=seen + 1):
        _apply(connection, path, name, number, sql)


def _copy(connection: sqlite3.Connection, copy: Path) -> None:
    """A whole copy, on the disk before its name is, or none: whatever a kill left half done is made anew."""
    part = copy.with_name(f"{copy.name}.part")
    part.unlink(missing_ok=True)
    connection.execute("VACUUM INTO ?", (str(part),))
    _sync(part)
    part.replace(copy)
    _sync(copy.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _apply(connection: sqlite3.Connection, path: Path, name: str, number: int, sql: str) -> None:
    script = f"BEGIN IMMEDIATE;\n{sql}\n;PRAGMA user_version = {number};\nCOMMIT;"
    try:
        connection.executescript(script)
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise MigrationFailed(f"migration {name} of the database {path} failed: {error}") from error
