"""Limits of an array in the machine: elements under way at a time, and failures that end it."""

from __future__ import annotations

from services.scheduler.model import Cause, Retry, TaskState, element_key
from services.scheduler.scheduling import gates
from tests.support.conduct import conduct_spec, submit_all
from tests.support.scheduler_cluster import MachineCluster, make_spec, starts, stops

S = TaskState


def submit(cluster: MachineCluster, size: int, **spec: object) -> int:
    (key,) = submit_all(cluster, conduct_spec(array_size=size, **spec))
    return key


def test_no_more_elements_than_the_limit_are_under_way() -> None:
    cluster = MachineCluster(cpu=8)
    key = submit(cluster, 5, max_running=2)
    assert cluster.counts() == [2]
    effects = cluster.exit(element_key(key, 0))
    assert [start.key for start in starts(effects)] == [element_key(key, 2)]
    for index in (1, 2, 3):
        cluster.exit(element_key(key, index))
    assert cluster.counts() == [1]
    cluster.exit(element_key(key, 4))
    assert cluster.outcome(key).detail == "ELEMENTS: 5 succeeded, 0 failed, 0 cancelled"


def test_limited_array_lets_others_of_its_shape_pass_and_keeps_its_place() -> None:
    cluster = MachineCluster(cpu=2)
    key = submit(cluster, 4, max_running=1)
    others = cluster.submit(make_spec(), count=2)
    assert cluster.node_of(others[0]) == "n0"
    effects = cluster.exit(element_key(key, 0))
    assert [start.key for start in starts(effects)] == [element_key(key, 1)]


def test_limit_holds_for_elements_that_wait_at_the_agent_too() -> None:
    cluster = MachineCluster(cpu=1)
    key = submit(cluster, 50, max_running=1)
    for index in range(5):
        cluster.exit(element_key(key, index), run_ms=1)
        assert cluster.task(key).tally.active == 1  # type: ignore[union-attr]


def test_element_that_waits_for_a_further_attempt_is_under_way() -> None:
    cluster = MachineCluster(cpu=4)
    key = submit(cluster, 3, max_running=1, retry=Retry(2, backoff_ms=5_000))
    cluster.exit(element_key(key, 0), cause=Cause.EXIT)
    assert cluster.counts() == [0]
    cluster.pass_time(6_000, beating=["n0"])
    assert cluster.task(element_key(key, 0)).attempt == 2


def test_gate_of_a_limited_array_says_so() -> None:
    cluster = MachineCluster(cpu=4)
    key = submit(cluster, 3, max_running=2)
    (gate,) = gates.closed(cluster.state, cluster.task(key), cluster.now)
    assert gate.reason == "ARRAY_LIMIT"
    assert gate.message == "2 of its elements are under way, max_running is 2"


def test_held_array_goes_on_below_its_limit_after_its_release() -> None:
    cluster = MachineCluster(cpu=4)
    key = submit(cluster, 4, max_running=1)
    cluster.hold(key)
    cluster.exit(element_key(key, 0))
    assert cluster.counts() == [0]
    cluster.release(key)
    assert cluster.node_of(element_key(key, 1)) == "n0"


def test_more_failures_than_allowed_cancel_the_rest_and_fail_the_array() -> None:
    cluster = MachineCluster(cpu=2)
    key = submit(cluster, 1_000_000, max_fails=1)
    cluster.exit(element_key(key, 0), cause=Cause.EXIT)
    assert cluster.node_of(element_key(key, 2)) == "n0"
    effects = cluster.exit(element_key(key, 1), cause=Cause.EXIT)
    assert [stop.key for stop in stops(effects)] == [element_key(key, 2)]
    assert not starts(effects)
    cluster.exit(element_key(key, 2), cause=Cause.SIGNAL)
    outcome = cluster.outcome(key)
    assert (outcome.state, outcome.cause) == (S.FAILED, Cause.ERROR)
    assert outcome.detail == (
        "MAX_FAILS: more than 1 elements failed; 0 succeeded, 2 failed, 999998 cancelled"
    )
    assert cluster.outcome(element_key(key, 2)).detail == "CANCELLED: 2 elements failed, max_fails is 1"


def test_no_failure_allowed_ends_the_array_with_the_first() -> None:
    cluster = MachineCluster(cpu=1)
    key = submit(cluster, 3, max_fails=0)
    cluster.exit(element_key(key, 0), cause=Cause.EXIT)
    assert cluster.outcome(key).state is S.FAILED
    assert not cluster.state.tasks
