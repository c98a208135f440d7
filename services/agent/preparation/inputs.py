"""Files that come by digest, inputs and attachments: fetched once a machine, kept below inputs/.

A cached file is read-only and bears a seal, its time of change. Tasks run as the agent's own user, so nothing keeps
one from writing into a file that it was given; one whose seal is broken is fetched again before anybody else gets it.
The time of access says when it was last wanted.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from weakref import WeakValueDictionary

from services.agent.preparation.artifacts import Artifacts

SEAL_NS = 1_000_000_000 * 10**9
"""The time of change of a file that is as it was fetched."""


class Inputs:
    """The file cache. Who may have which artefact is the store's word, asked for every account once."""

    def __init__(self, directory: Path, artifacts: Artifacts, find: Callable[[str], bool]) -> None:
        """`find` looks for an artefact elsewhere on this machine and makes it the cached one; it blocks."""
        self._directory = directory
        self._artifacts = artifacts
        self._find = find
        self._under_way: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def path(self, digest: str) -> Path:
        """Where the bytes are once they were fetched."""
        return self._directory / digest

    async def fetch(self, digest: str, account: str) -> None:
        """Makes the file exist. Raises TransferFailed. Idempotent; accounts that want it at once wait for one."""
        async with self._under_way.setdefault(digest, asyncio.Lock()):
            await self._fetch(digest, account)

    async def mend(self, digest: str, account: str) -> None:
        """Fetches it again if somebody has written to it since."""
        if not is_sealed(self.path(digest)):
            await self.fetch(digest, account)

    async def _fetch(self, digest: str, account: str) -> None:
        path = self.path(digest)
        if is_sealed(path):
            await self._artifacts.check(digest, account)
            seal(path)
            return
        path.unlink(missing_ok=True)
        if await asyncio.to_thread(self._find, digest):
            await self._artifacts.check(digest, account)
            return
        await self._artifacts.fetch(digest, account, path)
        path.chmod(0o444)
        seal(path)


def seal(path: Path) -> None:
    """Notes that it is as it was fetched, and wanted now."""
    os.utime(path, ns=(time.time_ns(), SEAL_NS))


def is_sealed(path: Path) -> bool:
    """Whether it is there and nobody has written to it."""
    try:
        return path.stat().st_mtime_ns == SEAL_NS
    except FileNotFoundError:
        return False
