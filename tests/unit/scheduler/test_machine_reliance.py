"""Agents that beat and do not hear, and those that come and go: suspected, reset, held back."""

from __future__ import annotations

from services.scheduler.model import NodeState, TaskState
from services.scheduler.nodes.reliance import DEAF_MS, FIRST_HOLD_MS, MOST_TROUBLES, TROUBLE_MS
from services.scheduler.reading.views import node_detail
from services.scheduler.state import events as ev
from tests.support.scheduler_cluster import MachineCluster

S = TaskState


def state_of(cluster: MachineCluster, node: str = "n0") -> NodeState:
    return cluster.state.cluster.nodes[node].state


def go_deaf(cluster: MachineCluster, node: str = "n0") -> None:
    """Beats on and takes no command, for as long as that is borne."""
    for _ in range(0, DEAF_MS + 2_000, 2_000):
        if cluster.state.cluster.nodes[node].session:
            cluster.beat(node, as_of=0)
        cluster.tick(1_000)
        cluster.tick(1_000)


def flap(cluster: MachineCluster, times: int, node: str = "n0") -> None:
    for _ in range(times):
        cluster.disconnect(node)
        cluster.tick()
        cluster.connect(node, tasks=tuple(map(cluster.held, cluster.state.cluster.nodes[node].believed())))


def test_agent_that_beats_and_takes_no_commands_is_suspected_and_its_stream_is_reset() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    session = cluster.sessions["n0"]
    closed = []
    for _ in range(8):
        closed += cluster.beat("n0", as_of=0).closes if cluster.state.cluster.nodes["n0"].session else []
        cluster.tick(1_000)
        cluster.tick(1_000)
    assert [close.session for close in closed] == [session]
    assert state_of(cluster) is NodeState.SUSPECT
    assert "has not taken command 1" in node_detail(cluster.state.cluster.nodes["n0"])
    # Its lease is as long as ever: what it has is tried elsewhere only if it does not come back.
    assert cluster.node_of(key) == "n0"
    cluster.connect("n0", tasks=(cluster.held(key),))
    assert (state_of(cluster), cluster.task(key).attempt) == (NodeState.READY, 1)


def test_agent_that_acknowledges_late_but_in_time_is_left_alone() -> None:
    cluster = MachineCluster()
    for _ in range(10):
        cluster.submit()
        cluster.beat("n0", as_of=0)
        cluster.tick(1_500)
        node = cluster.state.cluster.nodes["n0"]
        cluster.step(ev.CommandsAcknowledged("n0", cluster.sessions["n0"], node.command))
    assert cluster.state.cluster.nodes["n0"].session


def test_agent_without_commands_is_never_deaf() -> None:
    cluster = MachineCluster()
    cluster.pass_time(60_000, beating=["n0"])
    assert state_of(cluster) is NodeState.READY


def test_agent_that_is_deaf_again_soon_is_held_back() -> None:
    cluster = MachineCluster(nodes=3)
    for _ in range(2):
        held = tuple(map(cluster.held, cluster.state.cluster.nodes["n0"].believed()))
        cluster.connect("n0", tasks=held)
        cluster.submit(count=3)
        go_deaf(cluster)
    cluster.connect("n0", tasks=tuple(map(cluster.held, cluster.state.cluster.nodes["n0"].believed())))
    assert state_of(cluster) is NodeState.HELD_BACK


def test_node_that_comes_and_goes_too_often_is_held_back_and_keeps_what_it_has() -> None:
    cluster = MachineCluster(nodes=3)
    keys = cluster.submit(count=3)
    mine = next(key for key in keys if cluster.node_of(key) == "n0")
    cluster.start(mine)
    flap(cluster, MOST_TROUBLES)
    assert state_of(cluster) is NodeState.HELD_BACK
    assert (cluster.state_of(mine), cluster.task(mine).attempt) == (S.RUNNING, 1)
    assert "until 20" in node_detail(cluster.state.cluster.nodes["n0"])
    assert all(cluster.node_of(key) != "n0" for key in cluster.submit(count=6))


def test_hold_ends_and_is_longer_the_next_time() -> None:
    cluster = MachineCluster(nodes=3)
    for factor in (1, 2, 4):
        flap(cluster, MOST_TROUBLES)
        cluster.pass_time(FIRST_HOLD_MS * factor - 1_000, beating=["n0", "n1", "n2"])
        assert state_of(cluster) is NodeState.HELD_BACK
        cluster.pass_time(2_000, beating=["n0", "n1", "n2"])
        assert state_of(cluster) is NodeState.READY


def test_uncordon_lifts_a_hold() -> None:
    cluster = MachineCluster(nodes=3)
    flap(cluster, MOST_TROUBLES)
    cluster.ask(ev.NodeCordoned, "n0", False)
    assert state_of(cluster) is NodeState.READY
    flap(cluster, MOST_TROUBLES - 1)
    assert state_of(cluster) is NodeState.READY


def test_few_losses_in_a_long_time_are_no_reason() -> None:
    cluster = MachineCluster(nodes=3)
    for _ in range(2 * MOST_TROUBLES):
        flap(cluster, 1)
        cluster.turn(2_000)
        cluster.pass_time(2 * TROUBLE_MS // MOST_TROUBLES, beating=["n0", "n1", "n2"])
    assert state_of(cluster) is NodeState.READY


def test_most_of_a_fleet_is_never_held_back() -> None:
    cluster = MachineCluster(nodes=5)
    for _ in range(MOST_TROUBLES + 2):
        for number in range(5):
            flap(cluster, 1, f"n{number}")
    held = [name for name in cluster.sessions if state_of(cluster, name) is NodeState.HELD_BACK]
    assert len(held) <= 2
