"""The audit log of one service: entries that are durable before the answer, and ones that follow within a second.

Owns its file, the buffer and retention. One writer; concurrent entries share a transaction. When the disk refuses an
entry the change is done already, so the answer stands: the entry waits in memory, and the log line says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import msgspec

from services.chassis.audit.entry import Entry
from services.chassis.clock import Clock, SystemClock
from services.chassis.errors import ServiceError
from services.chassis.logs import get_logger
from services.chassis.metrics.figures import Family, counter, gauge
from services.chassis.security import Principal
from services.chassis.storage.sqlite import Database, load_migrations, load_queries

PACKAGE = "services.chassis.audit"
FLUSH_S = 1.0
PRUNE_FLUSHES = 60
WAITING_MOST = 20_000
DAY_MS = 86_400_000

_log = get_logger("chassis.audit")


class Caller(msgspec.Struct, frozen=True):
    """Who calls, from where, in which call."""

    principal: Principal
    peer: str
    call_id: str


class AuditLog:
    """Made by `open`; `run` is a loop that the chassis starts; must be closed."""

    def __init__(self, database: Database, keep_days: int, keep_bytes: int, clock: Clock) -> None:
        self._database = database
        self._sql = load_queries(PACKAGE)
        self._keep_ms = keep_days * DAY_MS
        self._keep_bytes = keep_bytes
        self._clock = clock
        # By what makes entries alike; see `note`.
        self._waiting: dict[object, Entry] = {}
        self.dropped = 0

    @classmethod
    async def open(
        cls, path: Path, *, keep_days: int, keep_bytes: int, clock: Clock | None = None
    ) -> AuditLog:
        """Raises a StartRefused leaf where the file cannot be used."""
        database = await Database.open(path, load_migrations(PACKAGE))
        return cls(database, keep_days, keep_bytes, clock or SystemClock())

    async def close(self) -> None:
        """Writes what waits, then closes the file."""
        try:
            await self.flush()
        finally:
            await self._database.close()

    def entry(self, rpc: str, caller: Caller, resources: str = "", **more: Any) -> Entry:
        """One of now; ``rpc`` is the full method."""
        who = caller.principal
        return Entry(
            self._clock.now_ms(), rpc.lstrip("/").removeprefix("modelyard.v1."), who.role, who.account, who.token_id,
            who.node, caller.peer, resources, call_id=caller.call_id, **more,
        )  # fmt: skip

    async def keep(self, entry: Entry) -> None:
        """The entry is on disk on return, or, where the disk refuses it, waits for its turn."""
        try:
            await self._database.write(
                lambda c: c.execute(self._sql["insert_entry"], entry.row()), is_small=True
            )
        except ServiceError as error:
            _log.error("audit_entry_waits", reason=error.reason, rpc=entry.rpc)
            self.note(entry)

    def note(self, entry: Entry, like: object = None) -> None:
        """To be written within a second; ``like`` is what later ones can be counted with it by (`count`)."""
        if len(self._waiting) < WAITING_MOST:
            self._waiting[object() if like is None else like] = entry
        else:
            self.dropped += 1

    def count(self, like: object, resources: str) -> bool:
        """Counts one more with the entry that waits under ``like``; False: there is none."""
        known = self._waiting.get(like)
        if known is None:
            return False
        known.count += 1
        known.request_id = ""
        known.resources = _widened(known.resources, resources)
        return True

    async def figures(self) -> list[Family]:
        """For whoever scrapes."""
        return [
            gauge(
                "yard_audit_waiting", "Entries of the audit log that wait for the disk.", len(self._waiting)
            ),
            counter(
                "yard_audit_dropped", "Entries that were given up because too many waited.", self.dropped
            ),
        ]

    async def run(self) -> None:
        """Writes what waits, and lets go of what is old."""
        for turn in range(1 << 62):
            await asyncio.sleep(FLUSH_S)
            try:
                await self.flush()
                if turn % PRUNE_FLUSHES == 0:
                    await self.prune()
            except ServiceError as error:
                _log.error("audit_not_written", reason=error.reason, entries=len(self._waiting))

    async def flush(self) -> None:
        """Everything that waits is on disk on return. Raises storage errors, and then nothing is lost."""
        entries, self._waiting = self._waiting, {}
        if not entries:
            return
        rows = [entry.row() for entry in entries.values()]
        try:
            await self._database.write(lambda c: c.executemany(self._sql["insert_entry"], rows))
        except ServiceError:
            self._waiting = {**entries, **self._waiting}
            raise

    async def prune(self) -> None:
        """Removes entries that are too old, and the oldest while the file is too large; some at a time."""
        before_ms = self._clock.now_ms() - self._keep_ms
        while await self._database.write(lambda c: c.execute(self._sql["prune_old"], (before_ms,)).rowcount):
            pass
        while await self._used_bytes() > self._keep_bytes:
            if not await self._database.write(lambda c: c.execute(self._sql["prune_oldest"]).rowcount):
                return

    async def _used_bytes(self) -> int:
        return int(await self._database.read(lambda c: c.execute(self._sql["used_bytes"]).fetchone()[0]))

    async def list(self, named: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Rows, newest first; ``named`` are the parameters of the query."""
        await self.flush()
        return await self._database.read(lambda c: c.execute(self._sql["list_entries"], named).fetchall())


_current: ContextVar[tuple[AuditLog, Caller] | None] = ContextVar("yard_audit", default=None)


def set_current(log: AuditLog, caller: Caller) -> None:
    """For the interceptor: what this asyncio task notes is of this call."""
    _current.set((log, caller))


def note_in_stream(
    rpc: str, resources: str, request_id: str = "", code: str = "OK", reason: str = ""
) -> None:
    """For streams: one of the changes that they made. Like ones of one call within a second share an entry."""
    current = _current.get()
    if current is not None:
        log, caller = current
        like = (caller.call_id, rpc, code, reason)
        if not log.count(like, resources):
            entry = log.entry(rpc, caller, resources, code=code, reason=reason, request_id=request_id[:64])
            log.note(entry, like)


def _widened(known: str, more: str) -> str:
    """ "tasks/t-1..t-4" and "tasks/t-5" make "tasks/t-1..t-5"."""
    if not more or known == more:
        return known
    last = more.rpartition("..")[2].rpartition("/")[2]
    return f"{known.partition('..')[0]}..{last}" if known else more
