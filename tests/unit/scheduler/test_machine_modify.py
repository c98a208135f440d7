"""Modifications in the scheduler's machine (S0.7): what waits, what runs, queues, retries, hellos."""

from __future__ import annotations

import json

import pytest

from services.chassis.requests.marks import RequestIdReused
from services.scheduler.model import Cause, Retry, TaskState, VerdictKind, element_key, format_task_id
from services.scheduler.refusals import ElementNotMade, RevisionStale, TaskHasEnded, TooManyChanges
from services.scheduler.requests import modification
from services.scheduler.scheduling import explain
from services.scheduler.state import events as ev
from tests.support.modifications import answer, change, kinds, modifications, told
from tests.support.scheduler_cluster import MachineCluster, make_spec, starts

APPLIED, DEFERRED, REJECTED = VerdictKind
PARAMS, PRIORITY, LABELS = modification.PARAMS_JSON, modification.PRIORITY, modification.LABELS
QUEUE_TIMEOUT, RUN_TIMEOUT = modification.QUEUE_TIMEOUT, modification.RUN_TIMEOUT


def test_waiting_task_takes_everything_at_once() -> None:  # S0.7
    cluster = MachineCluster(nodes=0)
    (key,) = cluster.submit(params='{"a":1,"b":2}')
    row = change(
        cluster, key, PARAMS, PRIORITY, QUEUE_TIMEOUT, RUN_TIMEOUT, LABELS,
        params='{"b":3}', priority=5, queue_timeout_ms=100, run_timeout_ms=9, labels=1,
    )  # fmt: skip
    assert set(kinds(row).values()) == {APPLIED}
    task = cluster.task(key)
    assert json.loads(task.params) == {"a": 1, "b": 3}
    assert (task.spec.shape.priority, task.spec.run_timeout_ms) == (5, 9)
    assert (row.params, row.spec, row.pending) == (task.params, task.spec.number, ())
    cluster.connect("n0")
    (start,) = starts(cluster.effects)
    assert (start.params, start.spec) == (task.params, task.spec)


def test_raised_priority_goes_before_older_tasks() -> None:
    cluster = MachineCluster(nodes=0)
    first, second, third = cluster.submit(count=3)
    change(cluster, third, PRIORITY, priority=1)
    assert explain.explain(cluster.state, cluster.task(third), cluster.now).position == 0
    assert explain.explain(cluster.state, cluster.task(first), cluster.now).position == 1
    cluster.connect("n0", cpu=1)
    assert cluster.node_of(third) == "n0"
    cluster.exit(third)
    assert cluster.node_of(first) == "n0"
    assert not cluster.node_of(second)


def test_tasks_that_move_to_one_priority_keep_the_order_of_their_submission() -> None:
    cluster = MachineCluster(nodes=0)
    keys = cluster.submit(count=4)
    raised = cluster.submit(make_spec(priority=3))
    for key in reversed(keys):
        change(cluster, key, PRIORITY, priority=3)
    change(cluster, keys[1], PRIORITY, priority=0)
    change(cluster, keys[1], PRIORITY, priority=3)
    order = []
    cluster.connect("n0", cpu=1)
    while cluster.state.tasks:
        (running,) = cluster.state.cluster.nodes["n0"].tasks
        order.append(running)
        cluster.exit(running)
    assert order == [*keys, *raised]


def test_held_task_waits_at_its_new_priority_once_released() -> None:
    cluster = MachineCluster(nodes=0)
    (held,) = cluster.submit(make_spec(hold=True))
    (other,) = cluster.submit(make_spec(priority=1))
    change(cluster, held, PRIORITY, priority=2)
    cluster.connect("n0", cpu=1)
    assert cluster.task(held).state is TaskState.HELD
    cluster.exit(other)
    cluster.release(held)
    assert cluster.node_of(held) == "n0"


@pytest.mark.parametrize(
    ("before_ms", "after_ms", "ends"), [(1_000, 0, False), (1_000, 9_000, False), (0, 1_000, True)]
)
def test_queue_timeout_counts_as_changed(before_ms: int, after_ms: int, ends: bool) -> None:
    cluster = MachineCluster(nodes=0)
    (key,) = cluster.submit(make_spec(queue_timeout_ms=before_ms))
    change(cluster, key, QUEUE_TIMEOUT, queue_timeout_ms=after_ms)
    cluster.tick(2_000)
    assert (key not in cluster.state.tasks) is ends


def test_running_task_is_told_and_takes_parameters_upon_the_agents_word() -> None:  # S0.7
    cluster = MachineCluster(nodes=1)
    (key,) = cluster.submit(params='{"a":1}')
    cluster.start(key)
    row = change(
        cluster, key, PARAMS, PRIORITY, RUN_TIMEOUT, LABELS, params='{"a":2}', run_timeout_ms=7, labels=1
    )
    assert kinds(row) == {PARAMS: DEFERRED, PRIORITY: REJECTED, RUN_TIMEOUT: DEFERRED, LABELS: APPLIED}
    (command,) = told(cluster.effects)
    assert (command.revision, command.params, command.run_timeout_ms) == (row.revision, '{"a":2}', 7)
    assert cluster.task(key).params == '{"a":1}'
    answer(cluster, key, row.revision, (RUN_TIMEOUT, True, ""))
    assert cluster.task(key).pending[0].paths == (PARAMS,)
    answer(cluster, key, row.revision, (PARAMS, True, ""))
    assert cluster.task(key).params == '{"a":2}'
    assert not cluster.task(key).pending
    last = modifications(cluster)[-1]
    assert (last.request_revision, kinds(last), last.params) == (row.revision, {PARAMS: APPLIED}, '{"a":2}')


def test_refused_parameters_hold_nowhere() -> None:
    cluster = MachineCluster(nodes=1)
    (key,) = cluster.submit(make_spec(retry=Retry(2)), params='{"a":1}')
    cluster.start(key)
    row = change(cluster, key, modification.PARAMS, params='{"a":2}')
    answer(cluster, key, row.revision, (PARAMS, False, "a must be odd"))
    (verdict,) = modifications(cluster)[-1].verdicts
    assert (verdict.path, verdict.kind, verdict.message) == (modification.PARAMS, REJECTED, "a must be odd")
    cluster.exit(key, cause=Cause.EXIT)
    (start,) = starts(cluster.effects)
    assert start.params == '{"a":1}'


def test_changes_are_under_way_one_at_a_time() -> None:
    cluster = MachineCluster(nodes=1)
    (key,) = cluster.submit()
    first = change(cluster, key, PARAMS, params='{"a":1}')
    second = change(cluster, key, PARAMS, params='{"b":2}')
    assert not told(cluster.effects)
    assert not told(answer(cluster, key, second.revision, (PARAMS, True, "")))
    (command,) = told(answer(cluster, key, first.revision, (PARAMS, False, "no")))
    assert command.revision == second.revision
    answer(cluster, key, second.revision, (PARAMS, True, ""))
    assert json.loads(cluster.task(key).params) == {"b": 2}
    answer(cluster, key, second.revision, (PARAMS, False, "too late"))
    assert json.loads(cluster.task(key).params) == {"b": 2}


def test_disconnected_agent_is_told_after_its_hello() -> None:  # S0.7
    cluster = MachineCluster(nodes=1)
    (key,) = cluster.submit()
    cluster.start(key)
    cluster.disconnect("n0")
    row = change(cluster, key, PARAMS, params='{"a":1}')
    assert not told(cluster.effects)
    assert "told when it is back" in row.verdicts[0].message
    cluster.connect("n0", tasks=(cluster.held(key),))
    (command,) = told(cluster.effects)
    assert command.revision == row.revision


def test_answered_time_limit_is_told_again_to_a_new_agent_process_until_the_attempt_is_over() -> None:
    cluster = MachineCluster(nodes=1)
    (key,) = cluster.submit(make_spec(retry=Retry(2)))
    cluster.start(key)
    row = change(cluster, key, RUN_TIMEOUT, run_timeout_ms=500)
    answer(cluster, key, row.revision, (RUN_TIMEOUT, True, ""))
    cluster.connect("n0", tasks=(cluster.held(key),))
    assert [(c.revision, c.run_timeout_ms) for c in told(cluster.effects)] == [(row.revision, 500)]
    rows = len(cluster.rows)
    answer(cluster, key, row.revision, (RUN_TIMEOUT, True, ""))
    assert len(cluster.rows) == rows
    cluster.exit(key, cause=Cause.EXIT)
    cluster.start(key)
    cluster.connect("n0", tasks=(cluster.held(key),))
    assert not told(cluster.effects)
    assert cluster.task(key).spec.run_timeout_ms == 500


@pytest.mark.parametrize("cause", [Cause.EXIT, Cause.NODE_LOST])
def test_unanswered_change_holds_from_the_next_attempt_on(cause: Cause) -> None:  # S0.7
    cluster = MachineCluster(nodes=1)
    (key,) = cluster.submit(make_spec(retry=Retry(2)), params='{"a":1}')
    cluster.start(key)
    rows = [change(cluster, key, PARAMS, params=text) for text in ('{"a":2}', '{"b":3}')]
    cluster.exit(key, cause=cause)
    (start,) = starts(cluster.effects)
    assert json.loads(start.params) == {"a": 2, "b": 3}
    settled = {row.request_revision: kinds(row) for row in modifications(cluster)[-2:]}
    assert settled == {row.revision: {PARAMS: APPLIED} for row in rows}


def test_modified_task_that_waits_at_the_agent_is_told_there() -> None:
    cluster = MachineCluster(nodes=1)
    (key,) = cluster.submit()
    row = change(cluster, key, PARAMS, PRIORITY, params='{"a":1}', priority=1)
    assert kinds(row) == {PARAMS: DEFERRED, PRIORITY: REJECTED}
    assert "on n0 already" in row.verdicts[1].message
    assert told(cluster.effects)


def test_array_takes_a_change_for_elements_to_come() -> None:
    cluster = MachineCluster(nodes=1, cpu=1)
    (array,) = cluster.submit(make_spec(array_size=3), params='{"a":1}')
    first, second = element_key(array, 0), element_key(array, 1)
    row = change(cluster, array, PARAMS, PRIORITY, params='{"a":2}', priority=4)
    assert "turn has not come" in row.verdicts[0].message
    assert cluster.task(first).params == '{"a":1}'
    with pytest.raises(ElementNotMade):
        change(cluster, second, PARAMS, params="{}")
    cluster.exit(first)
    task = cluster.task(second)
    assert (task.params, task.spec.shape.priority) == ('{"a":2}', 4)
    change(cluster, second, PARAMS, params='{"a":9}')
    cluster.exit(second)
    cluster.exit(element_key(array, 2))
    assert cluster.state_of(array) is TaskState.SUCCEEDED


def test_stale_revision_is_refused_and_progress_makes_none_stale() -> None:  # S0.7
    cluster = MachineCluster(nodes=1)
    (key,) = cluster.submit()
    seen = cluster.task(key).revision
    cluster.start(key)
    with pytest.raises(RevisionStale):
        change(cluster, key, LABELS, labels=1, revision=seen)
    seen = cluster.task(key).revision
    task = cluster.task(key)
    cluster.report("n0", ev.TaskProgressed(key, task.attempt, task.epoch, 0.5, ""))
    change(cluster, key, LABELS, labels=1, revision=seen)
    with pytest.raises(RevisionStale):
        change(cluster, key, LABELS, labels=2, revision=seen)
    with pytest.raises(RevisionStale):
        change(cluster, key, LABELS, labels=2, revision=cluster.state.revision + 1)


def test_change_made_from_another_specification_is_refused() -> None:
    cluster = MachineCluster(nodes=1)
    (key,) = cluster.submit()
    with pytest.raises(RevisionStale):
        change(cluster, key, LABELS, labels=1, base=cluster.task(key).spec.number + 1)


def test_ended_task_is_refused() -> None:
    cluster = MachineCluster(nodes=1)
    (key,) = cluster.submit()
    cluster.exit(key)
    with pytest.raises(TaskHasEnded) as refused:
        change(cluster, key, PARAMS, params="{}")
    assert format_task_id(key) in refused.value.message


def test_repeated_request_gets_the_first_answer_and_changes_nothing() -> None:
    cluster = MachineCluster(nodes=0)
    (key,) = cluster.submit(params='{"a":1}')
    first = change(cluster, key, PARAMS, params='{"a":2}', request_id="r", content=b"1")
    change(cluster, key, PARAMS, params='{"a":3}')
    again = change(cluster, key, PARAMS, params='{"a":2}', request_id="r", content=b"1")
    assert again is first
    assert cluster.task(key).params == '{"a":3}'
    with pytest.raises(RequestIdReused):
        change(cluster, key, PARAMS, params='{"a":4}', request_id="r", content=b"2")
    with pytest.raises(RequestIdReused):
        cluster.submit(request_id="r", content=b"1 too")


def test_changes_that_wait_for_an_agent_are_bounded() -> None:
    cluster = MachineCluster(nodes=1)
    (key,) = cluster.submit()
    for _ in range(modification.MOST_PENDING):
        change(cluster, key, PARAMS, params="{}")
    with pytest.raises(TooManyChanges):
        change(cluster, key, PARAMS, params="{}")


def test_word_of_a_former_attempt_is_dropped() -> None:
    cluster = MachineCluster(nodes=1)
    (key,) = cluster.submit(make_spec(retry=Retry(2)), params='{"a":1}')
    row = change(cluster, key, PARAMS, params='{"a":2}')
    task = cluster.task(key)
    late = ev.TaskModified(key, task.attempt, task.epoch, row.revision, ((PARAMS, False, "no"),))
    cluster.exit(key, cause=Cause.EXIT)
    cluster.report("n0", late)
    assert cluster.task(key).params == '{"a":2}'
    assert cluster.state.stale_reports == 1
