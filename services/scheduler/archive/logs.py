"""What tasks write, kept in files by task, attempt and stream; filled by agents, read by followers.

Bytes are placed by offset: a chunk that comes twice changes nothing, and one that would leave a gap is not taken.
"""

import asyncio
from collections.abc import Collection
from pathlib import Path

from services.chassis.errors import Unavailable
from services.scheduler.model import format_task_id, number_of

STREAMS = {1: "stdout", 2: "stderr"}
READ_BYTES = 256 << 10


class LogNotKept(Unavailable):
    """What a task wrote could not be kept; the agent sends it again later."""


class LogFiles:
    """All log files below one directory. Small appends are done inline: they go to the page cache."""

    def __init__(self, root: Path) -> None:
        self._root = root
        # By task: set whenever something of it was appended.
        self._watchers: dict[int, set[asyncio.Event]] = {}

    def path(self, key: int, attempt: int, stream: int) -> Path:
        folder = self._root / f"{number_of(key) // 1000}"
        return folder / f"{format_task_id(key)}.{attempt}.{STREAMS[stream]}"

    def size(self, key: int, attempt: int, stream: int) -> int:
        try:
            return self.path(key, attempt, stream).stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, key: int, attempt: int, stream: int, offset: int, data: bytes) -> int:
        """Takes what is new of a chunk; returns up to where the file now goes."""
        path = self.path(key, attempt, stream)
        size = self.size(key, attempt, stream)
        fresh = data[size - offset :] if offset <= size else b""
        if fresh:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("ab") as file:
                    file.write(fresh)
            except OSError as error:
                raise LogNotKept(f"cannot write {path.name}: {error.strerror}") from error
            for watcher in self._watchers.get(key, ()):
                watcher.set()
        return size + len(fresh)

    def read(self, key: int, attempt: int, stream: int, offset: int) -> bytes:
        """The next bytes from an offset; empty: there are none yet."""
        try:
            with self.path(key, attempt, stream).open("rb") as file:
                file.seek(offset)
                return file.read(READ_BYTES)
        except FileNotFoundError:
            return b""

    def remove(self, numbers: Collection[int]) -> None:
        """Removes what these tasks and arrays wrote. Idempotent."""
        for folder in {self._root / f"{number // 1000}" for number in numbers}:
            if not folder.is_dir():
                continue
            for path in folder.iterdir():
                number = path.name.removeprefix("t-").partition(".")[0]
                if number.isdigit() and int(number) in numbers:
                    path.unlink(missing_ok=True)

    def watch(self, key: int, event: asyncio.Event) -> None:
        self._watchers.setdefault(key, set()).add(event)

    def unwatch(self, key: int, event: asyncio.Event) -> None:
        watchers = self._watchers[key]
        watchers.discard(event)
        if not watchers:
            del self._watchers[key]
