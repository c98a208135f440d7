"""Bundles: directories of code, shipped as tar.gz, unpacked once per machine below bundles/<digest>.

What is unpacked comes from users: Python's 'data' filter keeps it inside its directory and free of
devices and set-uid files, and limits keep it from filling the disk.
"""

from __future__ import annotations

import asyncio
import shutil
import tarfile
from pathlib import Path

from services.agent.artifacts import Artifacts

ENTRIES_MOST = 200_000
BYTES_MOST = 20 * 1024**3


class BundleInvalid(Exception):
    """The archive cannot be unpacked."""

    next_step = "ship the directory again, for example with yard run --dir DIR"


class Bundles:
    """The cache of unpacked bundles."""

    def __init__(self, directory: Path, artifacts: Artifacts) -> None:
        self._directory = directory
        self._artifacts = artifacts

    def path(self, digest: str) -> Path:
        """Where the bundle is once it was fetched."""
        return self._directory / digest

    async def fetch(self, digest: str, account: str) -> None:
        """Makes the directory exist, whole. Raises TransferFailed or BundleInvalid. Idempotent."""
        path = self.path(digest)
        if path.is_dir():
            await self._artifacts.check(digest, account)
            path.touch()
            return
        archive = self._directory / f".{digest}.tar.gz"
        try:
            await self._artifacts.fetch(digest, account, archive)
            await asyncio.to_thread(unpack, archive, path)
        finally:
            archive.unlink(missing_ok=True)


def unpack(archive: Path, target: Path) -> None:
    """Unpacks a tar.gz into a directory that appears when it is complete. Raises BundleInvalid."""
    draft = target.with_name(f".{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            _extract(tar, draft)
        draft.replace(target)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BundleInvalid(f"the bundle cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _extract(tar: tarfile.TarFile, target: Path) -> None:
    size_bytes = 0
    for entries, member in enumerate(tar, 1):
        size_bytes += member.size
        if entries > ENTRIES_MOST or size_bytes > BYTES_MOST:
            raise BundleInvalid(
                f"the bundle is too large: at most {ENTRIES_MOST} entries and {BYTES_MOST} bytes are unpacked"
            )
        tar.extract(member, target, filter="data")
