"""What commands have ended with, on disk until the agent needs it no more.

Owns one file per worker: a line of JSON for each report, appended before the report is sent. It is read by
the next agent if this worker is gone by then; while the worker lives, its memory is what counts.
"""

import errno
import json
import os
import threading
from pathlib import Path

from modelyard.worker.frames import Message

_TRIM_BYTES, _COMPACT_BYTES = 16 * 1024, 256 * 1024


class Records:
    """Not synced: after a power loss what ran here is gone as well, and is tried again elsewhere.

    Methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._path = ""
        self._fd = -1
        self._size = 0
        self._open: dict[str, bytes] = {}

    def append(self, path: str, report: Message) -> None:
        """Writes a report, so that it survives this process. Raises OSError."""
        line = json.dumps(report, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            if path != self._path:
                self._start(path)
            if self._size > _COMPACT_BYTES:
                self._compact()
            self._open[report["key"]] = line
            if os.write(self._fd, line) < len(line):
                os.ftruncate(self._fd, self._size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            self._size += len(line)

    def forget(self, keys: list[str]) -> None:
        """The agent needs these no more."""
        with self._lock:
            for key in keys:
                self._open.pop(key, None)
            if self._size > _TRIM_BYTES and not self._open:
                os.ftruncate(self._fd, 0)
                self._size = 0

    def close(self) -> None:
        """Lets go of the file, which stays."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd, self._path = -1, ""

    def _start(self, path: str) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._path = path
        self._size = os.fstat(self._fd).st_size

    def _compact(self) -> None:
        """Keeps only what is not acknowledged; whole or not at all."""
        draft = f"{self._path}.new"
        data = b"".join(self._open.values())
        if 2 * len(data) > self._size:
            return
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(fd, data)
        Path(draft).rename(self._path)
        os.close(self._fd)
        self._fd, self._size = fd, len(data)
