"""Ids as people write them, and the figures of a policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.model import (
    MOST_ELEMENTS,
    Cause,
    Retry,
    array_of,
    element_key,
    format_task_id,
    index_of,
    number_of,
    parse_task_id,
    task_key,
)
from services.scheduler.refusals import MalformedTaskId

NUMBERS = st.integers(1, 99_999_999_999)


@given(NUMBERS)
def test_task_id_is_read_back_as_the_same_key(number: int) -> None:
    key = task_key(number)
    assert format_task_id(key) == f"t-{number}"
    assert (parse_task_id(format_task_id(key)), number_of(key), index_of(key)) == (key, number, -1)
    assert key < 1 << 63


@given(NUMBERS, st.integers(0, MOST_ELEMENTS - 1))
def test_element_id_is_read_back_as_the_same_key(number: int, index: int) -> None:
    key = element_key(task_key(number), index)
    assert format_task_id(key) == f"t-{number}.{index}"
    assert parse_task_id(format_task_id(key)) == key
    assert (array_of(key), index_of(key)) == (task_key(number), index)
    assert key < 1 << 63


@pytest.mark.parametrize(
    "text", ["", "t", "t-", "12", "t-1.", "t-.1", "t--1", "t-1.2.3", "T-1", " t-1", "t-²", "t-1e3", "t-99999999999999",
             "t-1.99999999", "t-1.123456789", "x" * 10_000]
)  # fmt: skip
def test_task_id_that_is_none_is_refused_with_what_one_looks_like(text: str) -> None:
    with pytest.raises(MalformedTaskId) as refused:
        parse_task_id(text)
    assert len(refused.value.message) < 200
    assert refused.value.field == "task_id"


@given(st.text(max_size=20))
def test_any_text_is_an_id_or_refused(text: str) -> None:
    try:
        assert parse_task_id(text) >= 0
    except MalformedTaskId:
        return


def test_back_off_doubles_up_to_an_hour() -> None:
    retry = Retry(100, backoff_ms=1_000)
    assert [retry.delay_ms(n) for n in (1, 2, 3)] == [1_000, 2_000, 4_000]
    assert retry.delay_ms(99) == 3_600_000
    assert Retry(3).delay_ms(5) == 0


def test_policy_counts_attempts_and_asks_for_the_cause() -> None:
    retry = Retry(3, on=frozenset({Cause.EXIT}))
    assert [retry.allows(Cause.EXIT, failures) for failures in (1, 2, 3)] == [True, True, False]
    assert not retry.allows(Cause.SIGNAL, 1)
    assert retry.allows(Cause.NODE_LOST, 1_000)
