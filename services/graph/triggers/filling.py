"""Which times a back-fill runs: those of a range that a schedule has, less those that have run already."""

from __future__ import annotations

import msgspec

from services.graph.triggers import events, machine
from services.graph.triggers.backfill_table import BackfillTable
from services.graph.triggers.cron import Schedule, schedule
from services.graph.triggers.events import text_of
from services.graph.triggers.firing import fired_at
from services.graph.triggers.model import (
    BackfillEmpty,
    BackfillTooLarge,
    CronSource,
    NewFiring,
    NoSchedule,
    Reprocess,
    RunTrigger,
    Sequence,
)

TIMES_MOST = 5_000


class Time(msgspec.Struct, frozen=True):
    """One time of the range; `state` and `run`: of the latest that it has, "" and 0 for none."""

    time_ms: int
    runs: bool
    state: str
    run: int


class Filling(msgspec.Struct, frozen=True):
    """What a back-fill would do, in its order."""

    times: list[Time]
    firings: list[NewFiring]

    @property
    def kept_count(self) -> int:
        return sum(not one.runs for one in self.times)


async def fill(
    backfills: BackfillTable, trigger: RunTrigger, from_ms: int, to_ms: int, reprocess: Reprocess, sequence: Sequence,
    params: str,
) -> Filling:  # fmt: skip
    """Raises NoSchedule, BackfillEmpty, BackfillTooLarge. True for as long as nothing else fires the trigger."""
    times = of_trigger(trigger)
    found = times.within(from_ms, to_ms, TIMES_MOST + 1)
    if len(found) > TIMES_MOST:
        raise BackfillTooLarge(
            f"from {text_of(from_ms)} to {text_of(to_ms)} there are more than {TIMES_MOST} times", field="to_time",
            next_step=f"several back-fills; the first to {text_of(found[-1])}",
        )  # fmt: skip
    if not found:
        upcoming = times.next(from_ms - 1)
        raise BackfillEmpty(
            f"{trigger.name} has no time from {text_of(from_ms)} to {text_of(to_ms)} that has passed",
            field="from_time", next_step=f"the first from there on: {text_of(upcoming)}" if upcoming else "",
        )  # fmt: skip
    states = await backfills.states_at(trigger.number, found)
    rows = []
    for time_ms, event, had in zip(found, events.at_times(times, found), states, strict=True):
        state, run = had[-1] if had else ("", 0)
        runs = machine.runs_again(reprocess, [one for one, _ in had])
        firing = msgspec.structs.replace(fired_at(event, time_ms), params=params)
        rows.append((Time(time_ms, runs, state, run), firing))
    if sequence is Sequence.NEWEST:
        rows.reverse()
    return Filling([time for time, _ in rows], [firing for time, firing in rows if time.runs])


def of_trigger(trigger: RunTrigger) -> Schedule:
    """Raises NoSchedule."""
    source = trigger.wish.source
    if not isinstance(source, CronSource):
        raise NoSchedule(
            f"{trigger.name} has no schedule, so no times to fill in", field="trigger",
            next_step=f"yard trigger fire {trigger.name}",
        )  # fmt: skip
    return schedule(source.expression, source.time_zone)
