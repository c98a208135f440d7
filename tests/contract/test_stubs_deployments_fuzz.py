"""Every RPC of deployments with boundary values: never UNKNOWN or INTERNAL, always in words, nothing lost."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from modelyard.v1 import deployment_pb2 as pb
from tests.support.endings import NEVER, ending_of
from tests.support.models_yard import ModelsYard, models_yard
from tests.support.mutations import mutate
from tests.support.scheduler_service import refusal

METHODS: list[MethodDescriptor] = list(pb.DESCRIPTOR.services_by_name["DeploymentService"].methods)
MUTATIONS = 30


def made(method: MethodDescriptor, chance: random.Random) -> Message:
    """A request; most name a model or a deployment that is there."""
    request: Any = message_factory.GetMessageClass(method.input_type)()
    mutate(request, chance)
    fields = request.DESCRIPTOR.fields_by_name
    for field in ("model", "name"):
        if field in fields and chance.random() < 0.8:
            setattr(request, field, chance.choice(("iris", "kept", "../iris", "")))
    if "version" in fields and chance.random() < 0.7:
        request.version = chance.choice(("", "1", "2", "champion", "-1"))
    if "routes" in fields and chance.random() < 0.7:
        del request.routes[:]
        request.routes.add(model="iris", version="1", weight=chance.choice((0, 1, -1, 1 << 30)))
    if "request_id" in fields and chance.random() < 0.8:
        request.request_id = ""
    return request


async def prepare(yard: ModelsYard) -> None:
    await yard.create()
    await yard.prove()
    route = pb.DeploymentRoute(model="iris", version="1", weight=1)
    await yard.admin.deployments.Deploy(pb.DeployRequest(name="kept", routes=[route]))


@pytest.mark.asyncio
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
async def test_rpc_of_deployments_with_boundary_values_is_refused_in_words_and_loses_nothing(
    method: MethodDescriptor, tmp_path: Path
) -> None:
    chance = random.Random(method.name)
    # A load waits for an agent, and there is none.
    timeout_s = 0.4 if method.name == "LoadModel" else 20
    async with models_yard(tmp_path) as yard:
        await prepare(yard)
        other = await yard.user("ada")
        for number in range(MUTATIONS):
            request = made(method, chance)
            client = other if number % 4 == 0 else yard.admin
            code, message = await ending_of(client.channel, method, request, timeout_s)
            assert code not in NEVER, f"{code.name} {message} for {str(request)[:2_000]}"
            assert code is grpc.StatusCode.OK or message
        await yard.restart()
        await yard.admin.deployments.ListDeployments(pb.ListDeploymentsRequest())
        if method.name != "Undeploy":
            found = await yard.admin.deployments.GetDeployment(pb.GetDeploymentRequest(name="kept"))
            assert found.deployment.name == "kept"


@pytest.mark.asyncio
async def test_what_has_no_meaning_is_refused_by_its_field(tmp_path: Path) -> None:
    async with models_yard(tmp_path) as yard:
        await prepare(yard)
        stub = yard.admin.deployments
        one = pb.DeploymentRoute(model="iris", version="1", weight=1)

        def deploy(**fields: Any) -> Any:
            return stub.Deploy(pb.DeployRequest(**({"name": "new", "routes": [one]} | fields)))

        def route(**fields: Any) -> pb.DeploymentRoute:
            return pb.DeploymentRoute(**({"model": "iris", "version": "1", "weight": 1} | fields))

        cases: list[tuple[Any, str, str]] = [
            (deploy(routes=[]), "ROUTE_INVALID", "routes"),
            (deploy(routes=[one, one]), "ROUTE_INVALID", "routes"),
            (deploy(routes=[route(weight=0), route(version="champion", weight=0)]), "ROUTE_INVALID", "routes"),
            (deploy(routes=[route(weight=-1)]), "ROUTE_INVALID", "routes[0].weight"),
            (deploy(routes=[route(model="")]), "ROUTE_INVALID", "routes[0].model"),
            (deploy(routes=[route(version="9")]), "MODEL_VERSION_NOT_FOUND", "routes[0]"),
            (deploy(name="a/b"), "ROUTE_INVALID", "name"),
            (deploy(settings=pb.ServingSettings(runtime="moon")), "SETTING_INVALID", "settings.runtime"),
            (
                deploy(settings=pb.ServingSettings(min_instances=3, max_instances=2)), "SETTING_INVALID",
                "settings.max_instances",
            ),
            (deploy(mirror=pb.DeploymentMirror(model="iris", ratio=2)), "ROUTE_INVALID", "mirror.ratio"),
            (stub.RollBackDeployment(pb.RollBackDeploymentRequest(name="kept")), "NOTHING_BEFORE", ""),
            (stub.Undeploy(pb.UndeployRequest(name="absent")), "DEPLOYMENT_NOT_FOUND", "name"),
            (
                stub.ModifyDeployment(pb.ModifyDeploymentRequest(name="kept", revision=1)), "DEPLOYMENT_STALE",
                "revision",
            ),
            (stub.LoadModel(pb.LoadModelRequest(model="absent")), "MODEL_NOT_FOUND", "model"),
        ]  # fmt: skip
        for call, reason, field in cases:
            refused = await refusal(call)
            assert (refused.reason, refused.field) == (reason, field), refused.message


@pytest.mark.asyncio
async def test_others_see_nothing_of_a_deployment(tmp_path: Path) -> None:  # N5
    async with models_yard(tmp_path) as yard:
        await prepare(yard)
        stub = (await yard.user("ada")).deployments
        assert not (await stub.ListDeployments(pb.ListDeploymentsRequest())).deployments
        assert not (await stub.ListDeployments(pb.ListDeploymentsRequest(all_accounts=True))).deployments
        assert not (await stub.ListFrames(pb.ListFramesRequest(all_accounts=True))).frames
        route = pb.DeploymentRoute(model="iris", weight=1)
        calls = [
            stub.GetDeployment(pb.GetDeploymentRequest(name="kept")),
            stub.Undeploy(pb.UndeployRequest(name="kept")),
            stub.Deploy(pb.DeployRequest(name="mine", routes=[route])),
            stub.LoadModel(pb.LoadModelRequest(model="iris")),
            stub.UnloadModel(pb.UnloadModelRequest(model="iris")),
            stub.ExplainModelCall(pb.ExplainModelCallRequest(name="iris")),
        ]
        assert {(await refusal(call)).code for call in calls} == {"NOT_FOUND"}
