"""Whether others' ends would let a gang be placed: answered by placement, on a cluster that stays as it is (S0.3)."""

from __future__ import annotations

from typing import Any

from services.scheduler.model import element_key
from services.scheduler.scheduling.clearing import would_fit
from tests.support.scheduler_cluster import MachineCluster, make_spec


def picture(cluster: MachineCluster) -> list[Any]:
    return [
        (
            dict(node.tasks),
            dict(node.reserved),
            dict(node.capacity),
            list(node.devices.left),
            dict(node.rooms),
        )
        for node in cluster.state.cluster.nodes.values()
    ]


def test_gang_would_fit_without_as_many_as_it_needs_and_nothing_has_changed() -> None:
    cluster = MachineCluster(nodes=2)
    first, second = cluster.submit(make_spec(cpu=4), 2)
    keys = cluster.submit(make_spec(b"g", gang="g", cpu=3), 2)
    before, gained = picture(cluster), dict(cluster.state.cluster.gained)
    task = cluster.state.tasks[keys[0]]
    assert not would_fit(cluster.state, task, [])
    assert not would_fit(cluster.state, task, [first])
    assert not would_fit(cluster.state, task, [first, first, 999])
    assert would_fit(cluster.state, task, [first, second])
    assert picture(cluster) == before and cluster.state.cluster.gained == gained
    assert not cluster.node_of(keys[0]) and cluster.node_of(first) and cluster.node_of(second)
    cluster.exit(first)
    cluster.exit(second)
    assert cluster.node_of(keys[0]) and cluster.node_of(keys[1])


def test_gang_of_an_array_that_waits_for_something_else_would_not_fit() -> None:
    cluster = MachineCluster(nodes=1)
    (blocker,) = cluster.submit(make_spec(cpu=4))
    held = cluster.submit_all(make_spec(b"a", gang="g", cpu=1), make_spec(b"b", gang="g", cpu=1, hold=True))
    assert not would_fit(cluster.state, cluster.state.tasks[held[0]], [blocker])
    (array,) = cluster.submit(make_spec(b"c", gang="h", cpu=2, array_size=2))
    task = cluster.state.tasks.get(element_key(array, 0)) or cluster.state.tasks[array]
    assert would_fit(cluster.state, task, [blocker])


def test_nodes_that_are_left_out_or_too_small_stay_so() -> None:
    cluster = MachineCluster(nodes=2)
    (blocker,) = cluster.submit(make_spec(cpu=4, node="n0"))
    (pinned,) = cluster.submit(make_spec(b"p", cpu=4, node="n0"))
    (large,) = cluster.submit(make_spec(b"l", cpu=40))
    assert would_fit(cluster.state, cluster.state.tasks[pinned], [blocker])
    assert not would_fit(cluster.state, cluster.state.tasks[large], [blocker])
    assert not would_fit(cluster.state, cluster.state.tasks[blocker], [blocker]), "it is placed"
