"""What a soak's verdict takes for growth, and what not."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from tests.soak.verdict import Finding, judge

HOUR_S, EVERY_S = 3600, 20


def verdict(name: str, value: Callable[[float], float], seconds: int = HOUR_S) -> Finding:
    """Of one thing, measured every 20 s."""
    [found] = judge([(float(at), {name: value(at)}) for at in range(EVERY_S, seconds + 1, EVERY_S)])
    return found


def saw(at: float) -> float:
    """Cleared every ten minutes, ten rows a minute."""
    return 40 + (at % 600) / 6


@pytest.mark.parametrize("seconds", [HOUR_S, 28 * 60, 31 * 60, 47 * 60])
def test_rows_that_are_cleared_in_rounds_do_not_grow(seconds: int) -> None:
    assert not verdict("rows graph.run", saw, seconds).is_leak


@pytest.mark.parametrize("seconds", [HOUR_S, 28 * 60])
def test_rows_that_stay_beside_those_that_are_cleared_are_found(seconds: int) -> None:
    found = verdict("rows graph.run", lambda at: saw(at) + at / 15, seconds)

    assert found.is_leak
    assert found.growth == pytest.approx((seconds * 2 / 3) / 15, rel=0.15)


def test_memory_that_rises_slowly_is_found_and_a_peak_is_not() -> None:
    assert verdict("memory graph", lambda at: 40 + at / 200).is_leak
    assert not verdict("memory graph", lambda at: 90 if 1800 < at < 2100 else 40 + math.sin(at)).is_leak


def test_what_rises_only_while_it_warms_up_does_not_grow() -> None:
    assert not verdict("memory graph", lambda at: min(80.0, 40 + at / 20)).is_leak


def test_tables_that_an_hour_cannot_fill_are_told_with_their_reason() -> None:
    found = verdict("rows scheduler.request", lambda at: at)

    assert found.growth > found.bound
    assert not found.is_leak
    assert found.reason
