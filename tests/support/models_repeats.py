"""For each RPC of the models service with a request id: a request that can be carried out, and another one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from modelyard.v1 import deployment_pb2 as dp
from modelyard.v1 import model_pb2 as pb
from tests.support.models_yard import ModelsYard

Pair = tuple[Any, Any]


async def create(yard: ModelsYard) -> Pair:
    file = await yard.file()
    made = [pb.CreateModelVersionRequest(model=name, files=[file]) for name in ("iris", "wine")]
    return made[0], made[1]


async def update(yard: ModelsYard) -> Pair:
    await yard.create()
    made = [pb.UpdateModelRequest(name="iris", summary=text) for text in ("one", "other")]
    return made[0], made[1]


async def config(yard: ModelsYard) -> Pair:
    await yard.create()
    await yard.prove()
    documents = ("serving: {deadline: 2s}", "serving: {deadline: 3s}")
    made = [pb.UpdateModelConfigRequest(model="iris", version=1, document=text) for text in documents]
    return made[0], made[1]


async def set_alias(yard: ModelsYard) -> Pair:
    await yard.create()
    await yard.prove()
    made = [pb.SetAliasRequest(model="iris", alias=name, version=1) for name in ("champion", "other")]
    return made[0], made[1]


async def delete_alias(yard: ModelsYard) -> Pair:
    for request in await set_alias(yard):
        await yard.admin.models.SetAlias(request)
    made = [pb.DeleteAliasRequest(model="iris", alias=name) for name in ("champion", "other")]
    return made[0], made[1]


async def delete(yard: ModelsYard) -> Pair:
    for content in (b"one", b"other"):
        await yard.create(content=content)
    made = [pb.DeleteModelVersionRequest(model="iris", version=number) for number in (1, 2)]
    return made[0], made[1]


def deployed(name: str, version: int = 1) -> dp.DeployRequest:
    return dp.DeployRequest(
        name=name, routes=[dp.DeploymentRoute(model="iris", version=str(version), weight=1)]
    )


async def deploy(yard: ModelsYard) -> Pair:
    await yard.create()
    await yard.prove()
    return deployed("one"), deployed("other")


async def modify(yard: ModelsYard) -> Pair:
    await yard.admin.deployments.Deploy((await deploy(yard))[0])
    made = [
        dp.ModifyDeploymentRequest(
            name="one", routes=[dp.DeploymentRoute(model="iris", version="1", weight=weight)]
        )
        for weight in (2, 3)
    ]
    return made[0], made[1]


async def roll_back(yard: ModelsYard) -> Pair:
    await yard.admin.deployments.ModifyDeployment((await modify(yard))[0])
    made = [dp.RollBackDeploymentRequest(name="one", comment=text) for text in ("one", "other")]
    return made[0], made[1]


async def undeploy(yard: ModelsYard) -> Pair:
    for request in await deploy(yard):
        await yard.admin.deployments.Deploy(request)
    return dp.UndeployRequest(name="one"), dp.UndeployRequest(name="other")


async def unload(yard: ModelsYard) -> Pair:
    await yard.create()
    await yard.prove()
    return dp.UnloadModelRequest(model="iris"), dp.UnloadModelRequest(model="iris", version="1")


async def quota(yard: ModelsYard) -> Pair:
    await yard.user("ada")
    made = [pb.UpdateModelQuotaRequest(account="ada", max_versions=most) for most in (2, 3)]
    return made[0], made[1]


CASES: dict[str, Callable[[ModelsYard], Awaitable[Pair]]] = {
    "CreateModelVersion": create,
    "Deploy": deploy,
    "ModifyDeployment": modify,
    "RollBackDeployment": roll_back,
    "Undeploy": undeploy,
    "UnloadModel": unload,
    "UpdateModel": update,
    "UpdateModelQuota": quota,
    "UpdateModelConfig": config,
    "SetAlias": set_alias,
    "DeleteAlias": delete_alias,
    "DeleteModelVersion": delete,
}
