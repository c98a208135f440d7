"""Suspending and resuming, as the scheduler's machine decides them: what is wanted outlasts whoever dies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.scheduler.model import Retry, TaskState, element_key, format_task_id
from services.scheduler.records.recovery import restore
from services.scheduler.records.store import SchedulerStore
from services.scheduler.refusals import TaskHasEnded
from services.scheduler.state import events as ev
from services.scheduler.state.effects import ResumeTask, StopTask, SuspendTask
from tests.support.scheduler_cluster import MachineCluster, make_spec


def suspend(cluster: MachineCluster, *keys: int) -> Any:
    return cluster.ask(ev.SuspendRequested, keys)


def resume(cluster: MachineCluster, *keys: int) -> Any:
    return cluster.ask(ev.ResumeRequested, keys)


def told(cluster: MachineCluster, node: str = "n0") -> list[Any]:
    return list(cluster.effects.commands.get(node, (0, []))[1])


def report(cluster: MachineCluster, kind: type, key: int) -> None:
    task = cluster.state.tasks[key]
    cluster.report(task.node, kind(key, task.attempt, task.epoch))


def running(cluster: MachineCluster, **fields: Any) -> int:
    [key] = cluster.submit(make_spec(**fields))
    cluster.start(key)
    return key


def test_running_task_is_told_to_stop_and_keeps_what_it_holds() -> None:  # S0.7
    cluster = MachineCluster()
    key = running(cluster)
    suspend(cluster, key)
    assert told(cluster) == [SuspendTask(key, 1)]
    assert cluster.state.tasks[key].state is TaskState.RUNNING
    report(cluster, ev.TaskSuspended, key)
    task = cluster.state.tasks[key]
    assert (task.state, task.node) == (TaskState.SUSPENDED, "n0")
    assert cluster.state.cluster.nodes["n0"].reserved["cpu"] > 0
    suspend(cluster, key)
    assert told(cluster) == []
    resume(cluster, key)
    assert told(cluster) == [ResumeTask(key, 1)]
    report(cluster, ev.TaskResumed, key)
    assert (task.state, task.reason) == (TaskState.RUNNING, "")


def test_resume_before_the_agent_has_answered_leaves_it_running() -> None:
    cluster = MachineCluster()
    key = running(cluster)
    suspend(cluster, key)
    resume(cluster, key)
    report(cluster, ev.TaskSuspended, key)
    report(cluster, ev.TaskResumed, key)
    task = cluster.state.tasks[key]
    assert (task.state, task.reason) == (TaskState.RUNNING, "")


def test_agent_is_told_again_after_every_hello_until_it_is_so() -> None:
    cluster = MachineCluster()
    key = running(cluster)
    suspend(cluster, key)
    cluster.connect("n0", tasks=(ev.HeldTask(key, 1, 1, True),))
    assert SuspendTask(key, 1) in told(cluster)
    cluster.connect("n0", tasks=(ev.HeldTask(key, 1, 1, True, None, True),))
    assert cluster.state.tasks[key].state is TaskState.SUSPENDED
    resume(cluster, key)
    cluster.connect("n0", tasks=(ev.HeldTask(key, 1, 1, True, None, True),))
    assert ResumeTask(key, 1) in told(cluster)
    cluster.connect("n0", tasks=(ev.HeldTask(key, 1, 1, True),))
    assert cluster.state.tasks[key].state is TaskState.RUNNING


def test_waiting_task_is_held_and_let_wait_again() -> None:
    cluster = MachineCluster(0)
    [key] = cluster.submit()
    suspend(cluster, key)
    assert cluster.state.tasks[key].state is TaskState.HELD
    resume(cluster, key)
    cluster.connect("n0")
    assert cluster.state.tasks[key].state is TaskState.ASSIGNED


def test_suspended_task_whose_node_is_lost_waits_held_until_it_is_resumed() -> None:
    cluster = MachineCluster()
    key = running(cluster)
    suspend(cluster, key)
    report(cluster, ev.TaskSuspended, key)
    cluster.connect("n0")
    task = cluster.state.tasks[key]
    assert (task.state, task.node) == (TaskState.HELD, "")
    assert task.reason.startswith("HELD: suspended; NODE_LOST")
    resume(cluster, key)
    assert cluster.state.tasks[key].state is TaskState.ASSIGNED


def test_task_that_was_given_back_before_it_began_is_held() -> None:
    cluster = MachineCluster()
    [key] = cluster.submit()
    suspend(cluster, key)
    assert told(cluster) == [SuspendTask(key, 1)]
    report(cluster, ev.TaskRetracted, key)
    assert cluster.state.tasks[key].state is TaskState.HELD


def test_cancel_of_a_suspended_task_is_what_counts_from_then_on() -> None:
    cluster = MachineCluster()
    key = running(cluster)
    suspend(cluster, key)
    report(cluster, ev.TaskSuspended, key)
    cluster.cancel(key)
    assert [type(command) for command in told(cluster)] == [StopTask]
    cluster.connect("n0", tasks=(ev.HeldTask(key, 1, 1, True, None, True),))
    assert [type(command) for command in told(cluster)] == [StopTask]


def test_array_is_held_and_its_elements_are_suspended() -> None:
    cluster = MachineCluster(cpu=2)
    [array] = cluster.submit(make_spec(array_size=5))
    elements = [element_key(array, index) for index in range(2)]
    cluster.start(*elements)
    suspend(cluster, array)
    assert [command.key for command in told(cluster)] == elements
    assert cluster.state.tasks[array].state is TaskState.HELD
    resume(cluster, array)
    assert [type(command) for command in told(cluster)] == [ResumeTask, ResumeTask]
    assert cluster.state.tasks[array].state is TaskState.RUNNING


def test_ended_task_can_be_neither_suspended_nor_resumed() -> None:
    cluster = MachineCluster(0)
    [key, other] = cluster.submit(count=2)
    cluster.cancel(key)
    for move in (suspend, resume):
        with pytest.raises(TaskHasEnded, match=format_task_id(key)):
            move(cluster, other, key)
    assert cluster.state.tasks[other].state is TaskState.QUEUED


@pytest.mark.asyncio
async def test_restart_finds_every_stage_of_a_suspension(tmp_path: Path) -> None:
    cluster = MachineCluster(4)
    keys = [running(cluster, retry=Retry(2), node=f"n{number}") for number in range(4)]
    asked, stopped, going, lost = keys
    suspend(cluster, *keys)
    for key in (stopped, going, lost):
        report(cluster, ev.TaskSuspended, key)
    resume(cluster, going)
    cluster.connect(cluster.state.tasks[lost].node)
    store = await SchedulerStore.open(tmp_path / "db")
    try:
        counters = await store.begin_epoch()
        counters.revision = cluster.state.revision
        await store.persist(cluster.rows, counters, cluster.wall_ms)
        found = restore(await store.recover(cluster.wall_ms, 10, 100), cluster.now)
    finally:
        await store.close()
    for key in keys:
        before, after = cluster.state.tasks[key], found.tasks[key]
        assert (after.state, after.reason, after.node) == (before.state, before.reason, before.node)
        assert after.wants_suspension is before.wants_suspension
    assert [found.tasks[key].wants_suspension for key in keys] == [True, True, False, False]
    assert [found.tasks[key].state.name for key in keys] == ["RUNNING", "SUSPENDED", "SUSPENDED", "HELD"]
    assert asked in found.cluster.nodes["n0"].expected
