"""A real database on a disk that is full when the test says so."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any

from services.chassis.storage.errors import DiskFull
from services.chassis.storage.sqlite import Database


class FullDisk:
    """Its writes fail while ``is_full``, and wait for ``gate``; everything else is the database's own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_full = False
        self.refused = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def write(self, change: Callable[[sqlite3.Connection], Any], **options: Any) -> Any:
        await self.gate.wait()
        if self.is_full:
            self.refused += 1
            raise DiskFull
        return await self._database.write(change, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)
