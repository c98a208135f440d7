"""What is due, and what may start: the decisions about triggers. Pure; whoever asks writes the answer down.

The cursor of a schedule is the time up to which everything was decided, and only grows: so a logical time is decided
once, whatever the clock does and however often the service starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

import msgspec

from services.graph.triggers.cron import Schedule
from services.graph.triggers.model import CatchUp, Concurrency, Reprocess

LATE_MS = 60_000
"""What is later than that was missed: the service was down, or the machine slept."""


class Due(msgspec.Struct, frozen=True):
    """What a schedule fires now, and where it stands then."""

    fires: tuple[int, ...]
    cursor: int
    missed: tuple[int, int] | None
    """(from, to]: times in it were left out."""
    next_ms: int | None


def due(schedule: Schedule, cursor: int, now_ms: int, catch_up: CatchUp, most: int) -> Due:
    """All in (cursor, now] is decided: on time it fires, what was missed as `catch_up` has it.

    A clock that was put back decides nothing until it is beyond the cursor again.
    """
    if now_ms <= cursor:
        return Due((), cursor, None, schedule.next(cursor))
    on_time = max(cursor, now_ms - LATE_MS)
    fires = schedule.newest(on_time, now_ms, 1 + LATE_MS // 60_000)
    late: list[int] = []
    if catch_up is CatchUp.ALL:
        late = schedule.newest(cursor, on_time, most)
    elif catch_up is CatchUp.LAST and not fires:
        late = schedule.newest(cursor, on_time, 1)
    first = late[0] if late else on_time
    left_out = bool(schedule.newest(cursor, first - 1 if late else on_time, 1)) if on_time > cursor else False
    missed = (cursor, first - 1 if late else on_time) if left_out else None
    return Due((*late, *fires), now_ms, missed, schedule.next(now_ms))


class Verdict(Enum):
    """What becomes of a firing that waits."""

    START = auto()
    SKIP = auto()
    WAIT = auto()


def admit(concurrency: Concurrency, running: int, max_running: int) -> Verdict:
    """Of the oldest firing of a trigger that waits; `running`: runs of it that go on."""
    if concurrency is Concurrency.ALLOW:
        return Verdict.START
    if concurrency is Concurrency.FORBID:
        return Verdict.SKIP if running else Verdict.START
    return Verdict.START if running < max_running else Verdict.WAIT


def runs_again(reprocess: Reprocess, states: Sequence[str]) -> bool:
    """Whether a time of a back-fill runs. `states` of the runs that it has, the latest last; "" of one that is gone.

    A firing that waits counts as "waiting".
    """
    if not states:
        return True
    if states[-1] in ("waiting", "running", "paused"):
        return False
    if reprocess is Reprocess.FAILED:
        return states[-1] in ("failed", "cancelled")
    return reprocess is Reprocess.ALL
