"""A yard in one file and back: what belongs to it, consistent while it runs.

Owns the layout of a backup; what was the case at its moment is `snapshot.py`'s.
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
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from cli import exit_codes
from cli.archives.snapshot import DATABASE_SUFFIXES, BackupFailed, databases_of, taken
from cli.errors import CommandError
from modelyard.version import VERSION

MANIFEST = "manifest.json"


def write_backup(state: Path, target: Path) -> dict[str, int]:
    """Writes a tar.gz that appears whole or not at all; counts by kind. The yard may run.

    Everything is of one moment: see `snapshot.py`.
    """
    if not (state / "secrets").is_dir():
        raise CommandError(f"there is no yard in {state}", code=exit_codes.NOT_FOUND)
    draft = target.with_name(f".{target.name}.part")
    counts = {"databases": 0, "files": 0}
    try:
        with (
            taken(state) as snapshot,
            open(draft, "wb", opener=_private) as file,
            # Every member is a file of its own: pinned files are hard links, and inodes come back.
            tarfile.open(fileobj=file, mode="w:gz", compresslevel=1, dereference=True) as archive,
        ):
            _add_manifest(archive)
            for name, copy in snapshot.databases(target.parent):
                archive.add(copy, name, recursive=False)
                counts["databases"] += 1
            for name, path in snapshot.files():
                counts["files"] += _add_file(archive, name, path)
            archive.close()
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return counts


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _add_manifest(archive: tarfile.TarFile) -> None:
    document = {"modelyard": VERSION, "format": 1, "time_ms": int(time.time() * 1000)}
    data = json.dumps(document).encode()
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        member = tarfile.TarInfo(MANIFEST)
        member.size, member.mode = len(data), 0o600
        archive.addfile(member, file)


def _add_file(archive: tarfile.TarFile, name: str, path: Path) -> int:
    """Logs may grow meanwhile; without hard links they may vanish."""
    try:
        with path.open("rb") as file:
            member = archive.gettarinfo(arcname=name, fileobj=file)
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
        for path in databases_of(draft):
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
