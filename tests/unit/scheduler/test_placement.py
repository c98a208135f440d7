"""Which node gets a task: occupancy over windows, pins, labels, policies, devices; and the burst."""

from __future__ import annotations

from services.scheduler.model import Policy, TaskState
from services.scheduler.placement import occupancy
from services.scheduler.placement.cluster import Node
from services.scheduler.resources import Devices, amounts, describe, natural
from services.scheduler.scheduling.explain import explain, judge
from services.scheduler.state import events as ev
from tests.support.scheduler_cluster import MachineCluster, make_shape, make_spec, starts

S = TaskState


def test_least_loaded_of_two_nodes_gets_the_task() -> None:  # S0.3
    cluster = MachineCluster(nodes=2)
    cluster.beat("n0", cpu=3)
    cluster.beat("n1", cpu=1)
    (key,) = cluster.submit()
    assert cluster.node_of(key) == "n1"


def test_least_loaded_compares_the_worst_resource() -> None:  # S0.3
    cluster = MachineCluster(nodes=2)
    cluster.beat("n0", cpu=1, memory=(1 << 30) * 0.9)
    cluster.beat("n1", cpu=3)
    (key,) = cluster.submit()
    assert cluster.node_of(key) == "n1"


def test_least_loaded_counts_what_is_promised_and_not_yet_measured() -> None:  # S0.3
    cluster = MachineCluster(nodes=2)
    first, second = cluster.submit(count=2)
    assert {cluster.node_of(first), cluster.node_of(second)} == {"n0", "n1"}


def test_placement_uses_the_figures_of_its_window() -> None:  # S0.4
    cluster = MachineCluster(nodes=2)
    for node, long, short in (("n0", 10_000, 40_000), ("n1", 30_000, 0)):
        windows = {1: {"cpu": short}, 10: {"cpu": long}, 60: {"cpu": short}}
        cluster.step(ev.BeatReceived(node, cluster.sessions[node], 1, 0, windows))
    (key,) = cluster.submit()
    assert occupancy.PLACEMENT_WINDOW_S == 10
    assert cluster.node_of(key) == "n0"


def test_commands_that_have_ended_since_the_beat_count_no_more() -> None:  # S0.4
    cluster = MachineCluster(nodes=2, cpu=10)
    (long,) = cluster.submit(make_spec(cpu=5, node="n1"))
    for _ in range(20):
        (short,) = cluster.submit(make_spec(cpu=1, node="n0"))
        cluster.exit(short, run_ms=1)
    (key,) = cluster.submit()
    assert cluster.node_of(long) == "n1"
    assert cluster.node_of(key) == "n0"


# --- the burst


NODES = 10
TASKS = 1_000


def _old_figures(cluster: MachineCluster) -> None:
    """Five seconds ago n0 … n9 were nearly idle, each a little busier than the one before."""
    for number in range(NODES):
        cluster.beat(f"n{number}", cpu=0.1 * number)
    cluster.turn(5_000)


def test_burst_with_old_figures_spreads_evenly() -> None:  # S0.3 S0.4
    cluster = MachineCluster(nodes=NODES, cpu=1_000)
    _old_figures(cluster)
    cluster.submit(count=TASKS)
    counts = cluster.counts()
    assert sum(counts) == TASKS
    assert max(counts) - min(counts) <= 2


def test_burst_in_many_steps_with_beats_that_cannot_show_it_yet_spreads_evenly() -> None:  # S0.3 S0.4
    cluster = MachineCluster(nodes=NODES, cpu=1_000)
    _old_figures(cluster)
    for _ in range(TASKS // 20):
        cluster.submit(count=20)
        for number in range(NODES):
            cluster.beat(f"n{number}", as_of=0, cpu=0.1 * number)
    counts = cluster.counts()
    assert max(counts) - min(counts) <= 2


def test_burst_by_the_naive_rule_piles_up() -> None:
    """The rule that looks only at what was measured fails the very test that placement passes."""
    cluster = MachineCluster(nodes=NODES, cpu=1_000)
    _old_figures(cluster)
    counts = dict.fromkeys(cluster.state.cluster.nodes, 0)

    def naive(node: Node) -> float:
        return node.measured.get("cpu", 0) / node.capacity["cpu"]

    for _ in range(TASKS):
        chosen = min(cluster.state.cluster.nodes.values(), key=naive)
        counts[chosen.id] += 1
    assert max(counts.values()) - min(counts.values()) > 2


# --- where it may go


def test_pinned_task_goes_to_its_node_however_busy() -> None:  # S0.2 S0.5
    cluster = MachineCluster(nodes=3)
    cluster.beat("n2", cpu=3.9)
    (key,) = cluster.submit(make_spec(node="n2"))
    assert cluster.node_of(key) == "n2"


def test_pinned_task_waits_for_its_node() -> None:  # S0.5
    cluster = MachineCluster(nodes=2, cpu=1)
    first, second = cluster.submit(make_spec(node="n0"), count=2)
    assert (cluster.node_of(first), cluster.state_of(second)) == ("n0", S.QUEUED)


def test_labels_must_all_match() -> None:  # S0.2
    cluster = MachineCluster(nodes=0)
    cluster.connect("n0", labels={"zone": "a"})
    cluster.connect("n1", labels={"zone": "a", "disk": "ssd"})
    (key,) = cluster.submit(make_spec(labels={"zone": "a", "disk": "ssd"}))
    assert cluster.node_of(key) == "n1"


def test_operator_goes_only_where_it_is_offered() -> None:  # S0.2
    cluster = MachineCluster(nodes=0)
    cluster.connect("n0", operators=["other"])
    cluster.connect("n1", operators=["echo"])
    (key,) = cluster.submit(make_spec(operator="echo"))
    assert cluster.node_of(key) == "n1"


def test_binpack_fills_the_fullest_node_that_fits() -> None:
    cluster = MachineCluster(nodes=3, cpu=4)
    keys = cluster.submit(make_spec(policy=Policy.BINPACK), count=8)
    assert sorted(cluster.counts()) == [0, 4, 4]
    assert len({cluster.node_of(key) for key in keys[:4]}) == 1


def test_spread_goes_to_the_node_with_the_fewest_tasks() -> None:
    cluster = MachineCluster(nodes=3, cpu=100)
    cluster.submit(make_spec(cpu=50, node="n0"))
    keys = cluster.submit(make_spec(cpu=0.1, policy=Policy.SPREAD), count=5)
    assert cluster.counts() == [2, 2, 2]
    assert [cluster.node_of(key) for key in keys[:2]] == ["n1", "n2"]


# --- devices and custom resources


def test_shares_of_a_device_fill_one_device_before_the_next() -> None:
    cluster = MachineCluster(cpu=10, gpus=("0", "1"))
    keys = cluster.submit(make_spec(gpu=0.5), count=3)
    assert [cluster.task(key).devices for key in keys] == [(0,), (0,), (1,)]


def test_whole_devices_are_never_shared() -> None:
    cluster = MachineCluster(cpu=10, gpus=("0", "1", "2"))
    (share,) = cluster.submit(make_spec(gpu=0.25))
    (pair,) = cluster.submit(make_spec(gpu=2))
    (third,) = cluster.submit(make_spec(gpu=1))
    assert cluster.task(share).devices == (0,)
    assert cluster.task(pair).devices == (1, 2)
    assert cluster.state_of(third) is S.QUEUED
    cluster.exit(share)
    assert cluster.task(third).devices == (0,)


def test_start_names_the_devices() -> None:
    cluster = MachineCluster(gpus=("GPU-a", "GPU-b"))
    cluster.submit(make_spec(gpu=2))
    (start,) = starts(cluster.effects)
    assert start.devices == ("GPU-a", "GPU-b")


def test_shares_that_fit_in_sum_but_on_no_one_device_wait_and_explain_says_so() -> None:
    cluster = MachineCluster(cpu=10, gpus=("0", "1"))
    cluster.submit(make_spec(gpu=0.6), count=2)
    (key,) = cluster.submit(make_spec(gpu=0.5))
    assert cluster.state_of(key) is S.QUEUED
    (verdict,) = explain(cluster.state, cluster.task(key), cluster.now).nodes
    assert (verdict.reason, verdict.fits) == ("NOT_ENOUGH", False)
    assert "no one device" in verdict.message


def test_devices_choose_the_fullest_that_still_has_the_share() -> None:
    devices = Devices(("0", "1"))
    devices.take((1,), 6_000)
    assert devices.choose(4_000) == (1,)
    assert devices.choose(5_000) == (0,)
    assert devices.choose(20_000) is None


def test_custom_resource_is_counted() -> None:
    cluster = MachineCluster(nodes=0)
    cluster.connect("n0", custom={"license": 2})
    keys = cluster.submit(make_spec(license=1), count=3)
    assert [cluster.state_of(key) for key in keys] == [S.ASSIGNED, S.ASSIGNED, S.QUEUED]


def test_amounts_are_exact_to_a_ten_thousandth() -> None:
    cluster = MachineCluster(cpu=1)
    cluster.submit(make_spec(cpu=0.0001), count=10_000)
    assert cluster.counts() == [10_000]
    (over,) = cluster.submit(make_spec(cpu=0.0001))
    assert cluster.state_of(over) is S.QUEUED


def test_amounts_are_said_in_units_people_use() -> None:
    assert amounts({"cpu": 1.5, "memory": 10, "gpu": 0}) == (("cpu", 15_000), ("memory", 10))
    assert natural("cpu", 15_000) == 1.5
    assert [describe("cpu", 15_000), describe("memory", 1 << 29), describe("memory", 3 << 30)] == [
        "1.5 cpu",
        "512 MiB memory",
        "3 GiB memory",
    ]


# --- explain


def test_explain_names_a_reason_for_every_node() -> None:
    cluster = MachineCluster(nodes=0)
    cluster.connect("away", cpu=4)
    cluster.disconnect("away")
    cluster.connect("small", cpu=1)
    cluster.connect("unlabelled", cpu=4)
    cluster.connect("plain", cpu=4, labels={"zone": "a"})
    cluster.connect("fits", cpu=4, labels={"zone": "a"}, operators=["echo"])
    shape = make_shape(cpu=2, labels={"zone": "a"}, operator="echo")
    nodes = cluster.state.cluster.nodes
    assert {name: judge(node, shape).reason for name, node in nodes.items()} == {
        "away": "NOT_CONNECTED",
        "small": "LABELS",
        "unlabelled": "LABELS",
        "plain": "NO_OPERATOR",
        "fits": "FITS",
    }
    assert judge(nodes["small"], make_shape(cpu=2)).reason == "TOO_SMALL"
    assert judge(nodes["fits"], make_shape(node="small")).reason == "PINNED_ELSEWHERE"


def test_explain_of_a_waiting_task_says_why_how_far_and_what_to_do() -> None:
    cluster = MachineCluster(cpu=1)
    _, second, third = cluster.submit(count=3)
    found = explain(cluster.state, cluster.task(third), cluster.now)
    assert found.summary == "waiting: NOT_ENOUGH on 1 of 1 nodes"
    assert found.position == 1
    assert "running tasks end" in found.next_step
    cluster.cancel(second)
    assert explain(cluster.state, cluster.task(third), cluster.now).position == 0


def test_explain_without_nodes_says_to_add_one() -> None:
    cluster = MachineCluster(nodes=0)
    (key,) = cluster.submit()
    found = explain(cluster.state, cluster.task(key), cluster.now)
    assert (found.summary, found.next_step) == ("there is no node yet", "add a machine: yard nodes token")


def test_explain_of_held_placed_and_backing_off_tasks() -> None:
    cluster = MachineCluster()
    (placed,) = cluster.submit()
    (held,) = cluster.submit(make_spec(hold=True))
    assert explain(cluster.state, cluster.task(placed), cluster.now).summary == "assigned on n0, attempt 1"
    assert explain(cluster.state, cluster.task(held), cluster.now).summary.startswith("waiting: it is held")
