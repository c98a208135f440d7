"""The graph service's contract, enumerated from its descriptors over a real server: who may call what."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelyard.v1 import canvas_pb2, lineage_pb2, run_pb2, trigger_pb2
from services.chassis.rpc.lineage import LineageServicer
from services.chassis.security import AGENT, ANONYMOUS, ON_BEHALF, ROLES, SERVICE, TASK
from services.graph.rules import RULES
from services.graph.servicer.projects import ProjectServicer
from services.graph.servicer.runs import RunServicer
from services.graph.servicer.triggers import TriggerServicer
from tests.support.graph_yard import graph_yard
from tests.support.rule_proof import path, wrongly_answered

SERVICES = [
    s
    for file in (canvas_pb2, run_pb2, trigger_pb2, lineage_pb2)
    for s in file.DESCRIPTOR.services_by_name.values()
]
SERVED = {**vars(ProjectServicer), **vars(RunServicer), **vars(TriggerServicer), **vars(LineageServicer)}
"""What is served; the rest of the contract is refused by gRPC's own stubs."""
EVERY: list[MethodDescriptor] = [method for service in SERVICES for method in service.methods]
METHODS = [method for method in EVERY if method.name in SERVED]


@pytest.mark.asyncio
@pytest.mark.timeout(90)
async def test_every_rpc_of_graphs_admits_exactly_whom_its_rule_names(tmp_path: Path) -> None:
    async with graph_yard(tmp_path) as yard:
        assert await wrongly_answered(yard, RULES, METHODS) == []


def test_every_rpc_of_graphs_has_a_rule_and_every_rule_an_rpc() -> None:
    assert {path(method) for method in EVERY} == set(RULES)


def test_rules_of_graphs_name_known_roles_and_neither_agents_nor_tasks() -> None:
    assert all(roles <= ROLES | {ON_BEHALF} for roles in RULES.values())
    assert not any(roles & {ANONYMOUS, AGENT, TASK, SERVICE} for roles in RULES.values())


@pytest.mark.asyncio
async def test_graph_service_is_healthy(tmp_path: Path) -> None:
    async with graph_yard(tmp_path) as yard:
        health = health_pb2_grpc.HealthStub(yard.client("").channel)
        for name in ("", *(service.full_name for service in SERVICES)):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
