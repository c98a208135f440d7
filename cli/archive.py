"""A yard in one file and back: what belongs to it, consistent while it runs.

Owns the layout of a backup. Databases are copied through SQLite's backup API over connections that are opened
read-only and never checkpoint; everything else is immutable once written or tiny.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from cli import exit_codes
from cli.errors import CommandError
from modelyard.version import VERSION

MANIFEST = "manifest.json"
LEFT_OUT = ("run", "logs", "agents")
"""Of this machine and this moment; agents keep their own truth, and report it again."""
DATABASE_SUFFIXES = (".db",)
SIDE_FILES = ("-wal", "-shm", "-journal")
PAGES_AT_ONCE = 1024


class BackupFailed(CommandError):
    """A backup could not be written or read."""

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message, code=exit_codes.WORK_FAILED, next_step=next_step)


def write_backup(state: Path, target: Path) -> dict[str, int]:
    """Writes a tar.gz that appears whole or not at all; counts by kind. The yard may run."""
    if not (state / "secrets").is_dir():
        raise CommandError(f"there is no yard in {state}", code=exit_codes.NOT_FOUND)
    draft = target.with_name(f".{target.name}.part")
    counts = {"databases": 0, "files": 0}
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with (
            os.fdopen(descriptor, "wb") as file,
            tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive,
        ):
            _add_manifest(archive)
            # Databases first: whatever they refer to was there before and is still there.
            for path in _databases(state):
                _add_database(archive, state, path)
                counts["databases"] += 1
            for path in _plain_files(state):
                counts["files"] += _add_file(archive, state, path)
            archive.close()
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return counts


def _add_manifest(archive: tarfile.TarFile) -> None:
    document = {"modelyard": VERSION, "format": 1, "time_ms": int(time.time() * 1000)}
    data = json.dumps(document).encode()
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        member = tarfile.TarInfo(MANIFEST)
        member.size, member.mode = len(data), 0o600
        archive.addfile(member, file)


def _walk(state: Path) -> Iterator[Path]:
    for folder, directories, names in os.walk(state):
        if Path(folder) == state:
            directories[:] = [name for name in directories if name not in LEFT_OUT]
        directories.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_file() and not path.is_symlink():
                yield path


def _databases(state: Path) -> list[Path]:
    return [path for path in _walk(state) if path.suffix in DATABASE_SUFFIXES]


def _plain_files(state: Path) -> Iterator[Path]:
    for path in _walk(state):
        side = any(path.name.endswith(f"{d}{s}") for d in DATABASE_SUFFIXES for s in SIDE_FILES)
        if path.suffix not in DATABASE_SUFFIXES and not side and not path.name.startswith("."):
            yield path


def _add_database(archive: tarfile.TarFile, state: Path, path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy_database(path, copy)
        archive.add(copy, str(path.relative_to(state)), recursive=False)


def copy_database(source: Path, copy: Path) -> None:
    """A consistent copy of a database that others write to. Raises BackupFailed."""
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30)) as reader,
            closing(sqlite3.connect(copy)) as writer,
        ):
            # One transaction over the whole copy: later commits of the service are not seen.
            reader.execute("BEGIN")
            reader.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
            reader.backup(writer, pages=-1)
            writer.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise BackupFailed(f"{source} cannot be copied: {error}") from error
    copy.chmod(0o600)


def _add_file(archive: tarfile.TarFile, state: Path, path: Path) -> int:
    """Files may vanish meanwhile (an artefact that was deleted); logs may grow."""
    try:
        with path.open("rb") as file:
            member = archive.gettarinfo(arcname=str(path.relative_to(state)), fileobj=file)
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            archive.addfile(member, file)
    except FileNotFoundError:
        return 0
    return 1


def read_backup(source: Path, state: Path, say: Callable[[str], None]) -> dict[str, int]:
    """Makes the state directory from a backup: all of it, checked, or nothing. It must not exist or be empty."""
    draft = state.with_name(f".{state.name}.restoring")
    if draft.exists():
        shutil.rmtree(draft)
    draft.mkdir(mode=0o700, parents=True)
    try:
        counts = _unpack(source, draft)
        for path in _databases(draft):
            _check(path)
            say(f"{path.relative_to(draft)}: sound")
        if (draft / "scheduler").is_dir():
            # The scheduler skips epochs and ids on its next start: some were given out after the backup.
            (draft / "scheduler" / "restored").touch(mode=0o600)
        if state.exists():
            state.rmdir()
        draft.rename(state)
        return counts
    except (tarfile.TarError, zlib.error, EOFError, KeyError, ValueError) as error:
        raise BackupFailed(f"{source} is no sound backup: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _unpack(source: Path, draft: Path) -> dict[str, int]:
    counts = {"databases": 0, "files": 0}
    with tarfile.open(source, "r:gz") as archive:
        first = archive.next()
        if first is None or first.name != MANIFEST:
            raise BackupFailed(
                f"{source} is no backup of a yard", next_step="make one with: yard backup FILE"
            )
        for member in archive:
            if member.name == MANIFEST:
                continue
            if not member.isfile():
                raise BackupFailed(f"{source} holds {member.name}, which is no plain file")
            archive.extract(member, draft, filter="data")
            kind = "databases" if member.name.endswith(DATABASE_SUFFIXES) else "files"
            counts[kind] += 1
    for folder, _, _ in os.walk(draft):
        Path(folder).chmod(0o700)
    return counts


def _check(path: Path) -> None:
    try:
        with closing(sqlite3.connect(path)) as connection:
            verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict != "ok":
        raise BackupFailed(f"{path.name} in the backup is damaged: {verdict}")
