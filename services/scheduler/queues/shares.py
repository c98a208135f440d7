"""What administrators say of shares, and what shares are measured by. Pure.

A share is that of the machines' worst resource. The decayed share is the mean of the past, in which a moment counts
half as much for each half-life that it lies back; so holding the same for ever makes it equal to the share of now.
"""

import math
from collections.abc import Mapping

import msgspec

from services.scheduler.model import Quota

HALF_LIFE_MS = 24 * 3_600_000
AGEING_MS = 5 * 60_000


class QueueSettings(msgspec.Struct, frozen=True):
    """What an administrator says of a queue."""

    priority: int = 0
    weight: float = 1.0
    quota: Quota = Quota()
    # How long a task must wait to make up for one point of priority; 0: never.
    ageing_ms: int = AGEING_MS
    is_stopped: bool = False
    # Who may use it; none: all.
    accounts: tuple[str, ...] = ()


class AccountSettings(msgspec.Struct, frozen=True):
    """What an administrator says of an account's part."""

    weight: float = 1.0
    quota: Quota = Quota()


class Measure:
    """What shares are measured by: the machines' amounts, the time, and how fast the past fades."""

    __slots__ = ("half_life_ms", "now_ms", "totals")

    def __init__(self, half_life_ms: int = HALF_LIFE_MS) -> None:
        self.half_life_ms = half_life_ms
        # Monotonic, as of the present step.
        self.now_ms = 0
        self.totals: Mapping[str, int] = {}

    def faded(self, share: float, passed_ms: float) -> float:
        """What is left of a decayed share if nothing was held since."""
        return share * math.exp2(-max(passed_ms, 0) / self.half_life_ms)

    def share(self, held: Mapping[str, int]) -> float:
        totals = self.totals
        most = 0.0
        for name, amount in held.items():
            total = totals.get(name, 0)
            if total and amount > most * total:
                most = amount / total
        return most
