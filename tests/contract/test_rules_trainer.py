"""The trainer's contract, enumerated from its descriptors over a real server: who may call what."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelyard.v1 import framework_pb2, job_pb2, lineage_pb2, seat_pb2, sweep_pb2
from services.chassis.peers.seat_links import SeatLinks
from services.chassis.rpc.lineage import LineageServicer
from services.chassis.security import AGENT, ANONYMOUS, ON_BEHALF, ROLES, SERVICE, TASK
from services.trainer.rules import RULES
from services.trainer.servicer.frameworks import FrameworkServicer
from services.trainer.servicer.jobs import JobServicer
from services.trainer.servicer.sweeps import SweepServicer
from tests.support.rule_proof import path, wrongly_answered
from tests.support.trainer_yard import trainer_yard

FILES = (framework_pb2, job_pb2, seat_pb2, sweep_pb2, lineage_pb2)
SERVICES = [s for file in FILES for s in file.DESCRIPTOR.services_by_name.values()]
SERVED = {
    name
    for servicer in (FrameworkServicer, JobServicer, SweepServicer, SeatLinks, LineageServicer)
    for part in servicer.__mro__
    if part.__module__.startswith("services.")
    for name in vars(part)
}
"""What is served; the rest of the contract is refused by gRPC's own stubs."""
EVERY: list[MethodDescriptor] = [method for service in SERVICES for method in service.methods]
METHODS = [method for method in EVERY if method.name in SERVED]


@pytest.mark.asyncio
@pytest.mark.timeout(90)
async def test_every_rpc_of_training_admits_exactly_whom_its_rule_names(tmp_path: Path) -> None:
    async with trainer_yard(tmp_path) as yard:
        assert await wrongly_answered(yard, RULES, METHODS) == []


def test_every_rpc_of_training_has_a_rule_and_every_rule_an_rpc() -> None:
    assert {path(method) for method in METHODS} == set(RULES)


def test_rules_of_training_name_known_roles_and_agents_for_seats_alone() -> None:
    assert all(roles <= ROLES | {ON_BEHALF} for roles in RULES.values())
    assert not any(roles & {ANONYMOUS, SERVICE} for roles in RULES.values())
    assert {rpc for rpc, roles in RULES.items() if TASK in roles} == {
        f"/modelyard.v1.JobService/{rpc}"
        for rpc in (
            "ReportProgress",
            "WatchAddresses",
            "CreateJob",
            "GetJob",
            "ListInstances",
            "WatchJob",
            "StopJob",
            "StreamJobLogs",
        )
    }
    assert [rpc for rpc, roles in RULES.items() if AGENT in roles] == [
        "/modelyard.v1.SeatService/ConnectSeats"
    ]


@pytest.mark.asyncio
async def test_trainer_is_healthy(tmp_path: Path) -> None:
    async with trainer_yard(tmp_path) as yard:
        health = health_pb2_grpc.HealthStub(yard.client("").channel)
        for name in ("", *(service.full_name for service in SERVICES)):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
