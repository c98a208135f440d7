"""Delivery at most once in the machine: a second start only where it is proved that the first did not happen."""

from __future__ import annotations

from services.scheduler.model import Cause, Retry, TaskState
from services.scheduler.state import events as ev
from tests.support.conduct import conduct_spec, submit_all
from tests.support.scheduler_cluster import MachineCluster, starts
from tests.support.scheduler_disk import Disk

S = TaskState


def once(cluster: MachineCluster, **spec: object) -> int:
    (key,) = submit_all(cluster, conduct_spec(is_at_most_once=True, **spec))
    return key


def test_task_of_a_lost_node_is_not_started_again() -> None:
    cluster = MachineCluster(nodes=2)
    key = once(cluster)
    effects = cluster.disconnect(cluster.node_of(key), is_final=True)
    outcome = cluster.outcome(key)
    assert (outcome.state, outcome.cause) == (S.FAILED, Cause.NODE_LOST)
    assert outcome.detail.endswith("; it may have run, and is started once at most")
    assert not starts(effects)


def test_task_that_the_agent_rejects_or_gives_back_is_started_again() -> None:
    cluster = MachineCluster()
    key = once(cluster)
    task = cluster.task(key)
    cluster.report("n0", ev.TaskRejected(key, task.attempt, task.epoch, "full"))
    cluster.pass_time(2_000, beating=["n0"])
    assert cluster.task(key).attempt == 2
    cluster.report("n0", ev.TaskRetracted(key, 2, task.epoch))
    assert cluster.task(key).attempt == 3


def test_task_that_never_reached_the_same_agent_process_is_started_again() -> None:
    cluster = MachineCluster()
    key = once(cluster)
    cluster.disconnect("n0")
    cluster.connect("n0")
    assert cluster.task(key).attempt == 2


def test_task_that_the_agent_had_acknowledged_and_does_not_have_is_not_started_again() -> None:
    cluster = MachineCluster()
    key = once(cluster)
    number = cluster.state.cluster.nodes["n0"].command
    cluster.step(ev.CommandsAcknowledged("n0", cluster.sessions["n0"], number))
    cluster.disconnect("n0")
    cluster.connect("n0")
    assert cluster.outcome(key).cause is Cause.NODE_LOST


def test_task_that_another_agent_process_does_not_have_is_not_started_again() -> None:
    cluster = MachineCluster()
    key = once(cluster)
    cluster.disconnect("n0")
    cluster.connect("n0", incarnation=2)
    assert cluster.outcome(key).cause is Cause.NODE_LOST


def test_task_that_an_earlier_hello_showed_is_known_to_have_arrived() -> None:
    cluster = MachineCluster()
    key = once(cluster)
    cluster.connect("n0", tasks=(cluster.held(key, is_running=False),))
    cluster.connect("n0")
    assert cluster.outcome(key).cause is Cause.NODE_LOST


def test_after_a_restart_of_the_scheduler_nothing_is_proved() -> None:
    cluster, disk = MachineCluster(), Disk()
    key = once(cluster)
    disk.restart(cluster)
    cluster.connect("n0")
    assert cluster.outcome(key).cause is Cause.NODE_LOST
    disk.connection.close()


def test_drained_task_is_started_again_only_if_it_had_not_started() -> None:
    cluster = MachineCluster(nodes=2)
    waiting, running = once(cluster), once(cluster)
    cluster.start(running)
    for key, start_ms in ((waiting, 0), (running, cluster.wall_ms)):
        task = cluster.task(key)
        report = ev.TaskExited(key, task.attempt, task.epoch, Cause.DRAINED, b"", start_ms, cluster.wall_ms)
        cluster.report(task.node, report)
    assert cluster.task(waiting).attempt == 2
    assert cluster.outcome(running).cause is Cause.DRAINED


def test_setup_that_failed_before_the_start_is_retried_and_after_it_is_not() -> None:
    cluster = MachineCluster()
    retry = Retry(3, on=frozenset({Cause.SETUP}))
    key = once(cluster, retry=retry)
    cluster.report("n0", ev.TaskExited(key, 1, 1, Cause.SETUP, b""))
    assert cluster.task(key).attempt == 2
    cluster.exit(key, cause=Cause.SETUP)
    assert cluster.outcome(key).cause is Cause.SETUP


def test_outcome_that_comes_late_from_a_replaced_attempt_is_dropped() -> None:
    cluster = MachineCluster(nodes=2)
    (key,) = cluster.submit()
    old = cluster.node_of(key)
    cluster.start(key)
    late = cluster.exited(key)
    cluster.step(ev.AgentDisconnected(old, cluster.sessions[old]))
    other = next(node for node in ("n0", "n1") if node != old)
    cluster.pass_time(30_000, beating=[other])
    assert cluster.task(key).node == other
    zombie = ev.HeldTask(key, late.attempt, late.epoch, False, late)
    assert cluster.connect(old, tasks=(zombie,)) == {key: "FORGET"}
    assert cluster.task(key).node == other
