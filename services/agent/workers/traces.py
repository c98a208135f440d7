"""What stands on disk of a worker while it lives: its socket, and a note that says whose it is.

By both a later agent process finds it again. Small files, written when a worker gets its owner.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container
from pathlib import Path

import msgspec

from services.agent.config import Places
from services.agent.tasks.model import Pool
from services.agent.workers.launcher_client import LauncherFailed


def socket_directory(root: Path) -> Path:
    """A short, private directory for the sockets of an agent: paths of sockets end at 107 bytes."""
    name = hashlib.sha256(str(root).encode()).hexdigest()[:12]
    directory = private_directory() / name
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


def private_directory() -> Path:
    """This user's own on this machine, whichever agent asks."""
    private = Path(f"/tmp/yard-{os.getuid()}")
    private.mkdir(mode=0o700, exist_ok=True)
    if private.is_symlink() or private.stat().st_uid != os.getuid():
        raise LauncherFailed(f"{private} belongs to somebody else; remove it")
    return private


class Traces:
    """Those of all workers of one agent."""

    def __init__(self, places: Places) -> None:
        self._notes = places.workers
        self._sockets = socket_directory(places.root)
        self._notes.mkdir(mode=0o700, exist_ok=True)

    @property
    def launcher_socket(self) -> str:
        return str(self._sockets / "launcher")

    def socket(self, worker: str) -> str:
        """Where the worker listens."""
        return str(self._sockets / worker)

    def note(self, worker: str, pool: Pool) -> None:
        """From now on the worker is this pool's."""
        (self._notes / worker).write_bytes(msgspec.json.encode(pool))

    def pool(self, worker: str) -> Pool | None:
        """Whose it is; None: nobody's yet."""
        try:
            return msgspec.json.decode((self._notes / worker).read_bytes(), type=Pool)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def listening(self, known: Container[str]) -> list[str]:
        """Workers that have a socket and are not known; the process behind it may be gone."""
        paths = sorted(self._sockets.iterdir())
        return [path.name for path in paths if path.name.startswith("w") and path.name not in known]

    def remove(self, worker: str) -> None:
        """The worker has ended."""
        (self._notes / worker).unlink(missing_ok=True)
        Path(self.socket(worker)).unlink(missing_ok=True)

    def remove_notes(self, kept: Container[str]) -> None:
        """Notes of workers that nobody has found again."""
        for path in self._notes.iterdir():
            if path.name not in kept:
                path.unlink()
