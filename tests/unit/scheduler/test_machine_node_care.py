"""What people do with nodes for longer: pools, drains that outlast a restart, nodes that are forgotten."""

from __future__ import annotations

import pytest

from services.scheduler.model import Cause, NodeState, TaskState
from services.scheduler.refusals import NodeHasTasks, NodeIsNotLost
from services.scheduler.scheduling.explain import judge
from services.scheduler.state import events as ev
from services.scheduler.state.effects import ForgetNode
from services.scheduler.timers import LOSS_MARGIN_MS
from tests.support.scheduler_cluster import MachineCluster, make_spec, stops
from tests.support.scheduler_disk import Disk

S = TaskState


def state_of(cluster: MachineCluster, node: str = "n0") -> NodeState:
    return cluster.state.cluster.nodes[node].state


# --- pools


def test_pooled_node_takes_only_tasks_that_name_its_pool() -> None:
    cluster = MachineCluster(nodes=0)
    cluster.connect("n0", labels={"pool": "fast"})
    cluster.connect("n1")
    plain = cluster.submit(count=3)
    pooled = cluster.submit(make_spec(pool="fast"), count=2)
    other = cluster.submit(make_spec(pool="slow"))
    pinned = cluster.submit(make_spec(node="n0"))
    assert {cluster.node_of(key) for key in plain} == {"n1"}
    assert {cluster.node_of(key) for key in pooled} == {"n0"}
    assert [cluster.state_of(key) for key in other + pinned] == [S.QUEUED, S.QUEUED]


def test_explain_names_the_pool_where_it_is_what_keeps_a_task_away() -> None:
    cluster = MachineCluster(nodes=0)
    cluster.connect("n0", labels={"pool": "fast"})
    node = cluster.state.cluster.nodes["n0"]
    verdict = judge(node, make_spec().shape)
    assert (verdict.fits, verdict.reason) == (False, "POOL")
    assert "only tasks of pool fast, the task names none" in verdict.message
    assert judge(node, make_spec(pool="fast").shape).fits


def test_node_that_is_put_into_a_pool_keeps_what_runs_and_takes_those_who_waited_for_it() -> None:
    cluster = MachineCluster()
    (running,) = cluster.submit()
    (waiting,) = cluster.submit(make_spec(pool="fast"))
    cluster.ask(ev.NodeLabelled, "n0", {"pool": "fast"}, ())
    (after,) = cluster.submit()
    assert [cluster.state_of(key) for key in (running, waiting, after)] == [S.ASSIGNED, S.ASSIGNED, S.QUEUED]
    cluster.ask(ev.NodeLabelled, "n0", {}, ("pool",))
    assert cluster.state_of(after) is S.ASSIGNED


# --- drain


def test_drain_ends_at_its_time_by_the_wall_clock_also_after_a_restart_of_the_scheduler() -> None:
    cluster, disk = MachineCluster(), Disk()
    (key,) = cluster.submit()
    cluster.start(key)
    held = cluster.held(key)
    cluster.ask(ev.NodeDrainRequested, "n0", 60_000)
    cluster.turn(50_000)
    disk.restart(cluster)
    # Its monotonic clock begins anew with the machine; only the wall clock goes on.
    cluster.monotonic_ms = 5_000
    cluster.connect("n0", tasks=(held,), incarnation=2)
    assert state_of(cluster) is NodeState.DRAINING
    cluster.tick(9_000)
    assert not stops(cluster.effects)
    cluster.tick(1_000)
    assert [(stop.key, stop.cause) for stop in stops(cluster.effects)] == [(key, Cause.DRAINED)]


def test_uncordon_after_a_restart_undoes_the_drain() -> None:
    cluster, disk = MachineCluster(), Disk()
    cluster.ask(ev.NodeDrainRequested, "n0", 60_000)
    cluster.ask(ev.NodeCordoned, "n0", False)
    disk.restart(cluster)
    cluster.connect("n0")
    assert state_of(cluster) is NodeState.READY


def test_order_to_end_is_repeated_while_anything_is_left_on_a_drained_node() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    cluster.ask(ev.NodeDrainRequested, "n0", 0)
    cluster.tick(500)
    assert [stop.key for stop in stops(cluster.effects)] == [key]
    cluster.tick(5_000)
    assert not stops(cluster.effects)
    cluster.beat("n0")
    cluster.tick(5_000)
    assert [stop.key for stop in stops(cluster.effects)] == [key]
    cluster.exit(key, cause=Cause.DRAINED)
    cluster.tick(20_000)
    assert not stops(cluster.effects)
    assert state_of(cluster) is NodeState.DRAINING


# --- forgetting


def test_lost_node_without_tasks_is_forgotten_for_good() -> None:
    cluster, disk = MachineCluster(nodes=2), Disk()
    cluster.disconnect("n0", is_final=True)
    cluster.ask(ev.NodeForgotten, "n0")
    assert ForgetNode("n0") in cluster.rows
    assert list(cluster.state.cluster.nodes) == ["n1"]
    disk.restart(cluster)
    assert list(cluster.state.cluster.nodes) == ["n1"]


def test_node_that_is_connected_or_may_come_back_is_not_forgotten() -> None:
    cluster = MachineCluster()
    with pytest.raises(NodeIsNotLost):
        cluster.ask(ev.NodeForgotten, "n0")
    cluster.disconnect("n0")
    with pytest.raises(NodeIsNotLost):
        cluster.ask(ev.NodeForgotten, "n0")


def test_node_that_a_waiting_task_is_pinned_to_is_not_forgotten() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit(make_spec(node="n0"))
    cluster.disconnect("n0", is_final=True)
    with pytest.raises(NodeHasTasks):
        cluster.ask(ev.NodeForgotten, "n0")
    cluster.cancel(key)
    cluster.ask(ev.NodeForgotten, "n0")


def test_node_of_a_forgotten_name_takes_work_as_a_new_one() -> None:
    cluster = MachineCluster(nodes=2)
    cluster.submit(count=4)
    cluster.disconnect("n0", is_final=True)
    cluster.ask(ev.NodeForgotten, "n0")
    cluster.submit(count=4)
    cluster.connect("n0")
    assert sum(cluster.counts()) == 8


def test_silence_long_enough_lets_a_node_be_forgotten() -> None:
    cluster = MachineCluster()
    cluster.disconnect("n0")
    cluster.pass_time(15_000 + LOSS_MARGIN_MS + 1_000)
    assert state_of(cluster) is NodeState.LOST
    cluster.ask(ev.NodeForgotten, "n0")
