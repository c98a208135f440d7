"""Whose models are seen, called and managed by whom, over real RPCs; what the catalogue knows from memory (S0.9)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from modelyard.errors import from_rpc_error
from modelyard.v1 import account_pb2
from modelyard.v1 import model_pb2 as pb
from services.models.catalogue.usage import DAY_MS, Count
from tests.support.models_yard import ModelsClient, ModelsYard, models_yard
from tests.support.scheduler_service import refusal

NOW_MS = 20_000 * DAY_MS + 5


async def share(yard: ModelsYard, account: str, role: pb.ModelRole.ValueType, name: str = "iris") -> None:
    access = [pb.ModelAccess(account=account, role=role)]
    await yard.admin.models.UpdateModel(pb.UpdateModelRequest(name=name, access=access))


async def names(client: ModelsClient, **fields: Any) -> list[str]:
    return [model.name for model in (await client.models.ListModels(pb.ListModelsRequest(**fields))).models]


@pytest.mark.asyncio
async def test_model_of_another_account_does_not_exist_until_it_is_shared(tmp_path: Path) -> None:  # S0.9
    async with models_yard(tmp_path) as yard:
        await yard.create()
        bob = await yard.user("bob")
        asked = [
            bob.models.GetModel(pb.GetModelRequest(name="iris")),
            bob.models.GetModelVersion(pb.GetModelVersionRequest(model="iris")),
            bob.models.GetModelConfig(pb.GetModelConfigRequest(model="iris")),
            bob.models.ListAliasHistory(pb.ListAliasHistoryRequest(model="iris")),
            bob.models.WatchModelVersion(pb.WatchModelVersionRequest(model="iris")),
            bob.models.DeleteModelVersion(pb.DeleteModelVersionRequest(model="iris", version=1)),
            bob.models.UpdateModel(pb.UpdateModelRequest(name="iris")),
        ]
        for call in asked:
            assert (await refusal(call)).reason == "MODEL_NOT_FOUND"
        assert await names(bob) == []
        await share(yard, "bob", pb.MODEL_ROLE_VIEWER)
        assert await names(bob) == ["iris"]
        shown = (await bob.models.GetModelVersion(pb.GetModelVersionRequest(model="iris"))).version
        assert shown.state == pb.MODEL_VERSION_STATE_INSPECTING
        refused = await refusal(bob.models.UpdateModel(pb.UpdateModelRequest(name="iris", summary="mine")))
        assert (refused.reason, refused.code) == ("MODEL_FORBIDDEN", "PERMISSION_DENIED")


@pytest.mark.asyncio
async def test_manager_adds_versions_and_moves_aliases_but_does_not_share(tmp_path: Path) -> None:  # S0.9
    async with models_yard(tmp_path) as yard:
        await yard.create()
        await yard.prove()
        bob = await yard.user("bob")
        taken = await refusal(yard.create(client=bob, content=b"two"))
        assert taken.reason == "MODEL_NAME_TAKEN"
        await share(yard, "bob", pb.MODEL_ROLE_MANAGER)
        made = await yard.create(client=bob, content=b"two")
        assert (made.version, made.account) == (2, "bob")
        await bob.models.SetAlias(pb.SetAliasRequest(model="iris", alias="champion", version=1))
        access = [pb.ModelAccess(account="eve", role=pb.MODEL_ROLE_MANAGER)]
        refused = await refusal(bob.models.UpdateModel(pb.UpdateModelRequest(name="iris", access=access)))
        assert refused.reason == "MODEL_FORBIDDEN"
        # Whose files a version has is asked of who made it.
        await yard.prove(version=2)
        catalogue = yard.service._catalogue
        assert catalogue.served("iris", "2").account == "bob"


@pytest.mark.asyncio
async def test_file_of_another_account_is_no_file(tmp_path: Path) -> None:
    async with models_yard(tmp_path) as yard:
        file, bob = await yard.file(b"secret"), await yard.user("bob")
        request = pb.CreateModelVersionRequest(model="stolen", files=[file])
        refused = await refusal(bob.models.CreateModelVersion(request))
        assert (refused.reason, refused.field) == ("COMPONENT_FILE_MISSING", "files[0].digest")


@pytest.mark.asyncio
async def test_viewer_token_changes_nothing(tmp_path: Path) -> None:
    async with models_yard(tmp_path) as yard:
        viewer = await yard.user("bob", account_pb2.ROLE_VIEWER)
        refused = await refusal(viewer.models.CreateModelVersion(pb.CreateModelVersionRequest(model="m")))
        assert refused.reason == "ROLE_NOT_ALLOWED"


@pytest.mark.asyncio
async def test_versions_are_found_by_number_alias_champion_or_latest_ready(tmp_path: Path) -> None:  # S0.9
    async with models_yard(tmp_path) as yard:
        for content in (b"one", b"two", b"three"):
            await yard.create(content=content)
        await yard.prove(version=1)
        await yard.prove(version=2)
        catalogue = yard.service._catalogue
        assert catalogue.served("iris").key.version == 2, "the latest that is READY"
        assert catalogue.served("iris", "1").key.version == 1
        models = yard.admin.models
        await models.SetAlias(pb.SetAliasRequest(model="iris", alias="champion", version=1))
        assert catalogue.served("iris").key.version == 1
        assert catalogue.served("iris", "champion").config.inputs[0].name == "x"
        found = await models.GetModelVersion(pb.GetModelVersionRequest(model="iris", version="champion"))
        assert found.version.version == 1
        assert catalogue.may("bob", "iris", "caller") is False
        await share(yard, "*", pb.MODEL_ROLE_CALLER)
        assert (catalogue.may("bob", "iris", "caller"), catalogue.models("bob")) == (True, ["iris"])
        assert catalogue.may("bob", "iris", "manager") is False
        await yard.restart()
        assert yard.service._catalogue.served("iris").key.version == 1


@pytest.mark.asyncio
async def test_models_are_listed_in_pages_by_labels_and_prefix(tmp_path: Path) -> None:  # S0.9
    async with models_yard(tmp_path) as yard:
        for name in ("a1", "a2", "b1"):
            await yard.create(name)
        await yard.admin.models.UpdateModel(pb.UpdateModelRequest(name="a2", labels={"team": "vision"}))
        assert await names(yard.admin, name_prefix="a") == ["a1", "a2"]
        assert await names(yard.admin, labels={"team": "vision"}) == ["a2"]
        first = await yard.admin.models.ListModels(pb.ListModelsRequest(page_size=2))
        assert [model.name for model in first.models] == ["a1", "a2"]
        rest = await yard.admin.models.ListModels(
            pb.ListModelsRequest(page_size=2, page_token=first.next_page_token)
        )
        assert ([model.name for model in rest.models], rest.next_page_token) == (["b1"], "")
        bob = await yard.user("bob")
        await yard.create("c1", client=bob)
        assert await names(yard.admin) == ["a1", "a2", "b1"]
        assert await names(yard.admin, all_accounts=True) == ["a1", "a2", "b1", "c1"]
        assert await names(bob, all_accounts=True) == ["c1"]


@pytest.mark.asyncio
async def test_calls_are_counted_by_day_version_and_account(tmp_path: Path) -> None:  # S0.9
    async with models_yard(tmp_path) as yard:
        await yard.create()
        usage, clock = yard.service._usage, yard.service._clock
        now_ms = clock.now_ms()
        for account, calls in (("ada", 3), ("ada", 2), ("bob", 1)):
            count = Count(
                model="iris",
                version=1,
                account=account,
                time_ms=now_ms,
                calls=calls,
                failures=1,
                compute_s=0.5,
            )
            await usage.add([count])
        found = (await yard.admin.models.ListModelUsage(pb.ListModelUsageRequest(model="iris"))).usage
        told = {one.account: (one.call_count, one.failure_count, one.compute_s) for one in found}
        assert told == {"ada": (5, 2, 1.0), "bob": (1, 1, 0.5)}
        version = (await yard.admin.models.GetModelVersion(pb.GetModelVersionRequest(model="iris"))).version
        assert (version.call_count, version.last_call_time.ToMilliseconds()) == (6, now_ms)


@pytest.mark.asyncio
async def test_watcher_hears_of_a_version_until_nothing_is_done_for_it(tmp_path: Path) -> None:  # S2.3
    async with models_yard(tmp_path) as yard:
        await yard.create()
        stream = aiter(
            yard.admin.models.WatchModelVersion(pb.WatchModelVersionRequest(model="iris", version=1))
        )
        first = await anext(stream)
        assert first.version.state == pb.MODEL_VERSION_STATE_INSPECTING
        await yard.prove()
        states = [response.version.state async for response in stream]
        assert states[-1] == pb.MODEL_VERSION_STATE_READY
        again = yard.admin.models.WatchModelVersion(
            pb.WatchModelVersionRequest(model="iris", version=1, revision=first.version.revision)
        )
        assert [one.version.state async for one in again] == [pb.MODEL_VERSION_STATE_READY]


@pytest.mark.asyncio
async def test_watcher_of_a_version_that_is_deleted_is_told_so(tmp_path: Path) -> None:
    async with models_yard(tmp_path) as yard:
        await yard.create()
        stream = yard.admin.models.WatchModelVersion(pb.WatchModelVersionRequest(model="iris", version=1))
        await stream.read()
        await yard.admin.models.DeleteModelVersion(pb.DeleteModelVersionRequest(model="iris", version=1))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            while await stream.read() is not grpc.aio.EOF:
                pass
        assert from_rpc_error(raised.value).reason == "MODEL_VERSION_NOT_FOUND"


@pytest.mark.asyncio
async def test_edit_that_is_only_checked_tells_what_it_would_come_to(tmp_path: Path) -> None:  # S2.3
    async with models_yard(tmp_path) as yard:
        await yard.create()
        await yard.prove()
        request = pb.UpdateModelConfigRequest(
            model="iris", document="serving: {deadline: 2s}\n", validate_only=True
        )
        shown = (await yard.admin.models.UpdateModelConfig(request)).config
        assert (shown.revision, shown.state) == (2, pb.MODEL_VERSION_STATE_PROBING)
        known = {one.field: one.provenance for one in shown.provenance}
        assert known["serving.deadline"] == pb.PROVENANCE_DECLARED
        assert known["inputs[x].shape"] == pb.PROVENANCE_INSPECTED
        wrong = pb.UpdateModelConfigRequest(model="iris", document="inputs: [{name: z}]", validate_only=True)
        refused = (await yard.admin.models.UpdateModelConfig(wrong)).config
        assert refused.state == pb.MODEL_VERSION_STATE_FAILED and "z" in refused.message
        now = (await yard.admin.models.GetModelConfig(pb.GetModelConfigRequest(model="iris"))).config
        assert now.revision == 1


@pytest.mark.asyncio
async def test_components_are_referred_to_in_the_store_as_long_as_the_version_exists(tmp_path: Path) -> None:
    from modelyard.artifacts import stat
    from tests.support.wait import wait_until

    async with models_yard(tmp_path) as yard:
        file = await yard.file()
        await yard.create()
        store = yard.store.client(yard.admin.token).channel

        async def held() -> int:
            return (await stat(store, file.digest)).reference_count

        async def is_held() -> bool:
            return await held() == 1

        await wait_until(is_held, "the file is referred to")
        await yard.admin.models.DeleteModelVersion(pb.DeleteModelVersionRequest(model="iris", version=1))

        async def is_free() -> bool:
            return await held() == 0

        await wait_until(is_free, "the file is let go")
