"""Who called which version how often, counted in memory until the catalogue has it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from services.chassis.clock import Clock
from services.chassis.errors import ServiceError
from services.chassis.logs import get_logger
from services.models.catalogue.usage import DAY_MS, Count

KEEP_S = 5.0
"""Between two times that what was counted is kept; a crash loses that much of it: these are statistics."""

Keep = Callable[[Sequence[Count]], Awaitable[None]]

_log = get_logger("models.usage")


class Uses:
    """What has been counted and is not kept yet."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int, str, str, int], list[float]] = {}

    def count(
        self,
        model: str,
        version: int,
        account: str,
        now_ms: int,
        *,
        failed: bool,
        compute_ns: int,
        task: str = "",
    ) -> None:
        """One call; `task`: that made it."""
        key = (model, version, account, task, now_ms // DAY_MS)
        found = self._counts.get(key)
        if found is None:
            found = self._counts[key] = [0, 0, 0.0, 0]
        found[0] += 1
        found[1] += failed
        found[2] += compute_ns
        found[3] = now_ms

    def take(self) -> list[Count]:
        """All of it, once."""
        counts, self._counts = self._counts, {}
        return [
            Count(
                model=model, version=version, account=account, time_ms=int(last_ms), calls=int(calls),
                failures=int(failures), compute_s=compute_ns / 1e9, task=task,
            )
            for (model, version, account, task, _), (calls, failures, compute_ns, last_ms) in counts.items()
        ]  # fmt: skip

    async def keep(self, keep: Keep) -> None:
        """Hands over what there is; what cannot be kept is dropped, and logged."""
        counts = self.take()
        if not counts:
            return
        try:
            await keep(counts)
        except ServiceError as error:
            _log.warning("usage_not_kept", reason=error.reason, calls=sum(one.calls for one in counts))

    async def run(self, keep: Keep, clock: Clock) -> None:
        """Until it is cancelled."""
        while True:
            await clock.sleep(KEEP_S)
            await self.keep(keep)
