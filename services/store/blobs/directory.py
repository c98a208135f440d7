"""Blobs in a directory of this machine: ``ab/abcdef…``, one file each, read-only from birth.

Synchronous; `blobs.py` runs it in threads. A file under its digest is complete and durable: it got there by
fsync, rename, fsync of the directory. Paths are made of checked digests only, never of a caller's words.
"""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from services.store.blobs.failures import storage_errors

INCOMING = ".incoming"
QUARANTINE = ".quarantine"
_PREFIX = re.compile(r"[0-9a-f]{2}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Directory:
    """The default place of blobs. `open` comes first."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / INCOMING
        self._quarantine = root / QUARANTINE

    def open(self) -> None:
        """Makes the directories and sweeps what interrupted uploads left. Raises storage errors."""
        with storage_errors():
            for folder in (self._root, self._incoming, self._quarantine):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sweep(self._incoming)
            sync_directory(self._root)

    def incoming_path(self) -> Path:
        """A new name for a temporary file on the same file system."""
        return self._incoming / f"{secrets.token_hex(16)}.part"

    def size(self, digest: str) -> int | None:
        """The bytes of the blob, None where it is not there."""
        with storage_errors(), contextlib.suppress(FileNotFoundError):
            return self._path(digest).stat().st_size
        return None

    def publish(self, staged: Path, digest: str) -> None:
        """Moves a synced temporary file to its place; durable on return. Replaces what was there."""
        target = self._path(digest)
        with storage_errors():
            if not target.parent.exists():
                target.parent.mkdir(mode=0o700, exist_ok=True)
                sync_directory(self._root)
            staged.replace(target)
            sync_directory(target.parent)

    def read(self, digest: str) -> BinaryIO:
        """The blob, unbuffered, for reading; raises FileNotFoundError."""
        with storage_errors():
            return self._path(digest).open("rb", buffering=0)

    def remove(self, digest: str) -> None:
        """Forgets the blob and its quarantined bytes. Idempotent."""
        with storage_errors():
            self._path(digest).unlink(missing_ok=True)
            (self._quarantine / digest).unlink(missing_ok=True)

    def quarantine(self, digest: str) -> None:
        """Puts the bytes aside, so that nobody gets them and an operator can look at them."""
        with storage_errors(), contextlib.suppress(FileNotFoundError):
            self._path(digest).replace(self._quarantine / digest)
            sync_directory(self._path(digest).parent)

    def digests(self) -> Iterator[str]:
        """Every blob that is there."""
        with storage_errors():
            for folder in sorted(p for p in self._root.iterdir() if _PREFIX.fullmatch(p.name)):
                yield from sorted(p.name for p in folder.iterdir() if _DIGEST.fullmatch(p.name))

    def free_bytes(self) -> int | None:
        """The room left for this user; None: not known."""
        with storage_errors():
            return shutil.disk_usage(self._root).free

    def _path(self, digest: str) -> Path:
        return self._root / digest[:2] / digest


def sweep(folder: Path) -> None:
    """Removes every file of a folder of temporary files."""
    for path in folder.iterdir():
        path.unlink()


def sync_directory(folder: Path) -> None:
    """Makes renames and creations in `folder` survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
