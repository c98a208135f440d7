"""The files by which processes of one yard find each other and keep off each other.

Owns run/<name>.lock (one process of a name for a state directory) and run/<name>.json (written
once it serves). The directory's other rooms belong to the services.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from pathlib import Path
from types import TracebackType

from services.chassis.errors import StartRefused


class StateInUse(StartRefused):
    """Another process of this service uses the state directory."""


class StateUnusable(StartRefused):
    """The state directory cannot be used."""


class StateLock:
    """Holds run/<name>.lock while the process lives; the kernel frees it however the process ends."""

    def __init__(self, state_dir: Path, name: str) -> None:
        self._state_dir = state_dir
        self._path = state_dir / "run" / f"{name}.lock"
        self._name = name
        self._descriptor = -1

    def __enter__(self) -> StateLock:
        try:
            self._state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._take()
        except OSError as error:
            self._close()
            raise _unusable(error, self._state_dir) from error
        except StateInUse:
            self._close()
            raise
        return self

    def _take(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            raise StateInUse(
                f"the state directory {self._state_dir} is in use by another {self._name} (pid {holder});"
                " stop that one, or choose another directory with --state"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _unusable(error: OSError, state_dir: Path) -> StateUnusable:
    read_only = error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
    why = "it is not writable by this user" if read_only else (error.strerror or str(error)).lower()
    return StateUnusable(f"cannot use the state directory {state_dir}: {why}; choose another with --state")


def ready_file(state_dir: Path, name: str) -> Path:
    """Where the service `name` says that it serves."""
    return state_dir / "run" / f"{name}.json"


def write_ready(state_dir: Path, name: str, address: str, now_ms: int) -> None:
    """Say, atomically, that this process serves `name` at `address` ("" if it listens nowhere).

    Raises StateUnusable.
    """
    ready = {"name": name, "pid": os.getpid(), "address": address, "start_time_ms": now_ms}
    try:
        write_atomically(ready_file(state_dir, name), json.dumps(ready).encode() + b"\n")
    except OSError as error:
        raise _unusable(error, state_dir) from error


def write_atomically(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `content`: readers see the old or the new file, also after a power loss."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
