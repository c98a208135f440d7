"""Any order of clock jumps and looks decides each logical time at most once, and leaves out none but by the policy."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.graph.triggers import machine
from services.graph.triggers.cron import Schedule
from services.graph.triggers.model import CatchUp

EXPRESSIONS = ["* * * * *", "*/7 * * * *", "30 2 * * *", "0,30 2 * * *", "0 */3 * * *", "15 1,2,3 * * SUN"]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]
# Around the ends and begins of summer time in those places.
STARTS = [1_774_742_400_000, 1_792_886_400_000, 1_772_928_000_000, 1_775_300_400_000]
MOST = 1_000

steps = st.lists(
    st.one_of(st.integers(0, 90_000), st.integers(0, 40 * 3_600_000), st.integers(-3 * 3_600_000, -1)),
    min_size=1, max_size=12,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(EXPRESSIONS),
    st.sampled_from(ZONES),
    st.sampled_from(STARTS),
    steps,
    st.sampled_from(CatchUp),
)
def test_times_under_clock_jumps_and_restarts_fire_once_and_none_is_lost_silently(
    expression: str, zone: str, start: int, jumps: list[int], catch_up: CatchUp
) -> None:
    times = Schedule(expression, zone)
    now = cursor = start
    fired: list[int] = []
    missed: list[tuple[int, int]] = []
    for jump in jumps:
        now += jump
        found = machine.due(times, cursor, now, catch_up, MOST)
        assert found.cursor >= cursor and (found.next_ms or now) > found.cursor
        fired += found.fires
        missed += [found.missed] if found.missed else []
        cursor = found.cursor
    everything = times.within(start + 1, cursor + 1, 10**6)
    assert len(set(fired)) == len(fired) and set(fired) <= set(everything)
    lost = set(everything) - set(fired)
    assert all(any(first < one <= last for first, last in missed) for one in lost)
    if catch_up is CatchUp.ALL and len(everything) <= MOST:
        assert not lost
