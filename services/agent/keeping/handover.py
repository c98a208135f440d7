"""Files that pass from task to task on this machine under the same inode, without being copied.

Owns two ways into the cache of inputs (see `inputs`) that cost a name and no bytes: what a task has left behind, once
the store has it too, and what another agent of this state directory has in its own cache. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import signal
import stat
from pathlib import Path

from services.agent.preparation.inputs import SEAL_NS, is_sealed, seal

ROOM_TIMES = 4
"""A file is kept for the next task only where the disk has so many times its size left."""


class Handover:
    """The ways into one agent's cache of inputs."""

    def __init__(self, inputs: Path) -> None:
        self._inputs = inputs
        self._agents = inputs.parent.parent
        self.taken_bytes = 0
        """What tasks have added to the cache since somebody has set this to 0."""

    def settle(self, path: Path, room: Path) -> bool:
        """Makes a file below the directory of a task that has ended read-only and sealed, so that it can be taken.

        False: it is not the task's alone, somebody may still write to it, or the disk is nearly full; it is as it was.
        """
        if not path.resolve().is_relative_to(room.resolve()):
            return False
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_uid != os.geteuid():
                return False
            if shutil.disk_usage(self._inputs).free < ROOM_TIMES * found.st_size:
                return False
            if has_writer(descriptor) is not False:
                return False
            os.fchmod(descriptor, 0o444)
            seal(path)
        finally:
            os.close(descriptor)
        return True

    def take(self, path: Path, digest: str) -> None:
        """A settled file becomes the cached artefact, unless that is there or the file was written to since."""
        target = self._inputs / digest
        if is_sealed(path) and not is_sealed(target) and _name(path, target):
            self.taken_bytes += target.stat().st_size

    def find(self, digest: str) -> bool:
        """Takes the artefact from another agent's cache; False: none has it."""
        target = self._inputs / digest
        with contextlib.suppress(OSError):
            for agent in self._agents.iterdir():
                source = agent / "inputs" / digest
                if source != target and is_sealed(source) and _name(source, target):
                    return True
        return False


def _name(source: Path, target: Path) -> bool:
    """A second name for a sealed file of this user; False: it cannot have one, or is not what it should be."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        os.link(source, draft)
    except OSError:
        return False
    try:
        found = draft.lstat()
        is_right = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        if is_right and found.st_mtime_ns == SEAL_NS and not found.st_mode & 0o222:
            draft.replace(target)
            return True
        return False
    finally:
        # Where both names are one file already, replacing one by the other leaves both.
        draft.unlink(missing_ok=True)


def has_writer(descriptor: int) -> bool | None:
    """Whether anybody has the file open for writing, or mapped; None where this cannot be known.

    The kernel gives a read lease only on a file that has none. It is given back at once; should it be broken within
    that time, the signal is one that nobody minds.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    return False
