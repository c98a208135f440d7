"""Quotas of models over real services: durable, refused over the wire, shown with what is used (S2.5, S0.9)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli.commands.quotas import set_both
from cli.errors import CommandError
from modelyard.client import Client
from modelyard.errors import YardError
from modelyard.v1 import account_pb2, account_pb2_grpc, model_pb2_grpc
from modelyard.v1 import model_pb2 as pb
from tests.support.models_yard import ModelsYard, models_yard
from tests.support.scheduler_service import refusal
from tests.support.wait import wait_until

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


async def test_quota_that_is_only_checked_changes_nothing(tmp_path: Path) -> None:
    async with models_yard(tmp_path) as yard:
        await yard.user("ada")
        request = pb.UpdateModelQuotaRequest(account="ada", max_calls=7)
        await quotas(yard.admin).UpdateModelQuota(request)
        request.validate_only, request.max_calls, request.max_versions = True, 0, 5
        told = (await quotas(yard.admin).UpdateModelQuota(request)).quota.quota
        assert (told.max_calls, told.max_versions) == (0, 5)
        request.account = "ghost"
        assert (await refusal(quotas(yard.admin).UpdateModelQuota(request))).reason == "QUOTA_ACCOUNT_UNKNOWN"
        [kept] = (
            await quotas(yard.admin).ListModelQuotas(pb.ListModelQuotasRequest(accounts=["ada"]))
        ).quotas
        assert (kept.quota.max_calls, kept.quota.max_versions) == (7, 0)


async def test_quota_of_a_deleted_account_goes_with_it(tmp_path: Path) -> None:  # S0.9
    async def limited(*accounts: str) -> list[str]:
        request = pb.ListModelQuotasRequest(accounts=accounts)
        told = (await quotas(yard.admin).ListModelQuotas(request)).quotas
        return [one.account for one in told if one.quota.max_calls]

    async with models_yard(tmp_path) as yard:
        names = ("ada", "bob", "eve")
        for name in names:
            await yard.user(name)
            await quotas(yard.admin).UpdateModelQuota(pb.UpdateModelQuotaRequest(account=name, max_calls=1))

        async def gone(*left: str) -> bool:
            return await limited(*names) == list(left)

        accounts = account_pb2_grpc.AccountServiceStub(yard.scheduler.admin.channel)
        await accounts.DeleteAccount(account_pb2.DeleteAccountRequest(name="ada"))
        await wait_until(lambda: gone("bob", "eve"), "the quota has gone")
        # One that goes while this service is away is missed when it is back.
        await yard.stop()
        await accounts.DeleteAccount(account_pb2.DeleteAccountRequest(name="bob"))
        await yard.start()
        await wait_until(lambda: gone("eve"), "the other quota has gone too")


async def test_both_kinds_of_quotas_are_set_or_neither(tmp_path: Path) -> None:
    async with models_yard(tmp_path) as yard, client_of(yard, yard.admin) as client:
        await yard.user("ada")
        with pytest.raises(YardError) as refused:
            await set_both(client, "ada", {"weight": -1}, {"max_calls": 3})
        assert refused.value.field == "account.weight"
        with pytest.raises(YardError) as refused:
            await set_both(client, "ada", {"weight": 2}, {"max_calls": -3})
        assert refused.value.reason == "QUOTA_INVALID"
        [kept] = await client.models.quotas("ada")
        assert (kept.quota.max_calls, (await client.accounts.get("ada")).weight) == (0, 1)
        account = await set_both(client, "ada", {"weight": 2}, {"max_calls": 3})
        [kept] = await client.models.quotas("ada")
        assert (kept.quota.max_calls, account.weight) == (3, 2)


async def test_quotas_of_which_one_half_is_set_are_told_with_the_way_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account goes between the two steps."""
    async with models_yard(tmp_path) as yard, client_of(yard, yard.admin) as client:
        await yard.user("ada")
        await client.models.set_quota("ada", max_calls=16)
        set_quota = client.models.set_quota

        async def set_and_delete(account: str, **changes: Any) -> pb.AccountModelQuota:
            told = await set_quota(account, **changes)
            if not changes.get("validate_only"):
                await client.accounts.remove(account)
            return told

        monkeypatch.setattr(client.models, "set_quota", set_and_delete)
        with pytest.raises(CommandError) as half:
            await set_both(client, "ada", {"weight": 2}, {"max_calls": 3, "max_versions": 9})
        assert "--max-calls, --max-versions (models) now counts for ada" in half.value.message
        assert half.value.code == 3 and "no account 'ada'" in half.value.why
        assert half.value.next_step.endswith("yard quotas set ada --max-calls 16 --max-versions 0")


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
