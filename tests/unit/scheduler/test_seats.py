"""Seats at the scheduler: who may submit them, what they must say, and that a lost one takes nobody along."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from modelyard.v1 import task_pb2
from services.chassis.errors import ServiceError
from services.chassis.security import ADMIN, SERVICE, USER, Principal
from services.scheduler.intake import seats, specs
from services.scheduler.model import Cause, TaskState, element_key
from services.scheduler.placement import fitting
from services.scheduler.scheduling.explain import explain
from services.scheduler.state import events as ev
from services.scheduler.state.gangs import Phase
from tests.support.scheduler_cluster import MachineCluster, make_spec
from tests.support.seat_trainer import seat_spec

Change = Callable[[task_pb2.TaskSpec], object]


def refusal(spec: task_pb2.TaskSpec) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        specs.convert(spec, "ada", "specs[0]")
    return refused.value


def test_seat_is_a_task_with_a_token_that_is_delivered_once() -> None:
    spec = specs.convert(seat_spec(ports=["a", "b"], spec={"array_size": 3}), "ada", "specs[0]")
    assert (spec.has_token, spec.is_at_most_once, spec.array_size) == (True, True, 3)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("seat.job_id", lambda spec: spec.seat.ClearField("job_id")),
        ("seat.role", lambda spec: setattr(spec.seat, "role", "../up")),
        ("seat.index", lambda spec: setattr(spec.seat, "index", -1)),
        ("seat.ports", lambda spec: spec.seat.ports.extend([task_pb2.SeatPort(name=f"p{n}") for n in range(65)])),
        ("seat.ports[1].name", lambda spec: spec.seat.ports.extend([task_pb2.SeatPort(name="a")] * 2)),
        ("seat.ports[0]", lambda spec: spec.seat.ports.add(name="a", low=9, high=8)),
        ("seat.ports[0]", lambda spec: spec.seat.ports.add(name="a", low=1, high=70_000)),
        ("seat.endpoint", lambda spec: setattr(spec.seat, "endpoint", "nowhere")),
        ("seat.endpoint", lambda spec: setattr(spec.seat, "endpoint", "host:70000")),
        ("seat.imports", lambda spec: spec.seat.imports.append("os; import x")),
        ("delivery", lambda spec: spec.ClearField("delivery")),
        ("placement.avoid_nodes", lambda spec: spec.placement.avoid_nodes.extend([f"n{n}" for n in range(65)])),
        ("placement.avoid_nodes", lambda spec: spec.placement.avoid_nodes.append("no such\nname")),
        ("placement.avoid_nodes", lambda spec: spec.placement.MergeFrom(task_pb2.Placement(node="n", avoid_nodes="n"))),
    ],
)  # fmt: skip
def test_seat_that_cannot_be_right_is_refused_by_its_field(field: str, change: Change) -> None:
    spec = seat_spec()
    change(spec)
    error = refusal(spec)
    assert (error.reason, error.field) == ("INVALID_SPEC", f"specs[0].{field}")
    assert error.next_step


@pytest.mark.parametrize("endpoint", ["", ":7073", "trainer.lan:7073", "[::1]:7073"])
def test_endpoint_may_leave_the_host_out(endpoint: str) -> None:
    assert specs.convert(seat_spec(endpoint=endpoint), "ada", "specs[0]")


@pytest.mark.parametrize(
    "caller",
    [Principal(USER, "ada"), Principal(ADMIN, "admin"), Principal(SERVICE)],
    ids=["user", "admin", "service for nobody"],
)
def test_only_a_service_for_an_account_submits_seats(caller: Principal) -> None:
    with pytest.raises(ServiceError) as refused:
        seats.check_caller([task_pb2.TaskSpec(), seat_spec()], caller)
    assert (refused.value.reason, refused.value.field) == ("SEAT_FORBIDDEN", "specs[1].seat")
    seats.check_caller([task_pb2.TaskSpec()], caller)
    seats.check_caller([seat_spec()], Principal(SERVICE, "ada"))


def test_node_to_avoid_gets_nothing_and_explains_why() -> None:
    cluster = MachineCluster(nodes=2)
    spec = make_spec(cpu=3)
    keys = cluster.submit(replace(spec, shape=replace(spec.shape, avoid=("n0", "gone"))), 2)
    assert cluster.node_of(keys[0]) == "n1"
    waiting = cluster.task(keys[1])
    assert not waiting.node
    told = explain(cluster.state, waiting, cluster.now)
    assert {verdict.node: verdict.reason for verdict in told.nodes} == {"n0": "AVOIDED", "n1": "NOT_ENOUGH"}


def test_task_that_avoids_every_node_is_refused() -> None:
    cluster = MachineCluster(nodes=2)
    shape = replace(make_spec().shape, avoid=("n0", "n1"))
    with pytest.raises(ServiceError) as refused:
        fitting.check_placeable(shape, cluster.state.cluster, "specs[0]")
    assert refused.value.reason == "CANNOT_BE_PLACED"


def gang_of_seats(cluster: MachineCluster, count: int) -> list[int]:
    spec = make_spec(b"seats", cpu=1, array_size=count, gang="j-1", is_distinct=True)
    (array,) = cluster.submit(replace(spec, is_at_most_once=True))
    return [element_key(array, index) for index in range(count)]


def test_lost_node_ends_only_its_seat_and_leaves_the_gang_loose() -> None:
    cluster = MachineCluster(nodes=3)
    keys = gang_of_seats(cluster, 3)
    for key in keys:
        cluster.start(key)
    lost = next(key for key in keys if cluster.node_of(key) == "n1")
    others = [key for key in keys if key != lost]
    cluster.disconnect("n1", is_final=True)
    outcome = cluster.outcome(lost)
    assert (outcome.state, outcome.cause) == (TaskState.FAILED, Cause.NODE_LOST)
    assert [cluster.state_of(key) for key in others] == [TaskState.RUNNING] * 2
    gang = cluster.state.gangs.of(others[0])
    assert gang is not None and gang.phase is Phase.LOOSE


def test_node_lost_while_seats_are_prepared_ends_only_its_seat() -> None:
    """The others are assigned and not open yet; what the lost agent had heard of is not started again."""
    cluster = MachineCluster(nodes=3)
    keys = gang_of_seats(cluster, 3)
    lost = next(key for key in keys if cluster.node_of(key) == "n1")
    cluster.disconnect("n1", is_final=True)
    assert cluster.outcome(lost).cause is Cause.NODE_LOST
    others = [key for key in keys if key != lost]
    assert [cluster.state_of(key) for key in others] == [TaskState.ASSIGNED] * 2


def test_seat_that_an_agent_rejects_lets_no_gang_hang() -> None:
    """Nothing of it had started, so it may go back; those that were open are over, and with them the gang."""
    cluster = MachineCluster(nodes=3)
    keys = gang_of_seats(cluster, 3)
    rejected, started, assigned = keys
    cluster.start(started)
    task = cluster.task(rejected)
    cluster.report(cluster.node_of(rejected), ev.TaskRejected(rejected, task.attempt, task.epoch, "draining"))
    for key in (started, assigned):
        cluster.exit(key, cause=Cause.GANG)
    assert cluster.outcome(started).state in (TaskState.FAILED, TaskState.CANCELLED)
    cluster.pass_time(60_000, beating=["n0", "n1", "n2"])
    assert not [key for key in keys if key in cluster.state.tasks and not cluster.node_of(key)]
