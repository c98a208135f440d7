"""Arrays in the machine: one record for many tasks. Invariants after each step."""

from __future__ import annotations

import pytest

from services.scheduler.model import Cause, Retry, TaskState, element_key
from services.scheduler.refusals import ElementNotMade
from services.scheduler.state.effects import InsertTask
from tests.support.scheduler_cluster import MachineCluster, make_spec, starts, stops

S = TaskState


def submit(cluster: MachineCluster, size: int, **spec: object) -> int:
    (key,) = cluster.submit(make_spec(array_size=size, **spec))  # type: ignore[arg-type]
    return key


def test_array_of_a_million_is_one_row() -> None:
    cluster = MachineCluster(nodes=0)
    key = submit(cluster, 1_000_000)
    assert [type(row).__name__ for row in cluster.rows] == ["InsertSpec", "InsertTask"]
    assert len(cluster.state.tasks) == 1
    cluster.connect("n0", cpu=4)
    assert len(cluster.state.tasks) == 5
    assert cluster.task(key).tally.next_index == 4  # type: ignore[union-attr]


def test_array_elements_are_made_in_order_when_there_is_room() -> None:
    cluster = MachineCluster(cpu=2)
    key = submit(cluster, 5)
    assert [start.key for start in starts(cluster.effects)] == [element_key(key, 0), element_key(key, 1)]
    cluster.exit(element_key(key, 1), run_ms=10_000)
    assert [start.key for start in starts(cluster.effects)] == [element_key(key, 2)]
    assert cluster.state_of(key) is S.RUNNING


def test_array_succeeds_when_all_elements_have() -> None:
    cluster = MachineCluster(cpu=3)
    key = submit(cluster, 3)
    cluster.exit(*(element_key(key, i) for i in range(3)))
    assert cluster.outcome(key).state is S.SUCCEEDED
    assert cluster.outcome(key).detail == "ELEMENTS: 3 succeeded, 0 failed, 0 cancelled"
    assert not cluster.state.tasks


def test_array_with_failed_elements_fails_and_counts_them() -> None:
    cluster = MachineCluster(cpu=3)
    key = submit(cluster, 3)
    cluster.exit(element_key(key, 0), cause=Cause.EXIT)
    cluster.exit(element_key(key, 1), element_key(key, 2))
    assert cluster.outcome(key).state is S.FAILED
    assert cluster.outcome(key).detail == "ELEMENTS: 2 succeeded, 1 failed, 0 cancelled"


def test_array_element_is_retried_by_itself() -> None:
    cluster = MachineCluster(cpu=2)
    key = submit(cluster, 2, retry=Retry(2))
    cluster.exit(element_key(key, 0), cause=Cause.EXIT)
    assert cluster.task(element_key(key, 0)).attempt == 2
    cluster.exit(element_key(key, 0), element_key(key, 1))
    assert cluster.outcome(key).state is S.SUCCEEDED


def test_cancel_of_an_array_makes_no_rows_for_what_was_never_made() -> None:
    cluster = MachineCluster(cpu=2)
    key = submit(cluster, 1_000_000)
    rows = len(cluster.rows)
    cluster.cancel(key)
    assert len(stops(cluster.effects)) == 2
    assert len(cluster.rows) == rows + 1
    cluster.exit(element_key(key, 0), element_key(key, 1), cause=Cause.SIGNAL)
    outcome = cluster.outcome(key)
    assert (outcome.state, outcome.detail) == (
        S.CANCELLED,
        "ELEMENTS: 0 succeeded, 0 failed, 1000000 cancelled",
    )


def test_cancel_of_an_array_twice_changes_nothing() -> None:
    cluster = MachineCluster(cpu=1)
    key = submit(cluster, 10)
    cluster.cancel(key)
    effects = cluster.cancel(key)
    assert not effects.rows
    assert not stops(effects)


def test_cancel_of_a_waiting_array_ends_it_at_once() -> None:
    cluster = MachineCluster(nodes=0)
    key = submit(cluster, 10)
    cluster.cancel(key)
    assert cluster.outcome(key).state is S.CANCELLED


def test_cancel_of_an_element_before_its_turn_makes_only_that_one() -> None:
    cluster = MachineCluster(cpu=1)
    key = submit(cluster, 1_000_000)
    far = element_key(key, 999_999)
    effects = cluster.cancel(far)
    assert [row.key for row in effects.rows if isinstance(row, InsertTask)] == [far]
    assert cluster.outcome(far).state is S.CANCELLED
    assert len(cluster.state.tasks) == 2


def test_elements_cancelled_before_their_turn_are_passed_over() -> None:
    cluster = MachineCluster(cpu=1)
    key = submit(cluster, 5)
    cluster.cancel(element_key(key, 1), element_key(key, 2), element_key(key, 4))
    cluster.cancel(element_key(key, 4))
    cluster.exit(element_key(key, 0))
    assert cluster.state_of(element_key(key, 3)) is S.ASSIGNED
    cluster.exit(element_key(key, 3))
    assert cluster.outcome(key).detail == "ELEMENTS: 2 succeeded, 0 failed, 3 cancelled"
    assert cluster.outcome(key).state is S.FAILED


def test_array_whose_elements_are_cancelled_one_by_one_is_cancelled() -> None:
    cluster = MachineCluster(nodes=0)
    key = submit(cluster, 3)
    for index in (2, 0, 1):
        cluster.cancel(element_key(key, index))
    assert cluster.outcome(key).state is S.CANCELLED


def test_cancel_of_an_array_counts_elements_cancelled_before_once() -> None:
    cluster = MachineCluster(nodes=0)
    key = submit(cluster, 10)
    cluster.cancel(element_key(key, 7))
    cluster.cancel(key)
    assert cluster.outcome(key).detail == "ELEMENTS: 0 succeeded, 0 failed, 10 cancelled"


def test_cancel_of_an_element_beyond_the_array_changes_nothing() -> None:
    cluster = MachineCluster(nodes=0)
    key = submit(cluster, 3)
    assert not cluster.cancel(element_key(key, 3)).rows


def test_hold_of_an_array_makes_no_further_elements_until_release() -> None:
    cluster = MachineCluster(cpu=1)
    key = submit(cluster, 3)
    cluster.hold(key)
    cluster.exit(element_key(key, 0))
    assert cluster.counts() == [0]
    cluster.release(key)
    assert cluster.state_of(element_key(key, 1)) is S.ASSIGNED
    assert cluster.state_of(key) is S.RUNNING


def test_held_array_whose_elements_were_all_made_ends_with_them() -> None:
    cluster = MachineCluster(cpu=2)
    key = submit(cluster, 2)
    cluster.hold(key)
    cluster.exit(element_key(key, 0), element_key(key, 1))
    assert cluster.outcome(key).state is S.SUCCEEDED


def test_hold_of_an_element_before_its_turn_says_to_hold_the_array() -> None:
    cluster = MachineCluster(nodes=0)
    key = submit(cluster, 3)
    with pytest.raises(ElementNotMade) as refused:
        cluster.hold(element_key(key, 1))
    assert "whole array t-1" in refused.value.next_step


def test_array_submitted_held_waits_for_its_release() -> None:
    cluster = MachineCluster(cpu=1)
    key = submit(cluster, 2, hold=True)
    assert cluster.counts() == [0]
    cluster.release(key)
    assert cluster.counts() == [1]


def test_array_lets_a_higher_priority_task_in_between() -> None:
    cluster = MachineCluster(cpu=1)
    key = submit(cluster, 100)
    (high,) = cluster.submit(make_spec(priority=1))
    cluster.exit(element_key(key, 0), run_ms=10_000)
    assert cluster.state_of(high) is S.ASSIGNED
