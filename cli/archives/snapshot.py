"""A running yard as it was at one moment.

Owns what belongs to it and in which order it is looked at. A read transaction on every database fixes the moment, the
scheduler's first: what a task refers to was in the store before the task was, and is there until after its end. Then
each file gets a second name, so that nothing which the databases speak of can vanish while it is copied; if something
vanished in between, the moment is taken anew. Connections are opened read-only and never checkpoint.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from cli import exit_codes
from cli.errors import CommandError

LEFT_OUT = ("run", "logs", "agents")
"""Of this machine and this moment; agents keep their own truth, and report it again."""
DATABASE_SUFFIXES = (".db",)
SIDE_FILES = ("-wal", "-shm", "-journal")
FIRST = "scheduler/scheduler.db"
BLOBS = "store/blobs"
MOST_TRIES = 10
_PINS = ".backup-"


class BackupFailed(CommandError):
    """A backup could not be written or read."""

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message, code=exit_codes.WORK_FAILED, next_step=next_step)


class Snapshot:
    """One moment; good while the block of `taken` lasts."""

    def __init__(self, state: Path, readers: dict[str, sqlite3.Connection], files: dict[str, Path]) -> None:
        self._state = state
        self._readers = readers
        self._files = files

    def databases(self, room: Path) -> Iterator[tuple[str, Path]]:
        """Name and a copy of each, which goes away when the next is asked for; copies are made in ``room``."""
        for name, reader in self._readers.items():
            with tempfile.TemporaryDirectory(dir=room, prefix=_PINS) as folder:
                copy = Path(folder) / Path(name).name
                copy_database(reader, copy)
                yield name, copy

    def files(self) -> Iterator[tuple[str, Path]]:
        """Name and place of everything else."""
        yield from self._files.items()


@contextmanager
def taken(state: Path) -> Iterator[Snapshot]:
    """The state directory as it is now. Raises BackupFailed."""
    with _pins(state) as pins:
        for attempt in range(MOST_TRIES):
            with ExitStack() as stack:
                readers = {
                    str(path.relative_to(state)): stack.enter_context(_reading(path))
                    for path in databases_of(state)
                }
                files = _pin(state, pins / str(attempt))
                if _is_whole(readers, files, state):
                    yield Snapshot(state, readers, files)
                    return
        raise BackupFailed("artefacts are removed faster than they can be looked at", next_step="try again")


@contextmanager
def _pins(state: Path) -> Iterator[Path]:
    """A room for second names, on the same file system; what a backup that was killed has left goes too."""
    for left in state.glob(f"{_PINS}*"):
        if not Path(f"/proc/{left.name.removeprefix(_PINS)}").exists():
            shutil.rmtree(left, ignore_errors=True)
    pins = state / f"{_PINS}{os.getpid()}"
    pins.mkdir(mode=0o700)
    try:
        yield pins
    finally:
        shutil.rmtree(pins, ignore_errors=True)


def _pin(state: Path, room: Path) -> dict[str, Path]:
    """Every plain file by name. Where the file system knows no second names the file itself stands for it."""
    files = {}
    for path in _plain_files(state):
        name = str(path.relative_to(state))
        pinned = room / name
        pinned.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, pinned)
        except FileNotFoundError:
            continue
        except OSError:
            pinned = path
        files[name] = pinned
    return files


def _is_whole(readers: dict[str, sqlite3.Connection], files: dict[str, Path], state: Path) -> bool:
    """Whether every blob that the store speaks of is there; those of an object store are not this machine's."""
    store = readers.get("store/store.db")
    if store is None or not (state / BLOBS).is_dir():
        return True
    here = {Path(name).name for name in files if name.startswith(f"{BLOBS}/")}
    try:
        kept = store.execute("SELECT digest FROM blob WHERE quarantine_time_ms IS NULL").fetchall()
    except sqlite3.OperationalError:
        # A store that has not begun.
        return True
    return all(digest in here for (digest,) in kept) or not here


def databases_of(state: Path) -> list[Path]:
    """Every database, the scheduler's first."""
    found = [path for path in _walk(state) if path.suffix in DATABASE_SUFFIXES]
    return sorted(found, key=lambda path: str(path.relative_to(state)) != FIRST)


def _plain_files(state: Path) -> Iterator[Path]:
    for path in _walk(state):
        side = any(path.name.endswith(f"{d}{s}") for d in DATABASE_SUFFIXES for s in SIDE_FILES)
        if path.suffix not in DATABASE_SUFFIXES and not side and not path.name.startswith("."):
            yield path


def _walk(state: Path) -> Iterator[Path]:
    for folder, directories, names in os.walk(state):
        if Path(folder) == state:
            directories[:] = [d for d in directories if d not in LEFT_OUT and not d.startswith(_PINS)]
        directories.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_file() and not path.is_symlink():
                yield path


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection inside a read transaction: later commits of the service are not seen."""
    try:
        with closing(
            sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30, isolation_level=None)
        ) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
            yield reader
    except sqlite3.Error as error:
        raise BackupFailed(f"{path} cannot be copied: {error}") from error


def copy_database(reader: sqlite3.Connection, copy: Path) -> None:
    """What the reader's transaction sees, as a database of its own. Raises BackupFailed."""
    try:
        with closing(sqlite3.connect(copy)) as writer:
            reader.backup(writer, pages=-1)
            writer.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise BackupFailed(f"{copy.name} cannot be copied: {error}") from error
    copy.chmod(0o600)
