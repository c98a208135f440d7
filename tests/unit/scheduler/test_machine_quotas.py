"""Queues, quotas and caps: what they keep from starting, and when they let it."""

from __future__ import annotations

from typing import Any

import pytest

from services.chassis.errors import ServiceError
from services.scheduler.model import Quota, TaskState
from services.scheduler.queues.shares import AccountSettings, QueueSettings
from services.scheduler.resources import amounts
from services.scheduler.scheduling.explain import explain
from services.scheduler.state import events as ev
from tests.support.scheduler_cluster import MachineCluster, make_spec, retracts

CPU_2 = amounts({"cpu": 2})


def _add(cluster: MachineCluster, name: str, **settings: Any) -> None:
    cluster.ask(ev.QueueCreated, name, QueueSettings(**settings))


def _set(cluster: MachineCluster, name: str, *paths: str, **settings: Any) -> None:
    cluster.ask(ev.QueueChanged, name, paths or tuple(settings), QueueSettings(**settings))


def _grant(cluster: MachineCluster, account: str, **quota: Any) -> None:
    paths = tuple(f"quota.{name}" for name in quota)
    cluster.ask(ev.AccountChanged, account, paths, AccountSettings(quota=Quota(**quota)))


def _gates(cluster: MachineCluster, key: int) -> list[str]:
    return [gate.reason for gate in explain(cluster.state, cluster.task(key), cluster.now).gates]


def _placed(cluster: MachineCluster, keys: list[int]) -> int:
    return sum(key in cluster.state.tasks and bool(cluster.node_of(key)) for key in keys)


def _refusal(act: Any, *arguments: Any, **named: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        act(*arguments, **named)
    return caught.value


def test_queue_never_holds_more_than_its_limit() -> None:
    cluster = MachineCluster(nodes=2)
    _add(cluster, "small", quota=Quota(limit=CPU_2))
    keys = cluster.submit(make_spec(queue="small"), 5)
    assert _placed(cluster, keys) == 2
    assert _gates(cluster, keys[2]) == ["QUEUE_QUOTA"]
    cluster.exit(keys[0])
    assert _placed(cluster, keys) == 2 and cluster.node_of(keys[2])


def test_account_never_holds_more_than_its_limit_over_all_queues() -> None:
    cluster = MachineCluster(nodes=2)
    _add(cluster, "other")
    _grant(cluster, "ada", limit=CPU_2)
    first = cluster.submit(make_spec(), 2)
    second = cluster.submit(make_spec(queue="other"), 2)
    assert (_placed(cluster, first), _placed(cluster, second)) == (2, 0)
    assert _gates(cluster, second[0]) == ["ACCOUNT_QUOTA"]
    # Nobody else's.
    assert cluster.node_of(cluster.submit(make_spec(account="bob"), account="bob")[0])


def test_resource_that_is_not_named_has_no_limit_and_zero_is_one() -> None:
    cluster = MachineCluster(nodes=1, gpus=("0",))
    _add(cluster, "plain", quota=Quota(limit=(("gpu", 0),)))
    (key,) = cluster.submit(make_spec(queue="plain", cpu=4))
    assert cluster.node_of(key)
    error = _refusal(cluster.submit, make_spec(queue="plain", gpu=1))
    assert (error.reason, error.field) == ("QUOTA_TOO_SMALL", "specs[0].resources.gpu")


def test_most_running_tasks_counts_tasks() -> None:
    cluster = MachineCluster(nodes=1)
    _add(cluster, "one", quota=Quota(max_running=1))
    keys = cluster.submit(make_spec(queue="one", cpu=0), 3)
    assert _placed(cluster, keys) == 1


def test_array_in_a_limited_queue_runs_as_many_elements_as_it_may() -> None:
    cluster = MachineCluster(nodes=1)
    _add(cluster, "small", quota=Quota(limit=CPU_2))
    cluster.submit(make_spec(queue="small", array_size=4))
    running = [key for key, task in cluster.state.tasks.items() if task.node]
    assert len(running) == 2
    cluster.exit(*running)
    assert sum(bool(task.node) for task in cluster.state.tasks.values()) == 2


def test_cap_counts_all_tasks_of_the_account_with_the_key() -> None:
    cluster = MachineCluster(nodes=2)
    first = cluster.submit(make_spec(b"a", caps=(("licence", 2),)), 2)
    second = cluster.submit(make_spec(b"b", cpu=0.5, caps=(("licence", 2), ("disk", 9))), 2)
    others = cluster.submit(make_spec(account="bob", caps=(("licence", 2),)), 1, account="bob")
    assert (_placed(cluster, first), _placed(cluster, second), _placed(cluster, others)) == (2, 0, 1)
    assert _gates(cluster, second[0]) == ["CONCURRENCY_CAP"]
    cluster.exit(first[0])
    assert _placed(cluster, second) == 1


def test_stopped_queue_starts_nothing_until_it_is_started() -> None:
    cluster = MachineCluster(nodes=1)
    (running,) = cluster.submit()
    _set(cluster, "default", is_stopped=True)
    (key,) = cluster.submit()
    assert _gates(cluster, key) == ["QUEUE_STOPPED"]
    assert cluster.state_of(running) is TaskState.ASSIGNED
    cluster.exit(running)
    assert not cluster.node_of(key)
    _set(cluster, "default", is_stopped=False)
    assert cluster.node_of(key)


def test_larger_quota_lets_a_task_start_in_the_same_step() -> None:
    cluster = MachineCluster(nodes=1)
    _grant(cluster, "ada", max_running=1)
    keys = cluster.submit(count=3)
    assert _placed(cluster, keys) == 1
    _grant(cluster, "ada", max_running=2)
    assert _placed(cluster, keys) == 2


def test_smaller_quota_lets_what_runs_go_on_and_starts_nothing() -> None:
    cluster = MachineCluster(nodes=1)
    keys = cluster.submit(count=6)
    assert _placed(cluster, keys) == 4
    _grant(cluster, "ada", limit=CPU_2)
    cluster.exit(keys[0])
    cluster.exit(keys[1])
    assert _placed(cluster, keys) == 2
    cluster.exit(keys[2])
    assert cluster.node_of(keys[4]) and not cluster.node_of(keys[5])


def test_new_limit_asks_back_what_waits_at_agents() -> None:
    cluster = MachineCluster(nodes=1, cpu=1)
    keys = cluster.submit(count=40)
    for key in keys[:10]:
        cluster.exit(key, run_ms=1)
    waiting = set(cluster.state.prefilled)
    assert waiting
    _grant(cluster, "ada", limit=CPU_2)
    assert {command.key for command in retracts(cluster.effects)} == waiting


def test_held_amounts_come_back_after_a_node_is_lost() -> None:
    cluster = MachineCluster(nodes=2, cpu=2)
    _add(cluster, "small", quota=Quota(limit=CPU_2))
    keys = cluster.submit(make_spec(queue="small"), 3)
    assert _placed(cluster, keys) == 2
    node = cluster.node_of(keys[0])
    cluster.disconnect(node, is_final=True)
    assert _placed(cluster, keys) == 2
    assert node not in {task.node for task in cluster.state.tasks.values()}


def test_quota_that_holds_one_shape_back_lets_another_go() -> None:
    cluster = MachineCluster(nodes=1)
    _add(cluster, "small", quota=Quota(limit=CPU_2))
    (first,) = cluster.submit(make_spec(queue="small", cpu=1))
    (large,) = cluster.submit(make_spec(queue="small", cpu=2))
    (small,) = cluster.submit(make_spec(queue="small", cpu=0.5))
    assert cluster.node_of(first) and cluster.node_of(small) and not cluster.node_of(large)


@pytest.mark.parametrize(
    ("name", "reason", "hint"),
    [("defualt", "QUEUE_NOT_FOUND", "did you mean default?"), ("closed", "QUEUE_NOT_OPEN", "another")],
)
def test_submission_to_a_queue_that_does_not_take_it_is_refused(name: str, reason: str, hint: str) -> None:
    cluster = MachineCluster(nodes=1)
    _add(cluster, "closed", accounts=("bob",))
    error = _refusal(cluster.submit, make_spec(queue=name))
    assert (error.reason, error.field) == (reason, "specs[0].queue")
    assert hint in error.next_step


def test_submission_beyond_the_most_unfinished_is_refused_whole() -> None:
    cluster = MachineCluster(nodes=1)
    _grant(cluster, "ada", max_unfinished=3)
    cluster.submit(count=2)
    (array,) = cluster.submit(make_spec(array_size=100))
    assert _refusal(cluster.submit).reason == "TOO_MANY_UNFINISHED"
    cluster.cancel(array)
    cluster.exit(*(key for key, task in cluster.state.tasks.items() if task.node and key > array))
    cluster.submit()


def test_queue_with_tasks_and_the_default_one_are_not_deleted() -> None:
    cluster = MachineCluster(nodes=1)
    _add(cluster, "work")
    (key,) = cluster.submit(make_spec(queue="work"))
    assert _refusal(cluster.ask, ev.QueueDeleted, "work").reason == "QUEUE_HAS_TASKS"
    cluster.exit(key)
    cluster.ask(ev.QueueDeleted, "work")
    assert _refusal(cluster.submit, make_spec(queue="work")).reason == "QUEUE_NOT_FOUND"
    assert _refusal(cluster.ask, ev.QueueDeleted, "work").reason == "QUEUE_NOT_FOUND"
    assert _refusal(cluster.ask, ev.QueueDeleted, "default").reason == "QUEUE_IS_DEFAULT"


def test_queue_is_made_once_and_changed_by_paths() -> None:
    cluster = MachineCluster(nodes=1)
    _add(cluster, "work", priority=3, weight=2.0)
    assert _refusal(_add, cluster, "work").reason == "QUEUE_EXISTS"
    _set(cluster, "work", "quota.max_running", quota=Quota(max_running=7, max_unfinished=9))
    settings = cluster.state.waiting.tenancy.queues["work"].settings
    assert settings == QueueSettings(priority=3, weight=2.0, quota=Quota(max_running=7))


def test_account_of_a_deleted_name_begins_anew() -> None:
    cluster = MachineCluster(nodes=1)
    _grant(cluster, "ada", max_running=1)
    (key,) = cluster.submit()
    cluster.turn(3_600_000)
    cluster.exit(key)
    cluster.ask(ev.AccountClosed, "ada")
    cluster.step(ev.AccountOpened("ada"))
    keys = cluster.submit(count=2)
    assert _placed(cluster, keys) == 2
    assert cluster.state.waiting.tenancy.tenant("default", "ada").decayed == 0


def test_quote_that_a_quota_forbids_is_not_used() -> None:
    cluster = MachineCluster(nodes=1)
    _grant(cluster, "ada", limit=CPU_2)
    cluster.ask(ev.QuoteRequested, "ada", "q-1", (ev.QuoteWish(make_spec().shape, 3),), 10_000)
    error = _refusal(cluster.submit, make_spec(quote="q-1"), 3)
    assert error.reason == "QUOTA_IN_USE"
    keys = cluster.submit(make_spec(quote="q-1"), 2)
    assert _placed(cluster, keys) == 2


def test_stream_of_small_tasks_does_not_keep_a_large_one_from_its_part_of_a_limit() -> None:
    cluster = MachineCluster(nodes=2)
    _add(cluster, "small", quota=Quota(limit=amounts({"cpu": 3})))
    small = make_spec(queue="small", account="bob")
    cluster.submit(small, 6, account="bob")
    (large,) = cluster.submit(make_spec(queue="small", cpu=3))
    for _ in range(20):
        cluster.turn(10_000)
        running = next(key for key, task in cluster.state.tasks.items() if task.node)
        cluster.exit(running)
        if cluster.node_of(large):
            break
        cluster.submit(small, account="bob")
    assert cluster.node_of(large)
    waiting = next(key for key, task in cluster.state.tasks.items() if not task.node)
    assert _gates(cluster, waiting) == ["QUEUE_QUOTA"]


def test_what_is_kept_for_a_large_task_is_free_again_when_it_is_cancelled() -> None:
    cluster = MachineCluster(nodes=2)
    _add(cluster, "small", quota=Quota(limit=amounts({"cpu": 3})))
    first = cluster.submit(make_spec(queue="small", account="bob"), 3, account="bob")
    (large,) = cluster.submit(make_spec(queue="small", cpu=3))
    cluster.turn(61_000)
    cluster.exit(first[0])
    (small,) = cluster.submit(make_spec(queue="small", account="bob"), account="bob")
    assert not cluster.node_of(small)
    cluster.cancel(large)
    cluster.exit(first[1])
    assert cluster.node_of(small)
