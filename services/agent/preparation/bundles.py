"""Bundles and attached directories: shipped as tar.gz, unpacked once per machine below bundles/<digest>.

What is unpacked comes from users: `modelyard.bundle` keeps it inside its directory, free of devices and set-uid
files, and within limits.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from weakref import WeakValueDictionary

from modelyard import bundle as archives
from modelyard.bundle import BundleLimits, extract_bundle
from services.agent.preparation.artifacts import Artifacts

LIMITS = BundleLimits(members=200_000, total_bytes=64 * 1024**3)


class BundleInvalid(Exception):
    """The archive cannot be unpacked."""

    next_step = "ship the directory again: yard run --dir DIR, or --attach DIR/"


class Bundles:
    """The cache of unpacked bundles."""

    def __init__(self, directory: Path, artifacts: Artifacts) -> None:
        self._directory = directory
        self._artifacts = artifacts
        self._under_way: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def path(self, digest: str) -> Path:
        """Where the bundle is once it was fetched."""
        return self._directory / digest

    async def fetch(self, digest: str, account: str) -> None:
        """Makes the directory exist, whole. Raises TransferFailed or BundleInvalid. Idempotent; accounts that want
        it at once wait for one."""
        async with self._under_way.setdefault(digest, asyncio.Lock()):
            await self._fetch(digest, account)

    async def _fetch(self, digest: str, account: str) -> None:
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
    """Unpacks a tar.gz into a directory that appears when it is complete. Raises BundleInvalid. Blocks."""
    try:
        extract_bundle(archive, target, LIMITS)
    except archives.BundleInvalid as error:
        raise BundleInvalid(f"the archive cannot be unpacked: {error}") from error
    except FileExistsError:
        return
