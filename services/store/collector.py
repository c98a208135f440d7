"""The loop that lets go of what nobody needs: idle artefacts, files without a row, old request ids.

Owns when this happens. What may go is decided in one transaction of the store; a storage that fails is logged
and tried again in the next round.
"""

from services.chassis.clock import Clock
from services.chassis.errors import ServiceError
from services.chassis.logs import get_logger
from services.store.blobs.blobs import Blobs
from services.store.engine import Engine
from services.store.store import COLLECT_MOST, Store

ROUND_MOST_S = 60.0
ROUND_LEAST_S = 0.2

_log = get_logger("store")


class Collector:
    """Collects for one engine."""

    def __init__(self, engine: Engine, store: Store, blobs: Blobs, grace_s: float, clock: Clock) -> None:
        self._engine = engine
        self._store = store
        self._blobs = blobs
        self._grace_s = grace_s
        self._clock = clock

    async def run(self) -> None:
        """Never returns. Starts with the files that a crash left without a row."""
        await self._attempt_orphans()
        while True:
            await self._attempt_round()
            await self._clock.sleep(min(ROUND_MOST_S, max(ROUND_LEAST_S, self._grace_s / 4)))

    async def collect(self) -> int:
        """One round; returns how many artefacts went."""
        before_ms = self._clock.now_ms() - round(self._grace_s * 1000)
        collected = 0
        while True:
            count, unowned = await self._store.collect(before_ms)
            for digest in unowned:
                await self._engine.remove_unowned(digest)
            collected += count
            if count < COLLECT_MOST:
                break
        await self._store.forget_deletions(self._clock.now_ms())
        return collected

    async def remove_orphans(self) -> int:
        """Removes every file without a row; returns how many."""
        removed = 0
        for digest in await self._blobs.digests():
            removed += await self._engine.remove_unowned(digest)
        return removed

    async def _attempt_round(self) -> None:
        try:
            collected = await self.collect()
        except ServiceError as error:
            _log.warning("collection_failed", reason=error.reason, error=str(error))
            return
        if collected:
            _log.info("artifacts_collected", count=collected)

    async def _attempt_orphans(self) -> None:
        try:
            removed = await self.remove_orphans()
        except ServiceError as error:
            _log.warning("orphan_sweep_failed", reason=error.reason, error=str(error))
            return
        if removed:
            _log.info("orphans_removed", count=removed)
