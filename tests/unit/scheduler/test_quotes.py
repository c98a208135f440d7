"""Quotes: capacity that is kept for a submission, which then starts there for certain or is refused (S0.5)."""

from __future__ import annotations

import pytest

from services.scheduler.model import Cause, Retry, TaskState, element_key
from services.scheduler.records import recovery
from services.scheduler.records.rows import ChangeRow, Counters, Recovered, TaskRow
from services.scheduler.refusals import NoRoom, QuoteExpired, QuoteNotFound, QuoteTooSmall, TooManyQuotes
from services.scheduler.state import events as ev
from tests.support.scheduler_cluster import MachineCluster, make_shape, make_spec, starts


def wish(count: int = 1, *, is_distinct: bool = False, **shape: object) -> ev.QuoteWish:
    return ev.QuoteWish(make_shape(**shape), count, is_distinct)  # type: ignore[arg-type]


def reserved(cluster: MachineCluster, node: str = "n0") -> int:
    return cluster.state.cluster.nodes[node].reserved.get("cpu", 0) // 10_000


def test_submission_with_a_quote_starts_where_room_is_held_whoever_waits() -> None:  # S0.5
    cluster = MachineCluster(nodes=2)
    quote = cluster.quote(cpu=3, node="n1")
    assert [(room.node, room.amounts) for room in quote.rooms] == [("n1", (("cpu", 30_000),))]
    # Everybody else sees the node as full.
    cluster.submit(make_spec(cpu=2), 20)
    assert cluster.counts() == [2, 0]
    (key,) = cluster.submit(make_spec(cpu=3, quote=quote.id))
    assert cluster.task(key).node == "n1"
    assert [start.key for start in starts(cluster.effects)] == [key]
    assert reserved(cluster, "n1") == 3
    with pytest.raises(QuoteTooSmall, match="all of its rooms are in use"):
        cluster.submit(make_spec(b"again", cpu=3, quote=quote.id))


def test_quote_that_nobody_used_gives_its_room_back_after_its_time() -> None:
    cluster = MachineCluster()
    quote = cluster.quote(cpu=4, ttl_ms=2_000)
    (waits,) = cluster.submit(make_spec(cpu=1))
    cluster.tick(1_500)
    assert cluster.state_of(waits) is TaskState.QUEUED
    cluster.tick(500)
    assert cluster.node_of(waits) == "n0"
    assert reserved(cluster) == 1
    with pytest.raises(QuoteExpired, match=r"the capacity was held until .* UTC") as refused:
        cluster.submit(make_spec(quote=quote.id))
    assert "yard nodes quote" in refused.value.next_step


def test_quote_is_over_at_its_time_even_before_the_tick() -> None:
    cluster = MachineCluster()
    quote = cluster.quote(cpu=4, ttl_ms=2_000)
    cluster.turn(2_000)
    with pytest.raises(QuoteExpired):
        cluster.submit(make_spec(quote=quote.id))


def test_refused_submission_writes_nothing_and_leaves_the_quote_whole() -> None:
    cluster = MachineCluster(nodes=2)
    quote = cluster.quote(wish(2, cpu=2))
    rows = len(cluster.rows)
    for refused in (
        lambda: cluster.submit(make_spec(cpu=2, quote=quote.id), 3),
        lambda: cluster.submit(make_spec(cpu=3, quote=quote.id)),
        lambda: cluster.submit(make_spec(cpu=2, quote=quote.id, array_size=3)),
    ):
        with pytest.raises(QuoteTooSmall):
            refused()
    with pytest.raises(QuoteNotFound):
        cluster.submit(make_spec(cpu=1, quote=quote.id), account="eve")
    with pytest.raises(QuoteNotFound, match="forgets quotes when it restarts"):
        cluster.submit(make_spec(cpu=1, quote="q-never"))
    assert len(cluster.rows) == rows
    keys = cluster.submit(make_spec(cpu=2, quote=quote.id), 2)
    assert sorted(cluster.node_of(key) for key in keys) == ["n0", "n1"]


def test_rooms_are_all_or_none_and_the_refusal_says_why_node_by_node() -> None:
    cluster = MachineCluster(nodes=2)
    cluster.ask(ev.NodeCordoned, "n1", True)
    with pytest.raises(NoRoom) as refused:
        cluster.quote(wish(5, cpu=1))
    assert "room for 4 of 5 tasks was found" in refused.value.message
    assert refused.value.metadata == {"node.n0": "NOT_ENOUGH", "node.n1": "CORDONED"}
    assert reserved(cluster) == 0
    with pytest.raises(NoRoom, match="n0: DISTINCT_NODES"):
        cluster.quote(wish(2, is_distinct=True, cpu=1))
    assert reserved(cluster) == 0


def test_distinct_rooms_are_on_nodes_of_their_own() -> None:
    cluster = MachineCluster(nodes=3)
    quote = cluster.quote(wish(3, is_distinct=True, cpu=1))
    assert sorted(room.node for room in quote.rooms) == ["n0", "n1", "n2"]


def test_array_takes_a_room_for_each_element() -> None:
    cluster = MachineCluster(nodes=2)
    quote = cluster.quote(wish(4, cpu=2))
    (array,) = cluster.submit(make_spec(cpu=2, array_size=4, quote=quote.id))
    assert all(cluster.node_of(element_key(array, index)) for index in range(4))
    for index in range(4):
        cluster.exit(element_key(array, index))
    assert cluster.state_of(array) is TaskState.SUCCEEDED


def test_task_smaller_than_its_room_gives_the_rest_back() -> None:
    cluster = MachineCluster()
    quote = cluster.quote(cpu=4)
    (waits,) = cluster.submit(make_spec(cpu=3))
    cluster.submit(make_spec(cpu=1, quote=quote.id))
    assert cluster.node_of(waits) == "n0"


def test_devices_that_were_held_are_those_that_the_task_gets() -> None:
    cluster = MachineCluster(nodes=0)
    cluster.connect("n0", gpus=("a", "b", "c"))
    cluster.submit(make_spec(gpu=1))
    quote = cluster.quote(gpu=2)
    assert quote.rooms[0].devices == ("b", "c")
    cluster.submit(make_spec(b"small", gpu=0.5, quote=quote.id))
    (start,) = starts(cluster.effects)
    assert start.devices == ("b",)


def test_renewed_quote_lasts_longer_and_a_deleted_one_is_free_at_once() -> None:
    cluster = MachineCluster()
    quote = cluster.quote(cpu=4, ttl_ms=2_000)
    cluster.tick(1_500)
    cluster.ask(ev.QuoteRenewed, "ada", quote.id, 2_000)
    cluster.tick(1_500)
    assert reserved(cluster) == 4
    with pytest.raises(QuoteNotFound):
        cluster.ask(ev.QuoteDeleted, "eve", quote.id)
    cluster.ask(ev.QuoteDeleted, "ada", quote.id)
    assert reserved(cluster) == 0
    cluster.ask(ev.QuoteDeleted, "ada", quote.id)
    with pytest.raises(QuoteExpired, match="given back"):
        cluster.ask(ev.QuoteRenewed, "ada", quote.id, 2_000)


def test_account_cannot_hold_more_rooms_than_the_most() -> None:
    cluster = MachineCluster()
    with pytest.raises(TooManyQuotes):
        cluster.quote(wish(10_001, cpu=0))


def test_lost_node_takes_its_rooms_along_and_the_refusal_says_so() -> None:
    cluster = MachineCluster(nodes=2)
    quote = cluster.quote(wish(2, is_distinct=True, cpu=2))
    cluster.disconnect("n1", is_final=True)
    with pytest.raises(QuoteTooSmall, match="one on n1 was lost"):
        cluster.submit(make_spec(cpu=2, quote=quote.id), 2)
    cluster.submit(make_spec(cpu=2, quote=quote.id))


def test_node_that_takes_no_work_refuses_and_keeps_the_room() -> None:
    cluster = MachineCluster()
    quote = cluster.quote(cpu=2)
    cluster.disconnect("n0")
    with pytest.raises(QuoteTooSmall):
        cluster.submit(make_spec(cpu=2, quote=quote.id))
    cluster.connect("n0")
    assert reserved(cluster) == 2
    cluster.submit(make_spec(cpu=2, quote=quote.id))


def test_node_that_comes_back_smaller_keeps_what_runs_and_loses_the_room() -> None:
    cluster = MachineCluster()
    (runs,) = cluster.submit(make_spec(cpu=2))
    cluster.start(runs)
    quote = cluster.quote(cpu=2)
    cluster.connect("n0", cpu=3, tasks=(cluster.held(runs),))
    assert reserved(cluster) == 2
    with pytest.raises(QuoteTooSmall, match="came back with less room"):
        cluster.submit(make_spec(cpu=2, quote=quote.id))


def test_nothing_waits_at_an_agent_that_holds_room_for_a_quote() -> None:
    cluster = MachineCluster(nodes=0)
    cluster.connect("n0", cpu=2)
    keys = cluster.submit(make_spec(cpu=1), 40)
    cluster.exit(keys[0], run_ms=1)
    assert cluster.state.cluster.nodes["n0"].prefilled
    with pytest.raises(NoRoom, match="NOT_ENOUGH"):
        cluster.quote(cpu=1)
    other = MachineCluster(nodes=0)
    other.connect("n0", cpu=2)
    other.quote(cpu=1)
    keys = other.submit(make_spec(cpu=1), 40)
    other.exit(keys[0], run_ms=1)
    assert not other.state.cluster.nodes["n0"].prefilled


def test_retry_of_a_quoted_task_waits_for_its_own_node_after_a_restart_too() -> None:
    cluster = MachineCluster(nodes=2)
    quote = cluster.quote(cpu=3, node="n1")
    spec = make_spec(cpu=3, quote=quote.id, retry=Retry(3))
    (key,) = cluster.submit(spec)
    cluster.exit(key, cause=Cause.EXIT)
    assert (cluster.node_of(key), cluster.task(key).attempt) == ("n1", 2)
    spec = cluster.task(key).spec
    changes = [
        ChangeRow(
            r.revision, r.state, r.attempt, r.epoch, r.node, r.time_ms, r.start_ms, r.cause, r.detail, b""
        )
        for r in cluster.rows
        if getattr(r, "task", 0) == key
    ]
    recovered = Recovered(
        Counters(1, 9, 99, 9), [spec], {spec.number: "ada"}, [TaskRow(key, spec.number, "ada", "", 1, 1)],
        {key: changes}, {}, [], False, [], [],
    )  # fmt: skip
    assert recovery.restore(recovered, cluster.now).tasks[key].queue.shape.node == "n1"
