"""Dependencies in the machine: who waits, when the gate opens, and what ends with what can no longer happen."""

from __future__ import annotations

import pytest

from services.scheduler.model import Cause, Condition, Retry, Spec, TaskState, element_key, format_task_id
from services.scheduler.refusals import DependencyMoved
from services.scheduler.scheduling import gates
from services.scheduler.state.events import EndedTask
from services.scheduler.state.tally import STARTED
from tests.support.conduct import after, after_item, conduct_spec, submit_all
from tests.support.scheduler_cluster import MachineCluster, make_spec, starts

S = TaskState


def dependent(on: int, condition: Condition = Condition.SUCCEEDED, **spec: object) -> Spec:
    return conduct_spec(dependencies=(after(on, condition),), **spec)


def test_dependent_starts_in_the_step_in_which_its_dependency_succeeds() -> None:
    cluster = MachineCluster()
    (first,) = cluster.submit()
    (second,) = submit_all(cluster, dependent(first))
    assert cluster.task(second).state is S.QUEUED
    assert not cluster.task(second).node
    effects = cluster.exit(first)
    assert [start.key for start in starts(effects)] == [second]


@pytest.mark.parametrize(
    ("condition", "cause", "starts_then"),
    [
        (Condition.SUCCEEDED, Cause.NONE, True),
        (Condition.SUCCEEDED, Cause.EXIT, False),
        (Condition.ENDED, Cause.NONE, True),
        (Condition.ENDED, Cause.EXIT, True),
        (Condition.FAILED, Cause.EXIT, True),
        (Condition.FAILED, Cause.NONE, False),
        (Condition.STARTED, Cause.EXIT, True),
    ],
)
def test_condition_decides_whether_the_dependent_starts_or_is_cancelled(
    condition: Condition, cause: Cause, starts_then: bool
) -> None:
    cluster = MachineCluster()
    (first,) = cluster.submit()
    (second,) = submit_all(cluster, dependent(first, condition))
    cluster.exit(first, cause=cause)
    if starts_then:
        assert cluster.task(second).node == "n0"
        return
    outcome = cluster.outcome(second)
    assert (outcome.state, outcome.cause) == (S.CANCELLED, Cause.DEPENDENCY)
    assert outcome.detail.startswith(f"DEPENDENCY: {format_task_id(first)} ")


def test_dependent_on_a_start_does_not_wait_for_the_end() -> None:
    cluster = MachineCluster()
    (first,) = cluster.submit()
    (second,) = submit_all(cluster, dependent(first, Condition.STARTED))
    assert not cluster.task(second).node
    cluster.start(first)
    assert cluster.task(second).node == "n0"


def test_dependent_on_a_start_that_never_came_is_cancelled() -> None:
    cluster = MachineCluster(nodes=0)
    (first,) = cluster.submit()
    (second,) = submit_all(cluster, dependent(first, Condition.STARTED))
    cluster.cancel(first)
    assert cluster.outcome(second).detail == "DEPENDENCY: t-1 was cancelled; it was to start first"


def test_failed_attempt_that_is_retried_opens_no_gate() -> None:
    cluster = MachineCluster()
    (first,) = cluster.submit(make_spec(retry=Retry(2)))
    failed, ended = submit_all(cluster, dependent(first, Condition.FAILED), dependent(first, Condition.ENDED))
    cluster.exit(first, cause=Cause.EXIT)
    assert not cluster.task(failed).node and not cluster.task(ended).node
    cluster.exit(first)
    assert cluster.outcome(failed).cause is Cause.DEPENDENCY
    assert cluster.task(ended).node == "n0"


def test_items_of_one_submission_run_one_after_the_other() -> None:
    cluster = MachineCluster()
    specs = [conduct_spec(b"%d" % i, dependencies=(after_item(i - 1),) if i else ()) for i in range(4)]
    keys = submit_all(cluster, *specs)
    for key in keys:
        assert [k for k in keys if k in cluster.state.tasks and cluster.task(k).node] == [key]
        cluster.exit(key)
    assert all(cluster.state_of(key) is S.SUCCEEDED for key in keys)


def test_chain_of_ten_thousand_is_cancelled_in_one_step() -> None:
    cluster = MachineCluster(nodes=0)
    specs = [conduct_spec(b"%d" % i, dependencies=(after_item(i - 1),) if i else ()) for i in range(10_000)]
    keys = submit_all(cluster, *specs)
    cluster.cancel(keys[0])
    assert not cluster.state.tasks
    assert cluster.outcome(keys[-1]).cause is Cause.DEPENDENCY


def test_dependent_waits_for_all_and_ends_with_the_first_that_cannot() -> None:
    cluster = MachineCluster()
    first, second = cluster.submit(count=2)
    (third,) = submit_all(cluster, conduct_spec(dependencies=(after(first), after(second, Condition.ENDED))))
    cluster.exit(second, cause=Cause.EXIT)
    assert cluster.task(third).awaits == (after(first),)
    cluster.exit(first, cause=Cause.EXIT)
    assert cluster.outcome(third).cause is Cause.DEPENDENCY


def test_dependency_on_a_task_that_has_ended_counts_at_once() -> None:
    cluster = MachineCluster()
    (first,) = cluster.submit()
    cluster.exit(first)
    with pytest.raises(DependencyMoved):
        submit_all(cluster, dependent(first))
    good, bad = submit_all(
        cluster,
        dependent(first),
        dependent(first, Condition.FAILED),
        ended={first: EndedTask(S.SUCCEEDED, True)},
    )
    assert cluster.task(good).node == "n0"
    assert cluster.outcome(bad).cause is Cause.DEPENDENCY


def test_dependent_of_one_that_is_cancelled_on_arrival_is_cancelled_too() -> None:
    cluster = MachineCluster()
    ended = {16_777_213 * 70: EndedTask(S.FAILED, True)}
    bad, worse = submit_all(
        cluster,
        dependent(16_777_213 * 70),
        conduct_spec(dependencies=(after_item(0),)),
        ended=ended,
    )
    assert cluster.outcome(bad).detail == "DEPENDENCY: t-70 failed; it was to succeed first"
    assert cluster.outcome(worse).cause is Cause.DEPENDENCY


def test_held_dependent_needs_its_release_and_its_dependency() -> None:
    cluster = MachineCluster()
    first, other = cluster.submit(count=2)
    early, late = submit_all(cluster, dependent(first, hold=True), dependent(other, hold=True, priority=1))
    cluster.release(early)
    assert not cluster.task(early).node
    cluster.exit(first)
    assert cluster.task(early).node == "n0"
    cluster.exit(other)
    assert cluster.task(late).state is S.HELD
    cluster.release(late)
    assert cluster.task(late).node == "n0"


def test_gate_names_what_is_waited_for() -> None:
    cluster = MachineCluster()
    (first,) = cluster.submit()
    (second,) = submit_all(cluster, dependent(first))
    (gate,) = gates.closed(cluster.state, cluster.task(second), cluster.now)
    assert (gate.reason, gate.message) == ("DEPENDENCY", "t-1 has not succeeded yet")
    assert "yard tasks explain t-1" in gate.next_step


def test_queue_timeout_of_a_dependent_counts_from_its_submission() -> None:
    cluster = MachineCluster()
    (first,) = cluster.submit()
    (second,) = submit_all(cluster, dependent(first, queue_timeout_ms=2_000))
    cluster.pass_time(3_000, beating=["n0"])
    assert cluster.outcome(second).cause is Cause.TIMEOUT
    cluster.exit(first)


def test_dependent_of_an_array_waits_for_all_of_it() -> None:
    cluster = MachineCluster(cpu=2)
    (array,) = cluster.submit(make_spec(array_size=2))
    (second,) = submit_all(cluster, dependent(array))
    cluster.exit(element_key(array, 0))
    assert not cluster.task(second).node
    effects = cluster.exit(element_key(array, 1))
    assert [start.key for start in starts(effects)] == [second]


def test_dependent_of_one_element_waits_for_that_one() -> None:
    cluster = MachineCluster(cpu=2)
    (array,) = cluster.submit(make_spec(array_size=4))
    (second,) = submit_all(cluster, dependent(element_key(array, 1), priority=5))
    cluster.exit(element_key(array, 1))
    assert cluster.task(second).node == "n0"
    (third,) = submit_all(cluster, dependent(element_key(array, 1), Condition.FAILED))
    assert cluster.outcome(third).cause is Cause.DEPENDENCY


def test_dependent_of_an_element_that_is_never_made_ends_with_the_array() -> None:
    cluster = MachineCluster(cpu=1)
    (array,) = cluster.submit(make_spec(array_size=4))
    (second,) = submit_all(cluster, dependent(element_key(array, 3)))
    cluster.cancel(array)
    assert second in cluster.state.tasks
    cluster.exit(element_key(array, 0), cause=Cause.SIGNAL)
    assert cluster.outcome(second).cause is Cause.DEPENDENCY


# --- element by element


def pair(
    cluster: MachineCluster, size: int, condition: Condition = Condition.SUCCEEDED, **spec: object
) -> tuple[int, int]:
    first, second = submit_all(
        cluster,
        conduct_spec(b"first", array_size=size),
        conduct_spec(
            b"second",
            array_size=size,
            dependencies=(after_item(0, condition, element_wise=True),),
            priority=9,
            **spec,
        ),
    )
    return first, second


def test_element_starts_when_its_counterpart_has_succeeded_in_any_order() -> None:
    cluster = MachineCluster(cpu=3)
    first, second = pair(cluster, 3)
    effects = cluster.exit(element_key(first, 2))
    assert [start.key for start in starts(effects)] == [element_key(second, 2)]
    effects = cluster.exit(element_key(first, 0))
    assert [start.key for start in starts(effects)] == [element_key(second, 0)]
    cluster.exit(element_key(first, 1))
    cluster.exit(*(element_key(second, i) for i in range(3)))
    assert cluster.outcome(second).detail == "ELEMENTS: 3 succeeded, 0 failed, 0 cancelled"
    assert not cluster.state.tasks


def test_element_whose_counterpart_failed_is_cancelled_alone() -> None:
    cluster = MachineCluster(cpu=2)
    first, second = pair(cluster, 2)
    cluster.exit(element_key(first, 1), cause=Cause.EXIT)
    assert cluster.outcome(element_key(second, 1)).cause is Cause.DEPENDENCY
    cluster.exit(element_key(first, 0))
    cluster.exit(element_key(second, 0))
    assert cluster.outcome(second).detail == "ELEMENTS: 1 succeeded, 0 failed, 1 cancelled"


def test_elements_without_counterpart_are_cancelled_without_rows() -> None:
    cluster = MachineCluster(cpu=2)
    first, second = pair(cluster, 1_000_000)
    rows = len(cluster.rows)
    cluster.cancel(first)
    cluster.exit(element_key(first, 0), element_key(first, 1), cause=Cause.SIGNAL)
    assert cluster.outcome(second).state is S.CANCELLED
    assert cluster.outcome(second).cause is Cause.DEPENDENCY
    assert len(cluster.rows) - rows < 12
    assert not cluster.state.tasks


def test_cancel_of_the_first_array_lets_what_was_ready_finish() -> None:
    cluster = MachineCluster(cpu=1)
    first, second = pair(cluster, 4, hold=True)
    cluster.exit(element_key(first, 0))
    cluster.cancel(first)
    cluster.exit(element_key(first, 1), cause=Cause.SIGNAL)
    cluster.release(second)
    assert cluster.node_of(element_key(second, 0)) == "n0"
    cluster.exit(element_key(second, 0))
    assert cluster.outcome(second).detail == "ELEMENTS: 1 succeeded, 0 failed, 3 cancelled"


def test_elements_that_only_wait_for_an_end_go_on_after_a_cancel() -> None:
    cluster = MachineCluster(cpu=1)
    first, second = pair(cluster, 3, Condition.ENDED)
    cluster.cancel(first)
    cluster.exit(element_key(first, 0), cause=Cause.SIGNAL)
    for index in range(3):
        cluster.exit(element_key(second, index))
    assert cluster.outcome(second).state is S.SUCCEEDED


def test_element_waits_for_its_counterparts_in_two_arrays() -> None:
    cluster = MachineCluster(cpu=8)
    wise = (after_item(0, element_wise=True), after_item(1, element_wise=True))
    one, two, both = submit_all(
        cluster,
        conduct_spec(b"one", array_size=3),
        conduct_spec(b"two", array_size=3),
        conduct_spec(b"both", array_size=3, dependencies=wise),
    )
    cluster.exit(element_key(one, 2))
    assert not starts(cluster.effects)
    effects = cluster.exit(element_key(two, 2))
    assert [start.key for start in starts(effects)] == [element_key(both, 2)]
    cluster.exit(*(element_key(one, i) for i in range(2)))
    effects = cluster.exit(*(element_key(two, i) for i in range(2)))
    assert sorted(start.key for start in starts(effects)) == [element_key(both, i) for i in range(2)]


def test_second_array_that_comes_later_sees_what_has_happened_already() -> None:
    cluster = MachineCluster(cpu=3)
    (first,) = cluster.submit(make_spec(array_size=3))
    cluster.exit(element_key(first, 1))
    (second,) = submit_all(
        cluster, conduct_spec(array_size=3, dependencies=(after(first, element_wise=True),))
    )
    assert cluster.node_of(element_key(second, 1)) == "n0"
    cluster.exit(element_key(first, 0), element_key(first, 2), element_key(second, 1))
    (third,) = submit_all(
        cluster,
        conduct_spec(array_size=3, dependencies=(after(first, Condition.FAILED, element_wise=True),)),
        ended={first: EndedTask(S.SUCCEEDED, True, bytes([4 + STARTED] * 3))},
    )
    assert cluster.outcome(third).cause is Cause.DEPENDENCY


def test_array_that_waits_element_by_element_can_be_cancelled() -> None:
    cluster = MachineCluster(cpu=1)
    first, second = pair(cluster, 3)
    cluster.cancel(element_key(second, 1))
    cluster.cancel(second)
    assert cluster.outcome(second).state is S.CANCELLED
    cluster.exit(element_key(first, 0))


def test_only_the_named_elements_of_an_array_are_made() -> None:
    cluster = MachineCluster(cpu=8)
    (array,) = submit_all(cluster, conduct_spec(array_size=100, array_indexes=(3, 70)))
    assert [start.key for start in starts(cluster.effects)] == [element_key(array, 3), element_key(array, 70)]
    cluster.exit(element_key(array, 70))
    cluster.exit(element_key(array, 3))
    assert cluster.outcome(array).detail == "ELEMENTS: 2 succeeded, 0 failed, 0 cancelled"
