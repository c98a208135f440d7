"""Preemption: off unless both sides ask; the fewest make room, wait again uncounted, and nobody takes that room."""

from __future__ import annotations

from services.scheduler.model import Cause, Quota, TaskState
from services.scheduler.queues.shares import AccountSettings
from services.scheduler.state import events as ev
from services.scheduler.state.effects import RecordChange
from tests.support.scheduler_cluster import MachineCluster, make_spec, stops


def victims_of(cluster: MachineCluster) -> list[int]:
    return sorted(stop.key for stop in stops(cluster.effects))


def run(cluster: MachineCluster, count: int = 1, **spec: object) -> list[int]:
    keys = cluster.submit(make_spec(b"low", **spec), count)  # type: ignore[arg-type]
    for key in keys:
        cluster.start(key)
    return keys


def test_head_gets_the_room_of_the_fewest_that_may_be_interrupted() -> None:
    cluster = MachineCluster(nodes=2)
    many = run(cluster, 4, cpu=1, node="n0", preemptible=True)
    few = run(cluster, 2, cpu=2, node="n1", preemptible=True, signal="SIGUSR1")
    (head,) = cluster.submit(make_spec(b"head", cpu=2, priority=1, preempts=True))
    (other,) = cluster.submit(make_spec(b"other", cpu=1))
    cluster.tick()
    (stop,) = stops(cluster.effects)
    assert stop.key in few
    assert (stop.cause, stop.grace_ms, stop.signal) == (Cause.PREEMPTED, 30_000, "SIGUSR1")
    assert stop.message == "it makes room for t-7"
    # One at a time.
    cluster.tick()
    assert not stops(cluster.effects)
    cluster.exit(stop.key, cause=Cause.PREEMPTED)
    assert cluster.node_of(head) == "n1"
    assert not cluster.node_of(other)
    task = cluster.task(stop.key)
    assert (task.state, task.failures, task.node) == (TaskState.QUEUED, 0, "")
    told = [r.detail for r in cluster.rows if isinstance(r, RecordChange) and r.task == stop.key]
    assert "PREEMPTED: asked to make room for t-7" in told
    # It has its place before those who came later.
    cluster.exit(head)
    assert cluster.node_of(stop.key) == "n1"
    assert many


def test_nobody_is_interrupted_unless_both_sides_ask_and_it_would_help() -> None:
    cluster = MachineCluster(nodes=1)
    run(cluster, 1, cpu=2, preemptible=True)
    run(cluster, 1, cpu=2)
    cluster.submit(make_spec(b"head", cpu=2, priority=1))
    cluster.submit(make_spec(b"whole", cpu=4, priority=2, preempts=True))
    cluster.submit(make_spec(b"equal", cpu=2, preempts=True))
    for _ in range(6):
        cluster.tick()
        assert not stops(cluster.effects)


def test_victim_that_ends_well_in_its_grace_has_succeeded() -> None:
    cluster = MachineCluster(nodes=1)
    (low,) = run(cluster, 1, cpu=4, preemptible=True)
    (head,) = cluster.submit(make_spec(b"head", cpu=4, priority=1, preempts=True))
    cluster.tick()
    assert victims_of(cluster) == [low]
    cluster.exit(low)
    assert cluster.state_of(low) is TaskState.SUCCEEDED
    assert cluster.node_of(head) == "n0"


def test_freed_room_is_kept_until_the_last_victim_has_ended() -> None:
    cluster = MachineCluster(nodes=1)
    low = run(cluster, 2, cpu=2, preemptible=True)
    (head,) = cluster.submit(make_spec(b"head", cpu=4, priority=1, preempts=True))
    cluster.tick()
    assert victims_of(cluster) == low
    (late,) = cluster.submit(make_spec(b"late", cpu=1))
    cluster.exit(low[0], cause=Cause.PREEMPTED)
    assert not cluster.node_of(late)
    assert not cluster.node_of(low[0])
    cluster.exit(low[1], cause=Cause.PREEMPTED)
    assert cluster.node_of(head) == "n0"


def test_devices_are_freed_whole() -> None:
    cluster = MachineCluster(nodes=0)
    cluster.connect("n0", cpu=8, gpus=("a", "b"))
    low = run(cluster, 2, cpu=1, gpu=1, preemptible=True)
    (head,) = cluster.submit(make_spec(b"head", cpu=1, gpu=1, priority=1, preempts=True))
    cluster.tick()
    (victim,) = victims_of(cluster)
    assert victim in low
    cluster.exit(victim, cause=Cause.PREEMPTED)
    assert cluster.node_of(head) == "n0"


def test_cancelled_head_lets_go_of_the_node() -> None:
    cluster = MachineCluster(nodes=1)
    (low,) = run(cluster, 1, cpu=4, preemptible=True)
    (head,) = cluster.submit(make_spec(b"head", cpu=4, priority=1, preempts=True))
    cluster.tick()
    cluster.cancel(head)
    cluster.exit(low, cause=Cause.PREEMPTED)
    cluster.tick()
    assert cluster.node_of(low) == "n0"
    assert not cluster.state.preemptions
    assert not cluster.state.held_nodes


def guarantee(cluster: MachineCluster, **cpu: int) -> None:
    for account, count in cpu.items():
        quota = Quota(guaranteed=(("cpu", count * 10_000),))
        cluster.ask(ev.AccountChanged, account, ("quota.guaranteed",), AccountSettings(quota=quota))


def test_head_within_its_guarantee_takes_room_from_those_who_borrow_until_they_borrow_no_more() -> None:
    cluster = MachineCluster(nodes=1)
    guarantee(cluster, ada=2, bob=2)
    borrowed = cluster.submit(make_spec(b"bob", account="bob", preemptible=True), 4, account="bob")
    for key in borrowed:
        cluster.start(key)
    # Of equal priority: the guarantee alone decides.
    heads = cluster.submit(make_spec(b"ada", preempts=True), 3)
    stopped: list[int] = []
    for _ in range(12):
        cluster.tick()
        for key in victims_of(cluster):
            stopped.append(key)
            cluster.exit(key, cause=Cause.PREEMPTED)
    assert [bool(cluster.node_of(key)) for key in heads] == [True, True, False]
    assert len(stopped) == 2
    # Who was interrupted borrows, and so does not take it back.
    cluster.pass_time(10_000, beating=["n0"])
    assert [bool(cluster.node_of(key)) for key in heads] == [True, True, False]


def test_head_that_would_take_what_is_guaranteed_to_others_waits() -> None:
    cluster = MachineCluster(nodes=1)
    guarantee(cluster, ada=4, bob=2)
    borrowed = cluster.submit(make_spec(b"bob", account="bob", preemptible=True), 3, account="bob")
    cluster.submit(make_spec(b"ada", cpu=3, preempts=True))
    for _ in range(6):
        cluster.tick()
        assert not stops(cluster.effects)
    assert all(cluster.node_of(key) for key in borrowed)
    (small,) = cluster.submit(make_spec(b"small", cpu=2, preempts=True, priority=1))
    cluster.tick()
    assert len(victims_of(cluster)) == 1
    cluster.exit(*victims_of(cluster), cause=Cause.PREEMPTED)
    assert cluster.node_of(small)
