"""One lock per digest in use, so that publishing and removing the same bytes exclude each other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class DigestLocks:
    """Locks that exist for as long as somebody holds or awaits them."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    @asynccontextmanager
    async def of(self, digest: str) -> AsyncIterator[None]:
        """Holds the digest's lock. Safe to cancel while waiting."""
        lock = self._locks.setdefault(digest, asyncio.Lock())
        self._users[digest] = self._users.get(digest, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._users[digest] -= 1
            if not self._users[digest]:
                del self._users[digest], self._locks[digest]
