"""One task through the machine: placed, started, ended, tried again, cancelled, held. Invariants after each step."""

from __future__ import annotations

import pytest

from services.chassis.requests.marks import RequestIdReused
from services.scheduler.machine import TRANSITIONS
from services.scheduler.model import TERMINAL, Cause, Retry, TaskState
from services.scheduler.refusals import TaskHasEnded, TaskIsNotHeld, TaskIsRunning
from services.scheduler.state import events as ev
from services.scheduler.state.effects import InsertSpec, InsertTask, RecordChange
from tests.support.scheduler_cluster import MachineCluster, make_spec, retracts, starts, stops

S = TaskState


def test_task_submitted_with_room_is_assigned_started_and_succeeds() -> None:  # S0.1
    cluster = MachineCluster()
    (key,) = cluster.submit(params='{"x": 1}')
    (start,) = starts(cluster.effects)
    assert (start.key, start.attempt, start.epoch, start.params) == (key, 1, 1, '{"x": 1}')
    assert [type(row) for row in cluster.effects.rows] == [InsertSpec, InsertTask, RecordChange]
    cluster.start(key)
    assert cluster.state_of(key) is S.RUNNING
    cluster.exit(key, payload=b"result")
    outcome = cluster.outcome(key)
    assert (outcome.state, outcome.payload, outcome.attempt) == (S.SUCCEEDED, b"result", 1)
    assert key not in cluster.state.tasks
    assert cluster.counts() == [0]


def test_task_without_room_waits_and_starts_when_room_is_freed() -> None:
    cluster = MachineCluster(cpu=1)
    first, second = cluster.submit(count=2)
    assert cluster.state_of(second) is S.QUEUED
    cluster.exit(first)
    assert cluster.state_of(second) is S.ASSIGNED


def test_task_that_ends_before_it_is_said_to_run_succeeds() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    cluster.exit(key)
    assert cluster.outcome(key).state is S.SUCCEEDED


def test_terminal_states_lead_nowhere() -> None:
    assert {state for state, following in TRANSITIONS.items() if not following} == TERMINAL
    assert set(TRANSITIONS) == set(TaskState)


def test_start_said_twice_changes_nothing() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    cluster.start(key, 5)
    cluster.start(key, 7)
    assert cluster.task(key).start_ms == 5
    assert not cluster.effects.rows


@pytest.mark.parametrize("after", ["end", "retry", "node_lost"])
def test_report_with_stale_token_is_counted_and_dropped(after: str) -> None:
    cluster = MachineCluster(nodes=2)
    (key,) = cluster.submit(make_spec(retry=Retry(3)))
    node = cluster.node_of(key)
    stale = cluster.exited(key)
    if after == "end":
        cluster.exit(key)
    elif after == "retry":
        cluster.exit(key, cause=Cause.EXIT)
        assert cluster.task(key).attempt == 2
    else:
        cluster.disconnect(node, is_final=True)
        assert cluster.node_of(key) != node
        cluster.connect(node, incarnation=2)
    before, states = cluster.state.stale_reports, dict(cluster.states)
    reports: list[ev.TaskReport] = [
        stale,
        ev.TaskStarted(key, 1, 1, 1),
        ev.TaskRejected(key, 1, 1, "full"),
        ev.TaskRetracted(key, 1, 1),
        ev.TaskProgressed(key, 1, 1, 0.5, ""),
    ]
    cluster.report(node, *reports)
    assert cluster.state.stale_reports == before + len(reports)
    assert cluster.states == states


def test_report_of_another_epoch_is_dropped() -> None:
    cluster = MachineCluster(epoch=7)
    (key,) = cluster.submit()
    cluster.report("n0", ev.TaskExited(key, 1, 6, Cause.NONE, b""))
    assert (cluster.state_of(key), cluster.state.stale_reports) == (S.ASSIGNED, 1)


def test_report_from_another_node_is_dropped() -> None:
    cluster = MachineCluster(nodes=2)
    (key,) = cluster.submit()
    other = {"n0": "n1", "n1": "n0"}[cluster.node_of(key)]
    cluster.report(other, cluster.exited(key))
    assert (cluster.state_of(key), cluster.state.stale_reports) == (S.ASSIGNED, 1)


def test_report_of_an_unknown_task_is_dropped() -> None:
    cluster = MachineCluster()
    cluster.report("n0", ev.TaskExited(999, 1, 1, Cause.NONE, b""))
    assert cluster.state.stale_reports == 1


def test_events_that_come_again_are_acknowledged_and_not_applied_twice() -> None:
    cluster = MachineCluster()
    first, second = cluster.submit(count=2)
    session = cluster.sessions["n0"]
    one, two = cluster.exited(first), cluster.exited(second)
    cluster.step(ev.TasksReported("n0", session, 1, (one,)))
    effects = cluster.step(ev.TasksReported("n0", session, 1, (one, two)))
    assert cluster.outcome(second).state is S.SUCCEEDED
    assert cluster.state.stale_reports == 0
    assert [message.number for message in effects.messages] == [2]  # type: ignore[union-attr]


def test_report_of_a_replaced_session_is_ignored() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    old = cluster.sessions["n0"]
    report = cluster.exited(key)
    cluster.connect("n0", tasks=(cluster.held(key),))
    cluster.step(ev.TasksReported("n0", old, 1, (report,)))
    assert cluster.state_of(key) is S.RUNNING


# --- requests


def test_request_repeated_with_same_content_gets_the_first_answer() -> None:
    cluster = MachineCluster()
    first = cluster.submit(count=3, request_id="r", content=b"c")
    again = cluster.submit(count=3, request_id="r", content=b"c")
    assert again == first
    assert len(cluster.state.tasks) == 3
    assert cluster.effects.answers[0].is_repeat


def test_request_id_reused_with_other_content_is_refused_and_changes_nothing() -> None:
    cluster = MachineCluster()
    cluster.submit(request_id="r", content=b"c")
    with pytest.raises(RequestIdReused):
        cluster.submit(request_id="r", content=b"other")
    assert len(cluster.state.tasks) == 1
    assert not cluster.effects.rows


def test_request_id_of_another_account_is_another_request() -> None:
    cluster = MachineCluster()
    assert cluster.submit(request_id="r", content=b"c") != cluster.submit(
        request_id="r", content=b"c", account="bob"
    )


def test_request_repeated_after_the_task_ended_gets_the_first_answer() -> None:
    cluster = MachineCluster()
    first = cluster.submit(request_id="r", content=b"c")
    cluster.exit(*first)
    assert cluster.submit(request_id="r", content=b"c") == first


def test_same_specification_is_kept_once() -> None:
    cluster = MachineCluster()
    cluster.submit()
    cluster.submit()
    assert len(cluster.state.specs) == 1


# --- retries


@pytest.mark.parametrize("cause", [Cause.EXIT, Cause.SIGNAL, Cause.OUT_OF_MEMORY, Cause.TIMEOUT, Cause.ERROR])
def test_counted_cause_is_retried_up_to_the_limit(cause: Cause) -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit(make_spec(retry=Retry(3)))
    for attempt in (1, 2, 3):
        assert cluster.task(key).attempt == attempt
        cluster.start(key)
        cluster.exit(key, cause=cause)
    assert cluster.outcome(key).state is S.FAILED
    assert (cluster.outcome(key).cause, cluster.outcome(key).attempt) == (cause, 3)


def test_cause_outside_of_the_policy_is_final() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit(make_spec(retry=Retry(3, on=frozenset({Cause.SIGNAL}))))
    cluster.exit(key, cause=Cause.EXIT)
    assert cluster.outcome(key).state is S.FAILED


@pytest.mark.parametrize("cause", [Cause.NODE_LOST, Cause.DRAINED])
def test_uncounted_cause_is_always_retried(cause: Cause) -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit(make_spec(retry=Retry(1, on=frozenset({Cause.EXIT}))))
    for attempt in range(2, 7):
        cluster.exit(key, cause=cause)
        assert (cluster.task(key).attempt, cluster.task(key).failures) == (attempt, 0)


def test_back_off_doubles_and_holds_the_task_back() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit(make_spec(retry=Retry(3, backoff_ms=1_000)))
    for delay_ms in (1_000, 2_000):
        cluster.exit(key, cause=Cause.EXIT)
        cluster.tick(delay_ms - 1)
        assert cluster.state_of(key) is S.QUEUED
        cluster.tick(1)
        assert cluster.state_of(key) is S.ASSIGNED
    cluster.exit(key, cause=Cause.EXIT)
    assert cluster.outcome(key).state is S.FAILED


def test_retry_keeps_what_the_attempt_said_at_its_end() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit(make_spec(retry=Retry(2)))
    cluster.exit(key, cause=Cause.EXIT, payload=b"sizes")
    requeued = next(r for r in cluster.effects.rows if isinstance(r, RecordChange) and r.state is S.QUEUED)
    assert (requeued.payload, requeued.cause) == (b"sizes", Cause.EXIT)


def test_task_retried_goes_before_younger_ones() -> None:
    cluster = MachineCluster(cpu=1)
    first, second = cluster.submit(make_spec(retry=Retry(2)), count=2)
    cluster.exit(first, cause=Cause.EXIT)
    assert (cluster.state_of(first), cluster.state_of(second)) == (S.ASSIGNED, S.QUEUED)


def test_rejected_task_waits_a_moment_and_is_not_counted() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    cluster.report("n0", ev.TaskRejected(key, 1, 1, "no disk"))
    assert cluster.state_of(key) is S.QUEUED
    assert cluster.task(key).reason == "REJECTED: n0: no disk"
    cluster.tick(1_000)
    assert (cluster.state_of(key), cluster.task(key).failures) == (S.ASSIGNED, 0)


# --- queue timeout


def test_queue_timeout_ends_a_task_that_was_never_assigned() -> None:
    cluster = MachineCluster(nodes=0)
    (key,) = cluster.submit(make_spec(queue_timeout_ms=1_000))
    cluster.tick(999)
    assert cluster.state_of(key) is S.QUEUED
    cluster.tick(1)
    assert (cluster.outcome(key).state, cluster.outcome(key).cause) == (S.FAILED, Cause.TIMEOUT)


def test_queue_timeout_does_not_touch_a_task_that_was_assigned() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit(make_spec(queue_timeout_ms=1_000))
    cluster.tick(2_000)
    assert cluster.state_of(key) is S.ASSIGNED


def test_queue_timeout_counts_anew_from_a_release() -> None:
    cluster = MachineCluster(nodes=0)
    (key,) = cluster.submit(make_spec(queue_timeout_ms=1_000))
    cluster.hold(key)
    cluster.tick(1_500)
    assert cluster.state_of(key) is S.HELD
    cluster.release(key)
    cluster.hold(key)
    cluster.turn(500)
    cluster.release(key)
    cluster.tick(999)
    assert cluster.state_of(key) is S.QUEUED
    cluster.tick(1)
    assert cluster.outcome(key).cause is Cause.TIMEOUT


def test_queue_timeout_ends_an_array_of_which_nothing_was_made() -> None:
    cluster = MachineCluster(nodes=0)
    (key,) = cluster.submit(make_spec(queue_timeout_ms=1_000, array_size=5))
    cluster.tick(1_000)
    assert cluster.outcome(key).cause is Cause.TIMEOUT
    cluster.connect("n0")
    assert not cluster.state.tasks


# --- cancel


def test_cancel_of_a_queued_task_ends_it_at_once() -> None:
    cluster = MachineCluster(nodes=0)
    (key,) = cluster.submit()
    cluster.cancel(key)
    assert (cluster.outcome(key).state, cluster.outcome(key).detail) == (S.CANCELLED, "CANCELLED: by ada")
    cluster.connect("n0")
    assert not starts(cluster.effects)


def test_cancel_of_a_held_task_ends_it_at_once() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit(make_spec(hold=True))
    cluster.cancel(key)
    assert cluster.outcome(key).state is S.CANCELLED


def test_cancel_of_a_task_in_back_off_ends_it_at_once() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit(make_spec(retry=Retry(2, backoff_ms=1_000)))
    cluster.exit(key, cause=Cause.EXIT)
    cluster.cancel(key)
    cluster.tick(2_000)
    assert cluster.outcome(key).state is S.CANCELLED
    assert not cluster.state.backing_off


@pytest.mark.parametrize("is_running", [False, True])
def test_cancel_of_a_task_on_a_node_asks_the_agent_once(is_running: bool) -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit(make_spec(retry=Retry(5)))
    if is_running:
        cluster.start(key)
    (stop,) = stops(cluster.cancel(key, grace_ms=300, comment="enough"))
    assert (stop.key, stop.attempt, stop.grace_ms, stop.cause) == (key, 1, 300, Cause.CANCELLED)
    assert not stops(cluster.cancel(key))
    cluster.exit(key, cause=Cause.SIGNAL)
    assert (cluster.outcome(key).state, cluster.outcome(key).cause) == (S.CANCELLED, Cause.CANCELLED)


def test_cancel_that_comes_too_late_leaves_the_success() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    cluster.cancel(key)
    cluster.exit(key)
    assert cluster.outcome(key).state is S.SUCCEEDED
    cluster.cancel(key)
    assert cluster.outcome(key).state is S.SUCCEEDED


def test_cancel_of_a_task_whose_node_is_lost_ends_it() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    cluster.cancel(key)
    cluster.disconnect("n0", is_final=True)
    assert cluster.outcome(key).state is S.CANCELLED


def test_cancel_is_repeated_to_an_agent_that_connects_again() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    cluster.start(key)
    cluster.cancel(key)
    cluster.disconnect("n0")
    effects = cluster.step(cluster.hello("n0", tasks=(cluster.held(key),)))
    assert [stop.key for stop in stops(effects)] == [key]


# --- hold and release


def test_held_task_starts_only_after_release() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit(make_spec(hold=True))
    assert cluster.state_of(key) is S.HELD
    cluster.release(key)
    assert cluster.state_of(key) is S.ASSIGNED


def test_hold_of_a_queued_task_keeps_it_from_starting() -> None:
    cluster = MachineCluster(nodes=0)
    (key,) = cluster.submit()
    cluster.hold(key)
    cluster.hold(key)
    cluster.connect("n0")
    assert cluster.state_of(key) is S.HELD


def test_hold_and_release_many_times_starts_the_task_once() -> None:
    cluster = MachineCluster(nodes=0)
    (key,) = cluster.submit()
    for _ in range(5):
        cluster.hold(key)
        cluster.release(key)
    cluster.connect("n0")
    assert cluster.counts() == [1]


def test_hold_of_a_task_in_back_off_outlasts_the_back_off() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit(make_spec(retry=Retry(2, backoff_ms=1_000)))
    cluster.exit(key, cause=Cause.EXIT)
    cluster.hold(key)
    cluster.tick(2_000)
    assert cluster.state_of(key) is S.HELD
    cluster.release(key)
    assert cluster.state_of(key) is S.ASSIGNED


def test_hold_of_a_task_on_a_node_is_refused_for_all_named() -> None:
    cluster = MachineCluster(cpu=1)
    running, queued = cluster.submit(count=2)
    with pytest.raises(TaskIsRunning):
        cluster.hold(queued, running)
    assert cluster.state_of(queued) is S.QUEUED


def test_hold_of_an_ended_task_is_refused() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    cluster.exit(key)
    with pytest.raises(TaskHasEnded):
        cluster.hold(key)


def test_release_of_a_task_that_is_not_held_is_refused() -> None:
    cluster = MachineCluster(nodes=0)
    (key,) = cluster.submit()
    with pytest.raises(TaskIsNotHeld):
        cluster.release(key)


# --- order


def test_higher_priority_goes_first() -> None:
    cluster = MachineCluster(cpu=1)
    (running,) = cluster.submit()
    (low,) = cluster.submit(make_spec(priority=0))
    (high,) = cluster.submit(make_spec(priority=5))
    cluster.exit(running)
    assert (cluster.state_of(high), cluster.state_of(low)) == (S.ASSIGNED, S.QUEUED)


def test_same_priority_goes_in_the_order_of_submission_across_shapes() -> None:
    cluster = MachineCluster(cpu=1)
    (running,) = cluster.submit()
    (first,) = cluster.submit(make_spec(memory=1 << 20))
    (second,) = cluster.submit()
    cluster.exit(running)
    assert (cluster.state_of(first), cluster.state_of(second)) == (S.ASSIGNED, S.QUEUED)


def test_task_that_fits_nowhere_does_not_stand_in_the_way() -> None:
    cluster = MachineCluster(cpu=2)
    (large,) = cluster.submit(make_spec(cpu=64, priority=9))
    (small,) = cluster.submit()
    assert (cluster.state_of(large), cluster.state_of(small)) == (S.QUEUED, S.ASSIGNED)


# --- prefill


def _short_running(cluster: MachineCluster, count: int) -> list[int]:
    """Tasks of which the first have told that they take a millisecond, so that more wait at the agents."""
    keys = cluster.submit(count=count)
    cluster.exit(keys[0], run_ms=1)
    return keys


def test_prefill_lets_short_tasks_wait_at_the_agent() -> None:
    cluster = MachineCluster(cpu=1)
    _short_running(cluster, 10)
    node = cluster.state.cluster.nodes["n0"]
    assert [start.is_prefill for start in starts(cluster.effects)] == [False] + [True] * len(node.prefilled)
    assert node.prefilled


def test_prefill_is_not_for_long_tasks() -> None:
    cluster = MachineCluster(cpu=1)
    keys = cluster.submit(count=10)
    cluster.exit(keys[0], run_ms=10_000)
    assert not cluster.state.cluster.nodes["n0"].prefilled


def test_prefilled_tasks_are_promoted_in_order_as_room_is_freed() -> None:
    cluster = MachineCluster(cpu=1)
    keys = _short_running(cluster, 10)
    node = cluster.state.cluster.nodes["n0"]
    for key in keys[1:]:
        assert list(node.tasks) == [key]
        assert key not in node.prefilled
        cluster.exit(key, run_ms=1)
    assert all(cluster.state_of(key) is S.SUCCEEDED for key in keys)


def test_prefilled_task_that_the_agent_starts_first_is_believed_and_capacity_returns() -> None:
    cluster = MachineCluster(cpu=1)
    keys = _short_running(cluster, 4)
    node = cluster.state.cluster.nodes["n0"]
    cluster.start(keys[2])
    assert set(node.tasks) == {keys[1], keys[2]}
    cluster.exit(keys[2], run_ms=1)
    cluster.exit(keys[1], run_ms=1)
    assert node.capacity == node.declared


def test_prefilled_task_that_waits_long_is_asked_back_and_placed_elsewhere() -> None:
    cluster = MachineCluster(cpu=1)
    keys = _short_running(cluster, 3)
    cluster.tick()
    assert [r.key for r in retracts(cluster.effects)] == [keys[2]]
    cluster.connect("n1", cpu=1)
    cluster.report("n0", ev.TaskRetracted(keys[2], 1, 1))
    assert (cluster.node_of(keys[2]), cluster.task(keys[2]).attempt) == ("n1", 2)


def test_prefilled_task_is_asked_back_once() -> None:
    cluster = MachineCluster(cpu=1)
    _short_running(cluster, 3)
    cluster.tick()
    assert not retracts(cluster.tick())


def test_cancel_of_a_prefilled_task_asks_the_agent() -> None:
    cluster = MachineCluster(cpu=1)
    keys = _short_running(cluster, 3)
    assert [stop.key for stop in stops(cluster.cancel(keys[2]))] == [keys[2]]
    cluster.report("n0", ev.TaskRetracted(keys[2], 1, 1))
    assert cluster.outcome(keys[2]).state is S.CANCELLED


def test_prefill_leaves_the_turn_to_an_older_task_of_another_shape() -> None:
    cluster = MachineCluster(cpu=1)
    short = cluster.submit(count=2)
    (older,) = cluster.submit(make_spec(memory=1 << 20))
    cluster.submit(count=20)
    cluster.exit(short[0], run_ms=1)
    assert not cluster.state.cluster.nodes["n0"].prefilled
    cluster.exit(short[1], run_ms=1)
    assert cluster.state_of(older) is S.ASSIGNED


def test_prefill_leaves_the_turn_to_a_higher_priority() -> None:
    cluster = MachineCluster(cpu=1)
    short = cluster.submit(count=5)
    first, _ = cluster.submit(make_spec(priority=1), count=2)
    cluster.exit(short[0], run_ms=1)
    assert cluster.state_of(first) is S.ASSIGNED
    assert not cluster.state.cluster.nodes["n0"].prefilled


def test_prefill_never_takes_tasks_with_devices() -> None:
    cluster = MachineCluster(cpu=4, gpus=("0",))
    keys = cluster.submit(make_spec(gpu=1), count=4)
    cluster.exit(keys[0], run_ms=1)
    assert not cluster.state.cluster.nodes["n0"].prefilled
    (start,) = starts(cluster.effects)
    assert start.devices == ("0",)


def test_progress_raises_the_revision_and_writes_nothing() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    before = cluster.task(key).revision
    effects = cluster.report("n0", ev.TaskProgressed(key, 1, 1, 0.5, "half"))
    assert cluster.task(key).progress == (0.5, "half")
    assert cluster.task(key).revision > before
    assert not effects.rows
