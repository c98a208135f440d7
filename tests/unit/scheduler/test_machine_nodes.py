"""Nodes in the machine: hello and its verdicts, leases, stalls, drains, capacity. Invariants after each step."""

from __future__ import annotations

import pytest

from services.scheduler.model import Cause, NodeState, Retry, TaskState
from services.scheduler.nodes.pace import LEASE_MS
from services.scheduler.refusals import NodeNotFound
from services.scheduler.state import events as ev
from services.scheduler.state.effects import RecordNode
from services.scheduler.timers import BRAKE_MS, LOSS_MARGIN_MS
from tests.support.scheduler_cluster import MachineCluster, make_spec, stops

S = TaskState
LOST_AFTER_MS = LEASE_MS + LOSS_MARGIN_MS


def state_of(cluster: MachineCluster, node: str = "n0") -> NodeState:
    return cluster.state.cluster.nodes[node].state


# --- hello


def test_hello_of_a_new_node_is_recorded_once() -> None:
    cluster = MachineCluster(nodes=0)
    cluster.connect("n0")
    cluster.connect("n0")
    assert [row for row in cluster.rows if isinstance(row, RecordNode)] == [RecordNode("n0", False, (), 0)]


def test_hello_keeps_what_the_agent_goes_on_with() -> None:
    cluster = MachineCluster()
    running, assigned = cluster.submit(count=2)
    cluster.start(running, 5)
    held = (cluster.held(running), cluster.held(assigned, is_running=False))
    assert cluster.connect("n0", tasks=held) == {running: "KEEP", assigned: "KEEP"}
    assert cluster.counts() == [2]
    assert (cluster.task(running).attempt, cluster.task(running).start_ms) == (1, 5)


def test_hello_that_lacks_a_task_has_it_tried_again() -> None:
    cluster = MachineCluster(nodes=2)
    (key,) = cluster.submit()
    node = cluster.node_of(key)
    cluster.connect(node)
    assert (cluster.state_of(key), cluster.task(key).attempt, cluster.task(key).failures) == (
        S.ASSIGNED,
        2,
        0,
    )


def test_hello_with_an_outcome_is_accepted_once() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    ended = ev.HeldTask(key, 1, 1, False, cluster.exited(key, payload=b"done"))
    assert cluster.connect("n0", tasks=(ended,)) == {key: "FORGET"}
    assert cluster.outcome(key).payload == b"done"
    assert cluster.connect("n0", tasks=(ended,)) == {key: "FORGET"}
    assert cluster.outcome(key).state is S.SUCCEEDED


def test_hello_with_a_task_that_went_elsewhere_is_told_to_stop() -> None:
    cluster = MachineCluster(nodes=2)
    (key,) = cluster.submit()
    node = cluster.node_of(key)
    held = cluster.held(key)
    cluster.disconnect(node, is_final=True)
    assert cluster.connect(node, tasks=(held,)) == {key: "STOP"}
    assert cluster.task(key).attempt == 2


def test_hello_with_an_unknown_task_is_told_to_stop() -> None:
    cluster = MachineCluster()
    assert cluster.connect("n0", tasks=(ev.HeldTask(12345, 1, 1, True),)) == {12345: "STOP"}


def test_hello_that_names_a_task_twice_counts_it_once() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    held = cluster.held(key)
    cluster.connect("n0", tasks=(held, held))
    assert cluster.state.cluster.nodes["n0"].reserved["cpu"] == 10_000


def test_hello_enters_what_runs_before_what_waits() -> None:
    cluster = MachineCluster(cpu=1)
    keys = cluster.submit(count=4)
    cluster.exit(keys[0], run_ms=1)  # keys[1] runs, the others wait at the agent
    ended = cluster.exited(keys[1])
    held = (
        cluster.held(keys[2], is_running=False),
        cluster.held(keys[1], is_running=False, ended=ended),
        cluster.held(keys[3], is_running=True),
    )
    cluster.connect("n0", cpu=1, tasks=held)
    node = cluster.state.cluster.nodes["n0"]
    assert (set(node.tasks), list(node.prefilled)) == ({keys[3]}, [keys[2]])
    assert node.capacity["cpu"] == 10_000


def test_hello_of_a_smaller_machine_keeps_what_runs_and_shrinks_as_it_ends() -> None:
    cluster = MachineCluster(cpu=4)
    keys = cluster.submit(count=4)
    for key in keys:
        cluster.start(key)
    cluster.connect("n0", cpu=2, tasks=tuple(map(cluster.held, keys)))
    node = cluster.state.cluster.nodes["n0"]
    assert node.capacity["cpu"] == 40_000
    cluster.exit(keys[0], keys[1], keys[2])
    assert node.capacity["cpu"] == 20_000


def test_hello_of_an_older_process_is_turned_away() -> None:
    cluster = MachineCluster(nodes=0)
    cluster.connect("n0", incarnation=5)
    session = cluster.sessions["n0"]
    effects = cluster.step(cluster.hello("n0", incarnation=4))
    assert [close.session for close in effects.closes] == [session + 1]
    assert cluster.state.cluster.nodes["n0"].session == session


def test_hello_of_a_newer_process_closes_the_older_stream() -> None:
    cluster = MachineCluster()
    session = cluster.sessions["n0"]
    effects = cluster.step(cluster.hello("n0", incarnation=2))
    assert [close.session for close in effects.closes] == [session]


def test_late_end_of_a_replaced_stream_changes_nothing() -> None:
    cluster = MachineCluster()
    old = cluster.sessions["n0"]
    cluster.connect("n0")
    cluster.step(ev.AgentDisconnected("n0", old, True))
    assert state_of(cluster) is NodeState.READY


def test_devices_are_given_back_to_the_task_that_holds_them_after_hello() -> None:
    cluster = MachineCluster(nodes=1, gpus=("0", "1"))
    first, second = cluster.submit(make_spec(gpu=1), count=2)
    cluster.start(second)
    cluster.connect("n0", gpus=("0", "1"), tasks=(cluster.held(second),))
    assert cluster.task(second).devices == (1,)
    assert cluster.task(first).devices == (0,)


# --- silence


def test_node_that_is_silent_gets_no_work_and_is_believed_again_with_its_next_beat() -> None:
    cluster = MachineCluster()
    cluster.pass_time(7_000)
    assert state_of(cluster) is NodeState.SUSPECT
    (key,) = cluster.submit()
    assert cluster.state_of(key) is S.QUEUED
    cluster.beat("n0")
    assert state_of(cluster) is NodeState.READY
    assert cluster.state_of(key) is S.ASSIGNED


def test_node_whose_lease_is_over_is_lost_and_its_tasks_go_elsewhere() -> None:
    cluster = MachineCluster(nodes=2)
    (key,) = cluster.submit()
    silent = cluster.node_of(key)
    other = {"n0": "n1", "n1": "n0"}[silent]
    cluster.pass_time(LOST_AFTER_MS, beating=[other])
    assert cluster.node_of(key) == silent
    cluster.pass_time(1_000, beating=[other])
    assert state_of(cluster, silent) is NodeState.LOST
    assert (cluster.node_of(key), cluster.task(key).attempt, cluster.task(key).failures) == (other, 2, 0)


def test_node_that_beats_is_never_lost() -> None:
    cluster = MachineCluster()
    cluster.pass_time(3 * LOST_AFTER_MS, beating=["n0"])
    assert state_of(cluster) is NodeState.READY


def test_agent_that_breaks_its_stream_has_its_lease_to_come_back() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    cluster.start(key)
    cluster.disconnect("n0")
    cluster.pass_time(10_000)
    cluster.connect("n0", tasks=(cluster.held(key),))
    assert cluster.task(key).attempt == 1


def test_agent_that_says_goodbye_is_lost_at_once() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    cluster.disconnect("n0", is_final=True)
    assert state_of(cluster) is NodeState.LOST
    assert cluster.state_of(key) is S.QUEUED


def test_stalled_scheduler_loses_no_node() -> None:
    """The process was stopped for a minute (SIGSTOP, a paused virtual machine): no agent is to blame."""
    cluster = MachineCluster(nodes=5)
    keys = cluster.submit(count=5)
    nodes = list(cluster.sessions)
    cluster.pass_time(2_000, beating=nodes)
    cluster.tick(60_000)
    assert all(state_of(cluster, node) is NodeState.READY for node in nodes)
    cluster.pass_time(10_000, beating=nodes)
    assert [cluster.task(key).attempt for key in keys] == [1] * 5


def test_stalls_in_a_row_lose_no_node_either() -> None:
    cluster = MachineCluster()
    cluster.pass_time(2_000, beating=["n0"])
    for _ in range(5):
        cluster.tick(20_000)
    assert state_of(cluster) is not NodeState.LOST


def test_wall_clock_jump_loses_no_node() -> None:
    cluster = MachineCluster()
    cluster.pass_time(2_000, beating=["n0"])
    cluster.wall_ms += 3_600_000
    cluster.tick()
    cluster.wall_ms -= 7_200_000
    cluster.tick()
    assert state_of(cluster) is NodeState.READY


def test_many_nodes_silent_at_once_are_not_believed_lost_for_a_while() -> None:
    cluster = MachineCluster(nodes=10)
    keys = cluster.submit(count=10)
    cluster.pass_time(LOST_AFTER_MS + 10_000, beating=[f"n{i}" for i in range(5)])
    assert all(cluster.task(key).attempt == 1 for key in keys)
    cluster.pass_time(BRAKE_MS + 5_000, beating=[f"n{i}" for i in range(5)])
    assert {state_of(cluster, f"n{i}") for i in range(5, 10)} == {NodeState.LOST}
    assert all(cluster.node_of(key) in {f"n{i}" for i in range(5)} for key in keys)


def test_brake_lets_go_when_the_nodes_come_back() -> None:
    cluster = MachineCluster(nodes=10)
    cluster.submit(count=10)
    cluster.pass_time(LOST_AFTER_MS + 10_000, beating=[f"n{i}" for i in range(5)])
    for number in range(5, 10):
        cluster.beat(f"n{number}")
    cluster.pass_time(2_000, beating=list(cluster.sessions))
    assert cluster.state.brake_since_ms == 0


def test_few_nodes_silent_are_lost_in_time() -> None:
    cluster = MachineCluster(nodes=10)
    cluster.pass_time(LOST_AFTER_MS + 2_000, beating=[f"n{i}" for i in range(2, 10)])
    assert {state_of(cluster, f"n{i}") for i in range(2)} == {NodeState.LOST}


# --- cordon, drain, labels


def test_cordoned_node_gets_no_new_work_and_its_tasks_go_on() -> None:
    cluster = MachineCluster()
    (running,) = cluster.submit()
    cluster.ask(ev.NodeCordoned, "n0", True)
    (waiting,) = cluster.submit()
    assert (cluster.state_of(running), cluster.state_of(waiting)) == (S.ASSIGNED, S.QUEUED)
    cluster.ask(ev.NodeCordoned, "n0", False)
    assert cluster.state_of(waiting) is S.ASSIGNED


def test_cordon_outlasts_a_reconnection() -> None:
    cluster = MachineCluster()
    cluster.ask(ev.NodeCordoned, "n0", True)
    cluster.connect("n0", incarnation=2)
    assert state_of(cluster) is NodeState.CORDONED


@pytest.mark.parametrize(
    "event", [(ev.NodeCordoned, True), (ev.NodeDrainRequested, 1), (ev.NodeLabelled, {}, ())]
)
def test_unknown_node_is_refused(event: tuple[type[ev.Event], *tuple[object, ...]]) -> None:
    kind, *arguments = event
    with pytest.raises(NodeNotFound):
        MachineCluster().ask(kind, "nowhere", *arguments)


def test_drain_lets_tasks_end_until_its_time_is_over_and_then_moves_them() -> None:
    cluster = MachineCluster(nodes=2)
    (key,) = cluster.submit()
    node = cluster.node_of(key)
    cluster.ask(ev.NodeDrainRequested, node, 5_000)
    assert state_of(cluster, node) is NodeState.DRAINING
    cluster.tick(4_000)
    assert not stops(cluster.effects)
    cluster.tick(1_000)
    (stop,) = stops(cluster.effects)
    assert (stop.key, stop.cause) == (key, Cause.DRAINED)
    cluster.exit(key, cause=Cause.DRAINED)
    assert (cluster.task(key).attempt, cluster.task(key).failures) == (2, 0)
    assert cluster.node_of(key) != node


def test_uncordon_ends_a_drain_for_good() -> None:
    cluster = MachineCluster()
    cluster.submit()
    cluster.ask(ev.NodeDrainRequested, "n0", 5_000)
    cluster.ask(ev.NodeCordoned, "n0", False)
    cluster.tick(6_000)
    assert state_of(cluster) is NodeState.READY
    assert not stops(cluster.effects)


def test_drain_goes_on_after_a_reconnection() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit()
    cluster.ask(ev.NodeDrainRequested, "n0", 5_000)
    cluster.connect("n0", tasks=(cluster.held(key),))
    assert state_of(cluster) is NodeState.DRAINING
    cluster.tick(5_000)
    assert [stop.key for stop in stops(cluster.effects)] == [key]


def test_agent_that_wants_no_work_gets_none_until_it_starts_anew() -> None:
    cluster = MachineCluster()
    cluster.step(ev.AgentDrained("n0", cluster.sessions["n0"]))
    (key,) = cluster.submit()
    assert cluster.state_of(key) is S.QUEUED
    cluster.connect("n0", incarnation=2)
    assert cluster.state_of(key) is S.ASSIGNED


def test_labels_set_by_people_let_waiting_tasks_start_and_outlast_a_reconnection() -> None:
    cluster = MachineCluster(labels={"zone": "a", "disk": "old"})
    (key,) = cluster.submit(make_spec(labels={"zone": "b"}))
    assert cluster.state_of(key) is S.QUEUED
    cluster.ask(ev.NodeLabelled, "n0", {"zone": "b"}, ("disk",))
    assert cluster.state_of(key) is S.ASSIGNED
    cluster.connect("n0", labels={"zone": "a", "disk": "old"})
    assert cluster.state.cluster.nodes["n0"].labels == {"zone": "b"}


# --- capacity


def test_capacity_that_grows_lets_waiting_tasks_start() -> None:
    cluster = MachineCluster(cpu=1)
    _, waiting = cluster.submit(count=2)
    cluster.step(ev.CapacityChanged("n0", cluster.sessions["n0"], {"cpu": 20_000}))
    assert cluster.state_of(waiting) is S.ASSIGNED


def test_capacity_that_shrinks_under_running_tasks_takes_effect_as_they_end() -> None:
    cluster = MachineCluster(cpu=4)
    keys = cluster.submit(count=5)
    cluster.step(ev.CapacityChanged("n0", cluster.sessions["n0"], {"cpu": 10_000}))
    node = cluster.state.cluster.nodes["n0"]
    assert node.capacity["cpu"] == 40_000
    cluster.exit(keys[0])
    assert (node.capacity["cpu"], cluster.state_of(keys[4])) == (30_000, S.QUEUED)
    cluster.exit(*keys[1:4])
    assert (node.capacity["cpu"], cluster.state_of(keys[4])) == (10_000, S.ASSIGNED)


def test_node_lost_in_the_middle_of_retries_counts_no_failure() -> None:
    cluster = MachineCluster()
    (key,) = cluster.submit(make_spec(retry=Retry(2)))
    cluster.exit(key, cause=Cause.EXIT)
    cluster.disconnect("n0", is_final=True)
    cluster.connect("n0", incarnation=2)
    assert (cluster.task(key).attempt, cluster.task(key).failures) == (3, 1)
