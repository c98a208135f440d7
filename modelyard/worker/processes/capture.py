"""What work writes to stdout and stderr, and where it goes.

Owns the file descriptors 1 and 2 of a worker and Python's ``sys.stdout`` and ``sys.stderr``.

Text that Python code prints goes straight to ``<log_directory>/stdout`` and ``stderr``, which are opened
with the first byte. Descriptors 1 and 2 themselves (C libraries, child processes) are files in memory that
are read off into the same logs ten times a second and at the end of a call: an idle descriptor costs one
``lseek`` a call, and no writer can ever be blocked. The price: between the two ways the order is not kept,
and a worker that is killed takes up to 0.1 s of such output along. Between calls everything goes to the
worker's own log.
"""

import ctypes
import io
import os
import sys
import threading
from pathlib import Path
from typing import Any

_NAMES = ("stdout", "stderr")
_PUNCH_HOLE = 0x02 | 0x01
_PUNCH_BYTES = 1024 * 1024


class Capture:
    def __init__(self, log_fd: int) -> None:
        """Takes descriptors 1 and 2; ``log_fd`` gets what belongs to no work."""
        self._log_fd = log_fd
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._directory = ""
        self._files = [-1, -1]
        self._taken = [0, 0]
        self._spools = [_spool(name, fd) for fd, name in enumerate(_NAMES, start=1)]
        sys.stdout = _text_stream(self, 0)
        sys.stderr = _text_stream(self, 1)

    def begin(self, directory: str) -> None:
        """From now on everything belongs to the work that logs into ``directory``."""
        self.drain()
        self._directory = directory

    def end(self) -> tuple[int, int]:
        """Bytes of stdout and stderr that the work has written, all of them in their files."""
        sys.stdout.flush()
        sys.stderr.flush()
        self.drain()
        with self._lock:
            self._directory = ""
            if self._files == [-1, -1]:
                return 0, 0
            sizes = [0, 0]
            for index, fd in enumerate(self._files):
                if fd >= 0:
                    sizes[index] = os.fstat(fd).st_size
                    os.close(fd)
            self._files = [-1, -1]
            return sizes[0], sizes[1]

    def write(self, index: int, data: bytes) -> None:
        if os.getpid() != self._pid:
            # A forked child must not open the log a second time: its parent reads it from here.
            os.write(index + 1, data)
            return
        with self._lock:
            self._append(index, data)

    def drain(self) -> None:
        """Takes what stands in the spools."""
        for index, spool in enumerate(self._spools):
            if os.lseek(spool, 0, os.SEEK_END) > self._taken[index]:
                with self._lock:
                    self._take(index, spool)

    def _take(self, index: int, spool: int) -> None:
        while data := os.pread(spool, 65536, self._taken[index]):
            self._append(index, data)
            self._taken[index] += len(data)
        if not self._directory:
            os.ftruncate(spool, 0)
            self._taken[index] = 0
        elif self._taken[index] > _PUNCH_BYTES:
            _free(spool, self._taken[index])

    def _append(self, index: int, data: bytes) -> None:
        if self._directory and self._files[index] < 0:
            self._files[index] = open_log(self._directory, _NAMES[index])
        fd = self._files[index] if self._directory else self._log_fd
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]


def open_log(directory: str, name: str) -> int:
    """A descriptor of a log to append to; its directory is made if need be."""
    path = f"{directory}/{name}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        Path(directory).mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o600)


def _spool(name: str, fd: int) -> int:
    import fcntl

    spool = os.memfd_create(f"modelyard-{name}")
    fcntl.fcntl(spool, fcntl.F_SETFL, os.O_APPEND)
    os.dup2(spool, fd)
    return spool


def _free(spool: int, size: int) -> None:
    """Gives the memory of what was read off back; writers only ever append behind it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate(spool, _PUNCH_HOLE, ctypes.c_long(0), ctypes.c_long(size))


class _Raw(io.RawIOBase):
    def __init__(self, capture: Capture, index: int) -> None:
        self._capture = capture
        self._index = index

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._index + 1

    def write(self, data: Any) -> int:
        raw = bytes(data)
        self._capture.write(self._index, raw)
        return len(raw)


def _text_stream(capture: Capture, index: int) -> io.TextIOWrapper:
    buffered = io.BufferedWriter(_Raw(capture, index))
    return io.TextIOWrapper(buffered, encoding="utf-8", errors="backslashreplace", line_buffering=True)
