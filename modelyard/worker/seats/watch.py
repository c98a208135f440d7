"""What is seen of what runs in a seat, each thing in its time: signs when they are due, activity every few seconds.

Owns when something is looked at next, by the monotonic clock.
"""

import time
from collections.abc import Callable, Collection

from modelyard.worker.frames import Message
from modelyard.worker.seats.activity import Activity
from modelyard.worker.seats.signs import Signs

_ACTIVITY_S, _SILENT_ACTIVITY_S, _SOON_S = 5.0, 1.0, 0.02


class Watch:
    """From the start of an epoch's processes to their end. ``silent_s``: the patience with silence; 0: endless.
    ``outside``: whose processes count as well."""

    def __init__(
        self,
        signs: Signs,
        logs: list[str],
        spared: Collection[int],
        silent_s: float,
        outside: Callable[[], list[int]],
    ) -> None:
        self._signs = signs
        self._activity = Activity(logs, spared, outside)
        self._silent_s = silent_s
        self._look_at = 0.0
        self._tell_at = time.monotonic() + self._next_activity_s(0.0)

    def due_at(self) -> float:
        """When there is something to look at."""
        tick_s = self._signs.tick_s()
        return self._tell_at if tick_s is None else min(self._tell_at, self._look_at + tick_s)

    def look(self, now: float) -> Message | None:
        """Looks at what is due; the activity, if it is to be told."""
        tick_s = self._signs.tick_s()
        if tick_s is not None and now >= self._look_at + tick_s:
            self._look_at = now
            self._signs.look()
        if now < self._tell_at:
            return None
        seen = self._activity.look()
        self._tell_at = now + self._next_activity_s(seen["silent_ms"] / 1000)
        return seen

    def _next_activity_s(self, silent_s: float) -> float:
        """The end of the patience with silence is not waited beyond: who judges hangs hears of it at once."""
        if not self._silent_s:
            return _ACTIVITY_S
        left_s = self._silent_s - silent_s
        return min(_ACTIVITY_S, left_s + _SOON_S if left_s > 0 else _SILENT_ACTIVITY_S)
