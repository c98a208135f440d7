"""The contract of models, enumerated from its descriptors over a real server: who may call what."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelyard.oip.v2 import inference_pb2
from modelyard.v1 import deployment_pb2, lineage_pb2, model_pb2, seat_pb2
from services.chassis.peers.seat_links import SeatLinks
from services.chassis.rpc.lineage import LineageServicer
from services.chassis.security import AGENT, ANONYMOUS, ON_BEHALF, ROLES, SERVICE, TASK
from services.models.rules import RULES
from services.models.servicer.deployments import DeploymentServicer
from services.models.servicer.inference import InferenceServicer
from services.models.servicer.models import ModelServicer
from services.models.servicer.quotas import ModelQuotaServicer
from tests.support.models_yard import models_yard
from tests.support.rule_proof import path, wrongly_answered

FILES = (model_pb2, deployment_pb2, seat_pb2, inference_pb2, lineage_pb2)
SERVICES = [s for file in FILES for s in file.DESCRIPTOR.services_by_name.values()]
SERVED = {
    name
    for servicer in (
        ModelServicer,
        ModelQuotaServicer,
        DeploymentServicer,
        SeatLinks,
        InferenceServicer,
        LineageServicer,
    )
    for part in servicer.__mro__
    if part.__module__.startswith("services.")
    for name in vars(part)
}
"""What is served; the rest of the contract is refused by gRPC's own stubs."""
EVERY: list[MethodDescriptor] = [method for service in SERVICES for method in service.methods]
METHODS = [method for method in EVERY if method.name in SERVED]


@pytest.mark.asyncio
@pytest.mark.timeout(90)
async def test_every_rpc_of_models_admits_exactly_whom_its_rule_names(tmp_path: Path) -> None:
    async with models_yard(tmp_path) as yard:
        assert await wrongly_answered(yard, RULES, METHODS) == []


def test_every_rpc_of_models_has_a_rule_and_every_rule_an_rpc() -> None:
    assert {path(method) for method in METHODS} == set(RULES)


def test_rules_of_models_name_known_roles() -> None:
    assert all(roles <= ROLES | {ON_BEHALF} for roles in RULES.values())
    assert not any(roles & {ANONYMOUS, SERVICE} for roles in RULES.values())
    # Operators act with the token of their task; a new RPC is not theirs unless somebody says so here.
    assert {rpc.rpartition("/")[2] for rpc, roles in RULES.items() if TASK in roles} == {
        "CheckModelQuota", "CreateModelVersion", "GetModelVersion", "WatchModelVersion", "SetAlias", "Deploy",
        "WatchDeployment", "LoadModel", "UnloadModel", "ServerLive", "ServerReady", "ModelReady", "ServerMetadata",
        "ModelMetadata", "ModelInfer", "ModelStreamInfer", "ModelConfig", "ModelStatistics", "RepositoryIndex",
        "RepositoryModelLoad", "RepositoryModelUnload",
    }  # fmt: skip
    assert [rpc for rpc, roles in RULES.items() if AGENT in roles] == [
        "/modelyard.v1.SeatService/ConnectSeats"
    ]


@pytest.mark.asyncio
async def test_models_service_is_healthy(tmp_path: Path) -> None:
    async with models_yard(tmp_path) as yard:
        health = health_pb2_grpc.HealthStub(yard.client("").channel)
        for name in ("", *(service.full_name for service in SERVICES)):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
