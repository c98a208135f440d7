"""Backfill behind a reserved head: a large task starts in spite of a stream of small ones, which fill the gap."""

from __future__ import annotations

from services.scheduler.model import TaskState, element_key
from services.scheduler.scheduling.explain import explain
from tests.support.scheduler_cluster import MachineCluster, make_spec


def stream(cluster: MachineCluster, keys: list[int]) -> list[int]:
    """Half a second passes: the task that has run for longest ends after two seconds, and more are submitted."""
    running = [key for key in keys if cluster.task(key).node]
    if running:
        cluster.exit(min(running, key=lambda key: cluster.task(key).assign_ms), run_ms=2_000)
    cluster.tick()
    live = [
        key for key in (*keys, *cluster.submit(make_spec(b"small", cpu=1), 2)) if key in cluster.state.tasks
    ]
    for key in live:
        if cluster.task(key).node and not cluster.task(key).start_ms:
            cluster.start(key)
    return live


def busy(cluster: MachineCluster) -> list[int]:
    """A node that runs small tasks, two seconds each, one ending every half second."""
    live: list[int] = []
    for _ in range(12):
        live = stream(cluster, live)
        cluster.beat("n0")
    return live


def test_task_that_needs_the_whole_node_starts_in_spite_of_an_endless_stream() -> None:
    cluster = MachineCluster(nodes=1)
    live = busy(cluster)
    (big,) = cluster.submit(make_spec(b"big", cpu=4, priority=1))
    told = set()
    for _ in range(40):
        live = stream(cluster, live)
        cluster.beat("n0")
        if cluster.task(big).node:
            break
        waiting = [key for key in live if not cluster.task(key).node]
        told |= {
            v.reason: v.message for v in explain(cluster.state, cluster.task(waiting[0]), cluster.now).nodes
        }.items()
    assert cluster.node_of(big) == "n0"
    messages = dict(told)
    assert "kept for" in messages["RESERVED"]
    assert "which goes first and is expected to start in" in messages["RESERVED"]


def test_without_waiting_for_long_nothing_is_kept() -> None:
    cluster = MachineCluster(nodes=1)
    busy(cluster)
    cluster.submit(make_spec(b"big", cpu=4, priority=1))
    cluster.tick(500)
    assert not cluster.state.held_nodes


def test_short_tasks_fill_the_gap_and_long_ones_stay_away() -> None:
    cluster = MachineCluster(nodes=1)
    (seen,) = cluster.submit(make_spec(b"short", cpu=1))
    cluster.start(seen)
    cluster.exit(seen, run_ms=1_000)
    (long,) = cluster.submit(make_spec(b"long", cpu=0.5))
    cluster.exit(long, run_ms=60_000)
    # Three cores are busy for a minute, one is free, and the head needs all four.
    runs = cluster.submit(make_spec(b"minute", cpu=3))
    cluster.exit(*runs, run_ms=60_000)
    (runs,) = [cluster.submit(make_spec(b"minute", cpu=3))]
    cluster.start(runs[0])
    (big,) = cluster.submit(make_spec(b"big", cpu=4, priority=1))
    cluster.pass_time(3_000, beating=["n0"])
    assert cluster.state.held_nodes == {"n0"}
    (short,) = cluster.submit(make_spec(b"short", cpu=1))
    assert cluster.node_of(short) == "n0"
    cluster.exit(short, run_ms=1_000)
    (late,) = cluster.submit(make_spec(b"long", cpu=0.5))
    assert cluster.state_of(late) is TaskState.QUEUED
    (urgent,) = cluster.submit(make_spec(b"urgent", cpu=0.5, priority=5))
    assert cluster.node_of(urgent) == "n0"
    cluster.exit(urgent)
    cluster.exit(runs[0], run_ms=60_000)
    assert cluster.node_of(big) == "n0"
    assert not cluster.node_of(late)
    cluster.exit(big)
    assert cluster.node_of(late) == "n0"


def test_what_fits_beside_is_admitted() -> None:
    cluster = MachineCluster(nodes=1)
    (run,) = cluster.submit(make_spec(b"minute", cpu=2))
    cluster.exit(run, run_ms=60_000)
    (run,) = cluster.submit(make_spec(b"minute", cpu=2))
    cluster.start(run)
    cluster.submit(make_spec(b"head", cpu=3, priority=1))
    cluster.pass_time(3_000, beating=["n0"])
    (beside, more) = cluster.submit(make_spec(b"unknown", cpu=1), 2)
    assert (cluster.node_of(beside), cluster.node_of(more)) == ("n0", "")


def test_cancelled_head_frees_the_node_for_others() -> None:
    cluster = MachineCluster(nodes=1)
    (run,) = cluster.submit(make_spec(b"minute", cpu=2))
    cluster.exit(run, run_ms=60_000)
    (run,) = cluster.submit(make_spec(b"minute", cpu=2))
    cluster.start(run)
    (head,) = cluster.submit(make_spec(b"head", cpu=4, priority=1))
    cluster.pass_time(3_000, beating=["n0"])
    (late,) = cluster.submit(make_spec(b"unknown", cpu=1))
    assert not cluster.node_of(late)
    cluster.cancel(head)
    cluster.tick()
    assert cluster.node_of(late) == "n0"
    assert not cluster.state.held_nodes


def test_gang_gets_its_nodes_kept_too() -> None:
    cluster = MachineCluster(nodes=2)
    for node in ("n0", "n1"):
        (run,) = cluster.submit(make_spec(b"minute", cpu=3, node=node))
        cluster.exit(run, run_ms=30_000)
    runs = [cluster.submit(make_spec(b"minute", cpu=3, node=node))[0] for node in ("n0", "n1")]
    for run in runs:
        cluster.start(run)
    (array,) = cluster.submit(make_spec(b"gang", gang="g", array_size=2, cpu=4, priority=1))
    cluster.pass_time(3_000, beating=["n0", "n1"])
    assert cluster.state.held_nodes == {"n0", "n1"}
    (late,) = cluster.submit(make_spec(b"unknown", cpu=1))
    cluster.exit(runs[0], run_ms=30_000)
    assert not cluster.node_of(late)
    cluster.exit(runs[1], run_ms=30_000)
    assert cluster.node_of(element_key(array, 0))
    assert cluster.node_of(element_key(array, 1))
