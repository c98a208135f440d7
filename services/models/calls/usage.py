"""Who called which version how often, counted until the catalogue takes it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

DAY_MS = 24 * 3600 * 1000


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """To be added to what is known of that day."""

    model: str
    version: int
    account: str
    day_ms: int
    """Its midnight, UTC."""
    calls: int
    failures: int
    compute_s: float
    last_ms: int


class Uses:
    """What has been counted and not been taken yet."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int, str, int], list[float]] = {}

    def count(
        self, model: str, version: int, account: str, now_ms: int, *, failed: bool, compute_ns: int
    ) -> None:
        """One call."""
        key = (model, version, account, now_ms - now_ms % DAY_MS)
        found = self._counts.get(key)
        if found is None:
            found = self._counts[key] = [0, 0, 0.0, 0]
        found[0] += 1
        found[1] += failed
        found[2] += compute_ns
        found[3] = now_ms

    def take(self) -> list[Usage]:
        """All of it, once; whoever cannot keep it puts it back."""
        counts, self._counts = self._counts, {}
        return [
            Usage(
                model=model, version=version, account=account, day_ms=day_ms, calls=int(calls),
                failures=int(failures), compute_s=compute_ns / 1e9, last_ms=int(last_ms),
            )
            for (model, version, account, day_ms), (calls, failures, compute_ns, last_ms) in counts.items()
        ]  # fmt: skip

    def put_back(self, uses: Sequence[Usage]) -> None:
        """They could not be kept."""
        for use in uses:
            key = (use.model, use.version, use.account, use.day_ms)
            found = self._counts.setdefault(key, [0, 0, 0.0, 0])
            found[0] += use.calls
            found[1] += use.failures
            found[2] += use.compute_s * 1e9
            found[3] = max(found[3], use.last_ms)
