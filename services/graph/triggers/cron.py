"""Times of a cron expression in a time zone. Pure: it is told from when.

A logical time is an instant. Where a clock is put forward, a time of day that does not exist is the first minute that
does; where it is put back, a fixed time of day counts once, at its first passing, while `*` in minutes or hours goes on
with every hour that really passes. That is what Debian's cron does, and cronsim computes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from services.graph.triggers.model import CronInvalid, TimeZoneUnknown

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

ALIASES = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}  # fmt: skip
LENGTH_MOST = 200
# More than any shift of a clock, so that what is found backwards is found forwards again.
_SHIFT_MS = 4 * 3_600_000
_EXAMPLE = "five fields: minute hour day month weekday, for example '0 6 * * MON-FRI'"


class Schedule:
    """An expression that was read. `after` is the only authority on which times there are."""

    def __init__(self, expression: str, time_zone: str = "", field: str = "trigger.cron") -> None:
        """Raises CronInvalid or TimeZoneUnknown, with the field."""
        self.zone = zone_of(time_zone or "UTC", f"{field}.time_zone")
        self.expression = _plain(expression, f"{field}.expression")
        self._check(f"{field}.expression")

    def _check(self, field: str) -> None:
        from cronsim import CronSimError

        try:
            next(self._ticks(datetime(2000, 1, 1, tzinfo=UTC)))
        except (CronSimError, StopIteration, RuntimeError) as error:
            why = str(error) or "it never comes"
            raise CronInvalid(
                f"cron expression {self.expression!r}: {why}", field=field, next_step=_EXAMPLE
            ) from error

    def after(self, time_ms: int) -> Iterator[int]:
        """The logical times behind one, each once, ascending, without end (or with: an expression may run dry)."""
        last = time_ms
        for tick in self._ticks(instant(time_ms)):
            found = int(tick.timestamp() * 1000)
            if found > last:
                last = found
                yield found

    def next(self, time_ms: int) -> int | None:
        """The first behind a time; None: there is none within 50 years."""
        return next(self.after(time_ms), None)

    def newest(self, after_ms: int, until_ms: int, most: int) -> list[int]:
        """The last ones in (after, until], ascending, at most so many; does not walk through what is older."""
        start = after_ms
        if until_ms - after_ms > _SHIFT_MS:
            backwards = self._ticks(instant(until_ms + 1000), backwards=True)
            for tick in itertools.islice(backwards, most + 2):
                start = int(tick.timestamp() * 1000)
                if start <= after_ms:
                    break
            start = max(after_ms, start - _SHIFT_MS)
        found = list(itertools.takewhile(lambda one: one <= until_ms, self.after(start)))
        return found[-most:]

    def within(self, from_ms: int, to_ms: int, most: int) -> list[int]:
        """The first in [from, to), ascending, at most so many."""
        return list(
            itertools.islice(itertools.takewhile(lambda one: one < to_ms, self.after(from_ms - 1)), most)
        )

    def previous(self, time_ms: int) -> int | None:
        """The last before a logical time."""
        for days in (1, 32, 367, 366 * 9):
            found = self.newest(time_ms - days * 86_400_000, time_ms - 1, 1)
            if found:
                return found[0]
        return None

    def _ticks(self, start: datetime, *, backwards: bool = False) -> Iterator[datetime]:
        from cronsim import CronSim

        return iter(CronSim(self.expression, start.astimezone(self.zone), reverse=backwards))


@lru_cache(256)
def schedule(expression: str, time_zone: str) -> Schedule:
    """One that was right when it was kept."""
    return Schedule(expression, time_zone)


def zone_of(name: str, field: str) -> ZoneInfo:
    """Raises TimeZoneUnknown."""
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise TimeZoneUnknown(
            f"there is no time zone {name[:60]!r}", field=field,
            next_step="an IANA name, for example Europe/Berlin or UTC",
        ) from error  # fmt: skip


def instant(time_ms: int) -> datetime:
    """In UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def _plain(expression: str, field: str) -> str:
    text = " ".join(expression.split())
    text = ALIASES.get(text.lower(), text)
    if len(text) > LENGTH_MOST or len(text.split(" ")) != 5:
        raise CronInvalid(
            f"cron expression {expression[:60]!r} has {len(text.split())} fields", field=field,
            next_step=_EXAMPLE,
        )  # fmt: skip
    return text
