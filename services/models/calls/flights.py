"""How many calls of each account are under way, and who may have no more. In memory: no call outlives the service.

On the way of every call: two look-ups, no waiting, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping

from services.models.quotas import Quota, too_many_calls


class Flights:
    """Every `enter` that returns is followed by one `leave`."""

    def __init__(self) -> None:
        self.quotas: Mapping[str, Quota] = {}
        """Whose they are keeps them up to date."""
        self._counts: dict[str, int] = {}

    def enter(self, account: str) -> None:
        """One more call. Raises CallQuotaExceeded, and then counts nothing."""
        count = self._counts.get(account, 0)
        quota = self.quotas.get(account)
        if quota is not None and 0 < quota.max_calls <= count:
            raise too_many_calls(account, count, quota.max_calls)
        self._counts[account] = count + 1

    def leave(self, account: str) -> None:
        """It is over, however it ended."""
        count = self._counts[account] - 1
        if count:
            self._counts[account] = count
        else:
            del self._counts[account]

    def count(self, account: str) -> int:
        """Calls under way."""
        return self._counts.get(account, 0)
