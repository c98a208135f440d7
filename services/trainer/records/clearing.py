"""Ended jobs whose time is over: their rows go, and the store lets go of their checkpoints (S3.10).

What a job kept as outputs stays in the store: it was asked for, and is its account's by now. What instances wrote is
the scheduler's to keep, with their tasks.
"""

from __future__ import annotations

import msgspec

from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.steps.errands import Errands
from services.trainer.jobs.checkpoints import holder_of
from services.trainer.records.owing import Kind
from services.trainer.records.store import JobStore

ROUND_S = 5.0
MOST = 100
_DAY_MS = 86_400_000
_PACK = msgspec.msgpack.Encoder().encode
_log = get_logger("trainer.clearing")


class Clearing:
    """`run` is a loop that the service starts."""

    def __init__(self, store: JobStore, errands: Errands, clock: Clock, keep_ended_days: float) -> None:
        """`keep_ended_days` 0: for ever."""
        self._store = store
        self._errands = errands
        self._clock = clock
        self._keep_ms = round(keep_ended_days * _DAY_MS)

    async def run(self) -> None:
        """For ever."""
        while True:
            while await self.clear():
                pass
            await self._clock.sleep(ROUND_S)

    async def clear(self) -> int:
        """So many were cleared; a step of others may come between any two."""
        now_ms = self._clock.now_ms()
        ended_before_ms = now_ms - self._keep_ms if self._keep_ms else 0
        found = await self._store.expired(now_ms, ended_before_ms, MOST)
        for number, account in found:
            errands = [
                self._errands.take(Kind.REFERENCES, account, _PACK((holder_of(number, one), ())))
                for one in await self._store.checkpoints(number)
                if one.is_stored
            ]
            await self._store.clear(number, errands)
            self._errands.owe(errands)
            _log.info("job_cleared", job=f"j-{number}")
        return len(found)
