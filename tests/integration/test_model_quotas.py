"""Quotas of models over real services: durable, refused over the wire, shown with what is used (S2.5, S0.9)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelyard.client import Client
from modelyard.errors import YardError
from modelyard.v1 import model_pb2 as pb
from modelyard.v1 import model_pb2_grpc
from tests.support.models_yard import ModelsYard, models_yard
from tests.support.scheduler_service import refusal

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(90)]


def quotas(client: Any) -> Any:
    return model_pb2_grpc.ModelQuotaServiceStub(client.channel)


async def test_quota_outlives_the_service_and_is_refused_over_the_wire(tmp_path: Path) -> None:  # S2.5
    async with models_yard(tmp_path) as yard:
        user = await yard.user("ada")
        await yard.create("iris", b"one", client=user)
        request = pb.UpdateModelQuotaRequest(account="ada", max_versions=1, max_component_bytes=1 << 30)
        told = (await quotas(yard.admin).UpdateModelQuota(request)).quota
        assert (told.quota.max_versions, told.usage.version_count, told.usage.component_bytes) == (1, 1, 3)
        token = user.token
        await yard.restart()
        user = yard.client(token)
        file = await yard.file(b"other", client=user)
        create = pb.CreateModelVersionRequest(model="iris", files=[file])
        error = await refusal(user.models.CreateModelVersion(create))
        assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "MODEL_QUOTA_EXCEEDED")
        assert (error.metadata["used"], error.metadata["limit"]) == ("1", "1")
        # Asked ahead the answer is the same; what is there already needs no room.
        check = pb.CheckModelQuotaRequest(model="iris", size_bytes=5)
        assert (await refusal(quotas(user).CheckModelQuota(check))).reason == "MODEL_QUOTA_EXCEEDED"
        version = await user.models.GetModelVersion(pb.GetModelVersionRequest(model="iris", version="1"))
        check.digest = version.version.component.digest
        await quotas(user).CheckModelQuota(check)
        # What is not said stays.
        await quotas(yard.admin).UpdateModelQuota(pb.UpdateModelQuotaRequest(account="ada", max_versions=0))
        assert (await user.models.CreateModelVersion(create)).version.version == 2
        [mine] = (await quotas(user).ListModelQuotas(pb.ListModelQuotasRequest())).quotas
        assert (mine.account, mine.quota.max_component_bytes, mine.quota.max_versions) == ("ada", 1 << 30, 0)


async def test_quotas_are_for_administrators_to_set_and_others_see_their_own(tmp_path: Path) -> None:  # S0.9
    async with models_yard(tmp_path) as yard:
        user = await yard.user("ada")
        request = pb.UpdateModelQuotaRequest(account="ada", max_calls=1)
        assert (await refusal(quotas(user).UpdateModelQuota(request))).code == "PERMISSION_DENIED"
        both = pb.ListModelQuotasRequest(accounts=["ada", "bob"])
        error = await refusal(quotas(user).ListModelQuotas(both))
        assert (error.reason, error.field) == ("QUOTA_NOT_YOURS", "accounts[1]")
        found = (await quotas(yard.admin).ListModelQuotas(both)).quotas
        assert [one.account for one in found] == ["ada", "bob"]
        ghost = pb.UpdateModelQuotaRequest(account="ghost", max_calls=1)
        error = await refusal(quotas(yard.admin).UpdateModelQuota(ghost))
        assert (error.reason, error.field) == ("QUOTA_ACCOUNT_UNKNOWN", "account")
        nothing = pb.UpdateModelQuotaRequest(account="ada")
        assert (await refusal(quotas(yard.admin).UpdateModelQuota(nothing))).code == "INVALID_ARGUMENT"


async def test_push_that_does_not_fit_sends_nothing(tmp_path: Path) -> None:  # S2.5
    async with models_yard(tmp_path / "state") as yard, client_of(yard, await yard.user("ada")) as client:
        source = tmp_path / "iris.onnx"
        source.write_bytes(b"first")
        assert (await client.models.push(source)).version.version == 1
        await quotas(yard.admin).UpdateModelQuota(
            pb.UpdateModelQuotaRequest(account="ada", max_component_bytes=8)
        )
        source.write_bytes(b"second that is too large")
        with pytest.raises(YardError) as caught:
            await client.models.push(source)
        assert (caught.value.reason, caught.value.field) == ("MODEL_QUOTA_EXCEEDED", "files")
        kept = await client.artifacts.list()
        assert len(b"second that is too large") not in [one.size_bytes for one in kept.artifacts]
        source.write_bytes(b"first")
        assert (await client.models.push(source)).was_there


def client_of(yard: ModelsYard, caller: Any) -> Client:
    return Client(
        endpoint=yard.scheduler.address, store=yard.store.address, models=yard.address, token=caller.token
    )
