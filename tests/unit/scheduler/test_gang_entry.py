"""Gangs that could never start are refused when they are submitted, and no others."""

from __future__ import annotations

import pytest

from services.chassis.errors import ServiceError
from services.scheduler.model import Quota, Spec
from services.scheduler.queues.shares import AccountSettings
from services.scheduler.scheduling import gang_entry
from services.scheduler.state import events as ev
from tests.support.scheduler_cluster import MachineCluster, make_spec

CPU_4 = (("cpu", 40_000),)


def refusal(cluster: MachineCluster, *specs: Spec, count: int = 1) -> str:
    """What the nodes say to a gang; empty: it may wait for room."""
    items = tuple((index, "") for index in range(len(specs))) * count
    try:
        gang_entry.check_placeable(cluster.state.cluster, specs, items)
    except ServiceError as error:
        assert error.reason == "CANNOT_BE_PLACED" and error.field == "specs[0].gang" and error.next_step
        return error.message
    return ""


def grant(cluster: MachineCluster, quota: Quota) -> None:
    paths = ("quota.limit", "quota.max_running")
    cluster.ask(ev.AccountChanged, "ada", paths, AccountSettings(quota=quota))


@pytest.mark.parametrize("quota", [Quota(limit=CPU_4), Quota(max_running=4)], ids=["limit", "count"])
def test_gang_beyond_its_quota_is_refused_and_one_at_it_is_not(quota: Quota) -> None:
    cluster = MachineCluster(nodes=2)
    grant(cluster, quota)
    with pytest.raises(ServiceError, match="5 tasks") as refused:
        cluster.submit(make_spec(array_size=5, gang="g"))
    assert (refused.value.reason, refused.value.field) == ("QUOTA_TOO_SMALL", "specs[0].gang")
    with pytest.raises(ServiceError, match="5 tasks"):
        cluster.submit_all(make_spec(b"a", array_size=3, gang="g"), make_spec(b"b", array_size=2, gang="g"))
    cluster.submit(make_spec(array_size=5, gang="g", gang_min=4))
    cluster.submit(make_spec(array_size=9))


def test_gang_beyond_its_cap_is_refused() -> None:
    cluster = MachineCluster(nodes=2)
    with pytest.raises(ServiceError, match="key licence") as refused:
        cluster.submit(make_spec(array_size=3, gang="g", caps=(("licence", 2),)))
    assert refused.value.field == "specs[0].concurrency_caps"


def test_members_of_one_kind_are_counted_node_by_node() -> None:
    """Two nodes of 4 cpu hold two tasks of 3 cpu, and three of 2.5 cpu are within their sum alone."""
    cluster = MachineCluster(nodes=2)
    assert not refusal(cluster, make_spec(cpu=3, array_size=2, gang="g"))
    assert "all nodes together have room for 2" in refusal(
        cluster, make_spec(cpu=2.5, array_size=3, gang="g")
    )
    assert not refusal(cluster, make_spec(cpu=2.5, array_size=3, gang="g", gang_min=2))
    assert refusal(cluster, make_spec(cpu=2, node="n0", gang="g"), count=3)


def test_members_on_nodes_of_their_own_need_as_many_nodes() -> None:
    cluster = MachineCluster(nodes=2)
    assert not refusal(cluster, make_spec(cpu=1, array_size=2, gang="g", is_distinct=True))
    assert "node of its own" in refusal(cluster, make_spec(cpu=1, array_size=3, gang="g", is_distinct=True))
    mixed = [make_spec(bytes([n]), cpu=1 + n, gang="g", is_distinct=True) for n in range(3)]
    assert "on 2 nodes" in refusal(cluster, *mixed)


def test_devices_are_counted_one_by_one() -> None:
    cluster = MachineCluster(nodes=0)
    cluster.connect("n0", gpus=("a", "b", "c"), custom={"gpu": 3})
    assert not refusal(cluster, make_spec(cpu=0.1, gpu=0.6, array_size=3, gang="g"))
    assert "room for 3" in refusal(cluster, make_spec(cpu=0.1, gpu=0.6, array_size=4, gang="g"))
    assert "room for 1" in refusal(cluster, make_spec(cpu=0.1, gpu=2, array_size=2, gang="g"))


def test_roles_are_compared_with_the_sum_of_their_nodes() -> None:
    cluster = MachineCluster(nodes=2)
    chief, worker = make_spec(b"chief", cpu=4, gang="g"), make_spec(b"worker", cpu=2, array_size=2, gang="g")
    assert not refusal(cluster, chief, worker)
    more = make_spec(b"worker", cpu=2, array_size=3, gang="g")
    assert "ask for 10 cpu; all nodes together have 8 cpu" in refusal(cluster, chief, more)


def test_nothing_is_refused_while_a_node_is_not_known() -> None:
    cluster = MachineCluster(nodes=1)
    cluster.state.cluster.nodes["n0"].capacity = {}
    assert not refusal(cluster, make_spec(array_size=100, gang="g"))
    assert not refusal(MachineCluster(nodes=0), make_spec(array_size=100, gang="g"))


def test_nodes_that_are_busy_cordoned_or_lost_count_for_they_come_back() -> None:
    cluster = MachineCluster(nodes=2)
    cluster.submit(make_spec(b"busy", cpu=4), 2)
    cluster.disconnect("n1", is_final=True)
    assert not refusal(cluster, make_spec(cpu=4, array_size=2, gang="g"))
