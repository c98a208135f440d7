"""What becomes of tasks whose node is silent, and which of two is kept when it is back (TaskSpec.disconnect)."""

from __future__ import annotations

import pytest

from services.agent.tasks.state import Settings
from services.scheduler.model import Cause, Disconnect, DisconnectMode, NodeState, Reconciliation, TaskState
from services.scheduler.nodes.pace import LEASE_MS
from services.scheduler.refusals import NodeHasTasks
from services.scheduler.state import events as ev
from services.scheduler.tasks.silence import SELF_STOP_MS
from services.scheduler.timers import LOSS_MARGIN_MS
from tests.support.scheduler_cluster import MachineCluster, make_spec, stops
from tests.support.scheduler_disk import Disk

S = TaskState
KEEP, STOP = DisconnectMode.KEEP, DisconnectMode.STOP
LOST_AFTER_MS = LEASE_MS + LOSS_MARGIN_MS + 1_000


def started(cluster: MachineCluster, **disconnect: object) -> tuple[int, ev.HeldTask, str, str]:
    """A running task, what its agent will say of it, its node and another one."""
    (key,) = cluster.submit(make_spec(disconnect=Disconnect(**disconnect)))  # type: ignore[arg-type]
    cluster.start(key, cluster.wall_ms)
    node = cluster.node_of(key)
    other = next(name for name in cluster.sessions if name != node)
    return key, cluster.held(key), node, other


# --- how long it is waited for


def test_kept_task_waits_for_its_node_however_long_and_goes_on_there() -> None:
    cluster = MachineCluster(nodes=2)
    key, held, node, _ = started(cluster, mode=KEEP)
    cluster.silence(node, milliseconds=3_600_000 // 8)
    assert cluster.state.cluster.nodes[node].state is NodeState.LOST
    assert (cluster.state_of(key), cluster.node_of(key)) == (S.RUNNING, node)
    assert cluster.task(key).reason.startswith("WAITING_FOR_NODE: ")
    assert cluster.connect(node, tasks=(held,)) == {key: "KEEP"}
    assert (cluster.task(key).attempt, cluster.task(key).reason) == (1, "")


def test_kept_task_goes_elsewhere_when_lost_after_is_over() -> None:
    cluster = MachineCluster(nodes=2)
    key, _, node, other = started(cluster, mode=KEEP, lost_after_ms=60_000)
    cluster.silence(node, milliseconds=60_000)
    assert cluster.node_of(key) == node
    cluster.pass_time(60_000 + LOSS_MARGIN_MS + 1_000 - 60_000, beating=[other])
    assert (cluster.node_of(key), cluster.task(key).attempt) == (other, 2)


def test_kept_task_that_is_cancelled_while_its_node_is_lost_ends_at_once() -> None:
    cluster = MachineCluster(nodes=2)
    key, held, node, _ = started(cluster, mode=KEEP)
    cluster.silence(node)
    with pytest.raises(NodeHasTasks):
        cluster.ask(ev.NodeForgotten, node)
    cluster.cancel(key)
    assert cluster.state_of(key) is S.CANCELLED
    assert cluster.connect(node, tasks=(held,)) == {key: "STOP"}


def test_kept_task_that_its_node_no_longer_has_is_tried_again() -> None:
    cluster = MachineCluster(nodes=2)
    key, _, node, _ = started(cluster, mode=KEEP)
    cluster.silence(node)
    cluster.connect(node)
    assert (cluster.state_of(key), cluster.task(key).attempt) == (S.ASSIGNED, 2)


def test_agent_that_says_goodbye_is_not_waited_for() -> None:
    cluster = MachineCluster(nodes=2)
    key, _, node, other = started(cluster, mode=KEEP)
    cluster.disconnect(node, is_final=True)
    assert cluster.node_of(key) == other


def test_strict_task_is_tried_again_only_when_its_agent_must_have_ended_it() -> None:  # promise 2
    cluster = MachineCluster(nodes=2)
    key, held, node, other = started(cluster, mode=STOP)
    cluster.silence(node, milliseconds=LOST_AFTER_MS)
    assert cluster.node_of(key) == node
    cluster.pass_time(SELF_STOP_MS - 2_000, beating=[other])
    assert cluster.node_of(key) == node
    cluster.pass_time(2_500, beating=[other])
    assert (cluster.node_of(key), cluster.task(key).attempt) == (other, 2)
    assert cluster.connect(node, tasks=(held,)) == {key: "STOP"}


def test_time_that_a_strict_task_is_given_covers_what_its_agent_needs() -> None:
    settings = Settings()
    assert settings.stop_grace_ms + settings.kill_margin_ms + 1_000 <= SELF_STOP_MS


def test_wait_goes_on_after_a_restart_of_the_scheduler() -> None:
    cluster, disk = MachineCluster(nodes=2), Disk()
    key, held, node, other = started(cluster, mode=KEEP)
    cluster.silence(node)
    disk.restart(cluster)
    cluster.connect(other)
    cluster.pass_time(60_000, beating=[other])
    assert (cluster.node_of(key), cluster.task(key).attempt) == (node, 1)
    assert cluster.connect(node, tasks=(held,)) == {key: "KEEP"}


# --- which of two


def replaced(cluster: MachineCluster, rule: Reconciliation) -> tuple[int, ev.HeldTask, str, str]:
    """A running task that was replaced, and whose replacement runs on the other node."""
    key, held, node, other = started(cluster, reconciliation=rule)
    cluster.silence(node)
    assert cluster.node_of(key) == other
    cluster.start(key, cluster.wall_ms)
    return key, held, node, other


def test_original_that_comes_back_before_a_replacement_began_goes_on() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    cluster.start(key)
    held = cluster.held(key)
    cluster.silence("n0")
    assert cluster.state_of(key) is S.QUEUED
    assert cluster.connect("n0", tasks=(held,)) == {key: "KEEP"}
    assert (cluster.state_of(key), cluster.task(key).attempt) == (S.RUNNING, 1)
    cluster.exit(key)
    assert (cluster.outcome(key).state, cluster.outcome(key).attempt) == (S.SUCCEEDED, 1)


def test_original_that_ended_before_a_replacement_began_is_the_outcome() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    cluster.start(key)
    ended = ev.HeldTask(key, 1, 1, False, cluster.exited(key, payload=b"done"))
    cluster.silence("n0")
    assert cluster.connect("n0", tasks=(ended,)) == {key: "FORGET"}
    assert cluster.outcome(key).payload == b"done"


def test_replacement_is_kept_unless_something_else_was_asked_for() -> None:
    cluster = MachineCluster(nodes=2)
    key, held, node, other = replaced(cluster, Reconciliation.KEEP_REPLACEMENT)
    assert cluster.connect(node, tasks=(held,)) == {key: "STOP"}
    assert (cluster.node_of(key), cluster.task(key).attempt) == (other, 2)
    assert cluster.connect(node, tasks=(held,)) == {key: "STOP"}


@pytest.mark.parametrize("rule", [Reconciliation.KEEP_ORIGINAL, Reconciliation.LONGEST_RUNNING])
def test_original_is_kept_where_it_was_asked_for_and_the_replacement_is_stopped(rule: Reconciliation) -> None:
    cluster = MachineCluster(nodes=2)
    key, held, node, other = replaced(cluster, rule)
    assert cluster.connect(node, tasks=(held,)) == {key: "KEEP"}
    (stop,) = stops(cluster.effects)
    assert (stop.key, stop.attempt, stop.cause) == (key, 2, Cause.CANCELLED)
    assert (cluster.node_of(key), cluster.task(key).attempt) == (node, 1)
    # The replacement's own end is no news of the task any more.
    cluster.report(other, ev.TaskExited(key, 2, 1, Cause.CANCELLED, b"", 1, 2))
    assert cluster.state_of(key) is S.RUNNING
    cluster.exit(key, payload=b"first")
    assert (cluster.outcome(key).attempt, cluster.outcome(key).payload) == (1, b"first")


def test_attempt_after_a_kept_original_has_a_number_of_its_own() -> None:
    cluster, disk = MachineCluster(nodes=2), Disk()
    key, held, node, _ = replaced(cluster, Reconciliation.KEEP_ORIGINAL)
    cluster.connect(node, tasks=(held,))
    disk.restart(cluster)
    cluster.connect(node)
    cluster.connect(next(name for name in cluster.sessions if name != node))
    assert cluster.task(key).attempt == 3


def test_less_occupied_node_is_kept() -> None:
    for busy, kept in ((0.0, 1), (3.0, 2)):
        cluster = MachineCluster(nodes=2)
        key, held, node, _ = replaced(cluster, Reconciliation.BEST_SCORE)
        cluster.state.cluster.nodes[node].measured = {"cpu": int(busy * 10_000)}
        cluster.connect(node, tasks=(held,))
        assert cluster.task(key).attempt == kept


def test_original_that_failed_does_not_replace_a_replacement() -> None:
    cluster = MachineCluster(nodes=2)
    key, held, node, _ = replaced(cluster, Reconciliation.KEEP_ORIGINAL)
    failed = ev.TaskExited(key, held.attempt, held.epoch, Cause.EXIT, b"")
    assert cluster.connect(node, tasks=(ev.HeldTask(key, 1, held.epoch, False, failed),)) == {key: "FORGET"}
    assert cluster.task(key).attempt == 2


def test_original_comes_back_to_a_scheduler_that_restarted_meanwhile() -> None:
    cluster, disk = MachineCluster(nodes=2), Disk()
    key, held, node, other = replaced(cluster, Reconciliation.KEEP_ORIGINAL)
    replacement = cluster.held(key)
    disk.restart(cluster)
    assert cluster.connect(other, tasks=(replacement,)) == {key: "KEEP"}
    assert cluster.connect(node, tasks=(held,)) == {key: "KEEP"}
    assert [(stop.key, stop.attempt) for stop in stops(cluster.effects)] == [(key, 2)]


def test_decision_for_the_replacement_holds_after_a_restart() -> None:
    """The original is ending by then: to take it back would be to lose the task's work twice."""
    cluster, disk = MachineCluster(nodes=2), Disk()
    key, held, node, other = replaced(cluster, Reconciliation.BEST_SCORE)
    cluster.state.cluster.nodes[node].measured = {"cpu": 40_000}
    assert cluster.connect(node, tasks=(held,)) == {key: "STOP"}
    replacement = cluster.held(key)
    disk.restart(cluster)
    cluster.connect(other, tasks=(replacement,))
    assert cluster.connect(node, tasks=(held,)) == {key: "STOP"}


def test_replacement_that_ended_first_is_the_outcome() -> None:
    cluster = MachineCluster(nodes=2)
    key, held, node, _ = replaced(cluster, Reconciliation.KEEP_ORIGINAL)
    cluster.exit(key)
    assert cluster.connect(node, tasks=(held,)) == {key: "STOP"}
    assert cluster.outcome(key).attempt == 2


def test_held_task_does_not_go_on_with_its_original() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    cluster.start(key)
    held = cluster.held(key)
    cluster.silence("n0")
    cluster.hold(key)
    assert cluster.connect("n0", tasks=(held,)) == {key: "STOP"}
    assert cluster.state_of(key) is S.HELD
