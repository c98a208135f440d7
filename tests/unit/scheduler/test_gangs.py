"""Gangs: all start together or none does, whatever happens to members, nodes and the scheduler."""

from __future__ import annotations

import pytest

from services.scheduler.model import Cause, Retry, TaskState, element_key
from services.scheduler.refusals import InvalidSpec
from services.scheduler.scheduling import gathering
from services.scheduler.scheduling.explain import explain
from services.scheduler.state import events as ev
from services.scheduler.state.gangs import Phase
from tests.support.scheduler_cluster import MachineCluster, make_shape, make_spec, starts, stops


def gang(cluster: MachineCluster, count: int, name: str = "g", **spec: object) -> list[int]:
    return cluster.submit(make_spec(name.encode(), gang=name, **spec), count)  # type: ignore[arg-type]


def placed(cluster: MachineCluster, keys: list[int]) -> int:
    return sum(key in cluster.state.tasks and bool(cluster.node_of(key)) for key in keys)


def phase(cluster: MachineCluster, key: int) -> Phase:
    found = cluster.state.gangs.of(key)
    assert found is not None
    return found.phase


def test_members_start_in_one_step_or_none_does() -> None:
    cluster = MachineCluster(nodes=2)
    (blocker,) = cluster.submit(make_spec(cpu=3, node="n0"))
    keys = gang(cluster, 3, cpu=2)
    assert placed(cluster, keys) == 0
    assert [node.reserved["cpu"] for node in cluster.state.cluster.nodes.values() if node.reserved] == [
        30_000,
        0,
    ]
    # What the gang could not use is used by others meanwhile.
    (other,) = cluster.submit(make_spec(b"small", cpu=1))
    assert cluster.node_of(other)
    cluster.exit(other)
    cluster.exit(blocker)
    assert placed(cluster, keys) == 3
    assert len(starts(cluster.effects)) == 3


def test_gang_of_roles_starts_when_the_last_of_them_fits() -> None:
    cluster = MachineCluster(nodes=2)
    (big,) = cluster.submit(make_spec(cpu=4, node="n1"))
    keys = cluster.submit_all(
        make_spec(b"ps", gang="job", cpu=1),
        make_spec(b"worker", gang="job", cpu=2),
        make_spec(b"chief", gang="job", cpu=3),
    )
    assert placed(cluster, keys) == 0
    cluster.exit(big)
    assert placed(cluster, keys) == 3


def test_two_gangs_that_each_need_more_than_half_never_wait_for_each_other() -> None:
    cluster = MachineCluster(nodes=4, cpu=1)
    blockers = cluster.submit(make_spec(b"blocker", cpu=1), 4)
    first, second = gang(cluster, 3, "a", cpu=1), gang(cluster, 3, "b", cpu=1)
    for blocker in blockers:
        cluster.exit(blocker)
    assert (placed(cluster, first), placed(cluster, second)) == (3, 0)
    cluster.exit(*first)
    assert placed(cluster, second) == 3
    cluster.exit(*second)
    assert not cluster.state.tasks
    assert not cluster.state.gangs.by_unit


def test_array_starts_with_its_minimum_and_the_others_follow() -> None:
    cluster = MachineCluster(nodes=1)
    (blocker,) = cluster.submit(make_spec(cpu=2))
    (array,) = gang(cluster, 1, array_size=6, gang_min=3, cpu=1)
    elements = [element_key(array, index) for index in range(6)]
    assert placed(cluster, elements) == 0
    cluster.exit(blocker)
    assert placed(cluster, elements) == 4
    cluster.exit(elements[0])
    assert placed(cluster, elements) == 4
    cluster.exit(*elements[1:5])
    cluster.exit(elements[5])
    assert cluster.state_of(array) is TaskState.SUCCEEDED


def test_member_that_goes_back_takes_the_whole_gang_back_uncounted() -> None:
    cluster = MachineCluster(nodes=2)
    keys = gang(cluster, 4, cpu=2, retry=Retry(2))
    assert placed(cluster, keys) == 4
    effects = cluster.exit(keys[0], cause=Cause.EXIT)
    told = {stop.key for stop in stops(effects)}
    assert told == set(keys[1:])
    assert {stop.cause for stop in stops(effects)} == {Cause.GANG}
    assert phase(cluster, keys[0]) is Phase.DISSOLVING
    assert not cluster.node_of(keys[0])
    (gate,) = explain(cluster.state, cluster.task(keys[0]), cluster.now).gates
    assert (gate.reason, "3 of its members are still to stop" in gate.message) == ("GANG", True)
    # Nobody starts again before all are back.
    cluster.exit(keys[1], keys[2], cause=Cause.GANG)
    assert placed(cluster, keys) == 1
    cluster.exit(keys[3], cause=Cause.GANG)
    assert placed(cluster, keys) == 4
    assert [cluster.task(key).failures for key in keys] == [1, 0, 0, 0]
    assert [cluster.task(key).attempt for key in keys] == [2, 2, 2, 2]


def test_array_with_enough_elements_left_goes_on_without_one() -> None:
    cluster = MachineCluster(nodes=1)
    (array,) = gang(cluster, 1, array_size=4, gang_min=2, cpu=1, retry=Retry(3))
    elements = [element_key(array, index) for index in range(4)]
    effects = cluster.exit(elements[3], cause=Cause.EXIT)
    assert not stops(effects)
    assert placed(cluster, elements) == 4
    assert cluster.task(elements[3]).attempt == 2


def test_lost_node_takes_the_gang_back_and_it_starts_again_where_it_fits() -> None:
    cluster = MachineCluster(nodes=3)
    keys = gang(cluster, 2, cpu=4)
    lost, other = (cluster.node_of(key) for key in keys)
    effects = cluster.disconnect(lost, is_final=True)
    assert [stop.key for stop in stops(effects)] == [keys[1]]
    cluster.exit(keys[1], cause=Cause.GANG)
    assert placed(cluster, keys) == 2
    assert lost not in {cluster.node_of(key) for key in keys}
    assert other


def test_after_the_first_end_a_member_is_tried_again_by_itself() -> None:
    cluster = MachineCluster(nodes=2)
    keys = gang(cluster, 3, cpu=2, retry=Retry(2))
    cluster.exit(keys[0])
    assert phase(cluster, keys[1]) is Phase.LOOSE
    effects = cluster.exit(keys[1], cause=Cause.EXIT)
    assert not stops(effects)
    assert placed(cluster, keys) == 2


def test_member_that_ended_well_while_the_gang_was_taken_back_counts_as_there() -> None:
    cluster = MachineCluster(nodes=2)
    keys = gang(cluster, 3, cpu=2)
    cluster.report(
        cluster.node_of(keys[0]),
        ev.TaskRejected(keys[0], cluster.task(keys[0]).attempt, cluster.task(keys[0]).epoch, "no"),
    )
    cluster.exit(keys[1])
    cluster.exit(keys[2], cause=Cause.GANG)
    assert placed(cluster, keys) == 0  # it backs off for a moment
    cluster.tick(1_000)
    cluster.tick(500)
    assert placed(cluster, keys) == 2


def test_gang_that_can_never_be_whole_is_cancelled_with_the_reason() -> None:
    cluster = MachineCluster(nodes=1)
    keys = gang(cluster, 3, cpu=2)
    cluster.cancel(keys[1])
    for key in (keys[0], keys[2]):
        row = cluster.outcome(key)
        assert (row.state, row.cause) == (TaskState.CANCELLED, Cause.GANG)
        assert "cannot be whole without t-2" in row.detail
    assert not cluster.state.tasks


def test_queue_timeout_of_one_member_ends_all() -> None:
    cluster = MachineCluster(nodes=1)
    keys = cluster.submit_all(make_spec(gang="g", cpu=3), make_spec(gang="g", cpu=3, queue_timeout_ms=1_000))
    cluster.tick(1_500)
    assert cluster.outcome(keys[1]).cause is Cause.TIMEOUT
    assert cluster.outcome(keys[0]).cause is Cause.GANG


def test_array_whose_minimum_can_no_longer_be_met_is_cancelled() -> None:
    cluster = MachineCluster(nodes=1, cpu=1)
    (array,) = gang(cluster, 1, array_size=3, gang_min=2, cpu=1)
    cluster.cancel(element_key(array, 0))
    assert array in cluster.state.tasks
    cluster.cancel(element_key(array, 1))
    assert cluster.state_of(array) is TaskState.CANCELLED


def test_cancelled_member_of_a_running_gang_leaves_the_others_alone() -> None:
    cluster = MachineCluster(nodes=2)
    keys = gang(cluster, 2, cpu=1)
    cluster.cancel(keys[0])
    cluster.exit(keys[0], cause=Cause.CANCELLED)
    assert placed(cluster, keys) == 1


def test_held_member_keeps_the_gang_back_and_its_release_starts_all() -> None:
    cluster = MachineCluster(nodes=1)
    keys = cluster.submit_all(make_spec(gang="g"), make_spec(gang="g", hold=True))
    assert placed(cluster, keys) == 0
    (gate,) = explain(cluster.state, cluster.task(keys[0]), cluster.now).gates
    assert gate.message == "its gang g waits for t-2"
    cluster.release(keys[1])
    assert placed(cluster, keys) == 2


def test_explain_says_how_many_more_need_room() -> None:
    cluster = MachineCluster(nodes=2)
    cluster.submit(make_spec(cpu=3, node="n0"))
    keys = gang(cluster, 4, cpu=2)
    explained = explain(cluster.state, cluster.task(keys[3]), cluster.now)
    (gate,) = explained.gates
    assert gate.reason == "GANG"
    assert "2 of the 4 members" in gate.message
    assert "2 more need room" in gate.message


def test_distinct_members_and_elements_are_on_nodes_of_their_own() -> None:
    cluster = MachineCluster(nodes=3)
    keys = gang(cluster, 3, cpu=1, is_distinct=True)
    assert sorted(cluster.node_of(key) for key in keys) == ["n0", "n1", "n2"]
    (array,) = cluster.submit(make_spec(array_size=5, cpu=1, is_distinct=True))
    elements = [element_key(array, index) for index in range(5)]
    assert sorted(cluster.node_of(key) for key in elements if key in cluster.state.tasks) == [
        "n0",
        "n1",
        "n2",
    ]
    verdicts = explain(cluster.state, cluster.task(array), cluster.now).nodes
    assert {verdict.reason for verdict in verdicts} == {"DISTINCT_NODES"}
    cluster.exit(elements[1])
    assert cluster.node_of(elements[3])
    # Another array of the same kind is kept apart from itself only.
    cluster.cancel(array)
    cluster.exit(*(key for key in elements if key in cluster.state.tasks), cause=Cause.CANCELLED)
    (second,) = cluster.submit(make_spec(array_size=3, cpu=1, is_distinct=True))
    assert placed(cluster, [element_key(second, index) for index in range(3)]) == 3
    for key in [*keys, *(element_key(second, index) for index in range(3))]:
        cluster.exit(key)
    assert not cluster.state.apart


def test_distinct_gang_larger_than_the_cluster_waits_whole() -> None:
    cluster = MachineCluster(nodes=2)
    keys = gang(cluster, 3, cpu=1, is_distinct=True)
    assert placed(cluster, keys) == 0
    cluster.connect("n2")
    assert placed(cluster, keys) == 3


def test_quoted_gang_starts_at_once_and_stays_a_gang() -> None:
    cluster = MachineCluster(nodes=2)
    quote = cluster.quote(ev.QuoteWish(make_shape(cpu=2), 3))
    keys = gang(cluster, 3, cpu=2, quote=quote.id)
    assert placed(cluster, keys) == 3
    assert phase(cluster, keys[0]) is Phase.FORMED
    effects = cluster.report(
        cluster.node_of(keys[0]), ev.TaskRejected(keys[0], 1, cluster.task(keys[0]).epoch, "no")
    )
    assert len(stops(effects)) == 2


def test_members_that_could_not_start_together_are_refused() -> None:
    specs = (make_spec(gang="g"), make_spec(gang="g", quote="q-1"))
    with pytest.raises(InvalidSpec, match="only some have a quote"):
        gathering.check(specs, ((0, ""), (1, "")))
    gathering.check(specs, ((0, ""), (0, "")))


def test_hello_during_the_taking_back_is_told_again() -> None:
    cluster = MachineCluster(nodes=2)
    keys = gang(cluster, 2, cpu=4)
    node = cluster.node_of(keys[1])
    cluster.start(keys[1])
    cluster.disconnect(node)
    cluster.report(cluster.node_of(keys[0]), ev.TaskRejected(keys[0], 1, cluster.task(keys[0]).epoch, "no"))
    cluster.connect(node, tasks=(cluster.held(keys[1]),))
    assert [(stop.key, stop.cause) for stop in stops(cluster.effects)] == [(keys[1], Cause.GANG)]
