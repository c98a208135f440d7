"""Who may do what: every RPC has its rule, and no byte reaches another account."""

from pathlib import Path

import grpc
import pytest

from modelyard.errors import from_rpc_error
from modelyard.v1 import artifact_pb2 as pb
from modelyard.v1 import lineage_pb2
from services.chassis.errors import ServiceError
from services.chassis.security import Principal
from services.store.rules import RULES
from services.store.servicer.accounts import account_for, check_holder, reach_of
from tests.support.store_yard import PRINCIPALS, Client, store_yard

READERS = {"admin", "user", "viewer", "agent", "service", "task"}


def test_rules_name_every_rpc_and_no_other() -> None:
    services = (
        pb.DESCRIPTOR.services_by_name["ArtifactService"],
        lineage_pb2.DESCRIPTOR.services_by_name["LineageService"],
    )
    served = {f"/{service.full_name}/{method.name}" for service in services for method in service.methods}
    assert set(RULES) == served


@pytest.mark.asyncio
@pytest.mark.parametrize("token", sorted(PRINCIPALS))
async def test_every_rpc_by_every_principal_follows_the_rules(tmp_path: Path, token: str) -> None:
    role = PRINCIPALS[token].role
    account = "ada" if role in ("agent", "service") else ""
    async with store_yard(tmp_path) as yard, Client(yard.address, token) as client:
        calls = {
            "PutArtifact": lambda: client.put(b"bytes", account=account),
            "GetArtifact": lambda: client.get("0" * 64, account=account),
            "StatArtifact": lambda: client.stat("0" * 64, account=account),
            "ListArtifacts": lambda: client.stub.ListArtifacts(pb.ListArtifactsRequest()),
            "DeleteArtifact": lambda: client.delete("0" * 64, account=account),
            "AddReferences": lambda: client.refer("user:x", "0" * 64, account=account),
            "RemoveReferences": lambda: client.release("user:x"),
        }
        for name, call in calls.items():
            allowed = role in RULES[f"/modelyard.v1.ArtifactService/{name}"]
            assert (await _reason(call) != "ROLE_NOT_ALLOWED") == allowed, (name, role)


@pytest.mark.asyncio
@pytest.mark.parametrize("token", ["", "nonsense"])
async def test_without_a_known_token_nothing_is_answered(tmp_path: Path, token: str) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, token) as client:
        assert await _reason(lambda: client.put(b"bytes")) in ("TOKEN_MISSING", "TOKEN_INVALID")
        assert await _reason(lambda: client.stat("0" * 64)) in ("TOKEN_MISSING", "TOKEN_INVALID")
        assert yard.files() == []


@pytest.mark.asyncio
async def test_agents_services_and_tasks_work_for_the_account(tmp_path: Path) -> None:
    async with (
        store_yard(tmp_path) as yard,
        Client(yard.address, "agent") as agent,
        Client(yard.address, "service") as service,
        Client(yard.address, "task") as task,
        Client(yard.address, "viewer") as viewer,
    ):
        output = await agent.put(b"output", account="ada", holder="task:t-1")
        assert (output.account, output.reference_count) == ("ada", 1)
        assert await service.get(output.digest, account="ada") == b"output"
        assert await task.get(output.digest) == b"output"
        assert await viewer.get(output.digest) == b"output"
        own = await task.put(b"own", holder="task:t-1")
        assert own.account == "ada"
        assert await _reason(lambda: agent.get(output.digest)) == "ACCOUNT_REQUIRED"
        assert await _reason(lambda: service.get(output.digest, account="bob")) == "ARTIFACT_NOT_FOUND"
        assert await _reason(lambda: task.get(output.digest, account="bob")) == "ACCOUNT_FORBIDDEN"
        assert await _reason(lambda: task.put(b"x", holder="task:t-2")) == "HOLDER_FORBIDDEN"
        assert await _reason(lambda: viewer.put(b"x")) == "ROLE_NOT_ALLOWED"


@pytest.mark.asyncio
async def test_people_release_only_what_they_hold(tmp_path: Path) -> None:
    async with (
        store_yard(tmp_path) as yard,
        Client(yard.address, "ada") as ada,
        Client(yard.address, "bob") as bob,
        Client(yard.address, "service") as service,
    ):
        digest = (await ada.put(b"bytes")).digest
        await ada.refer("user:keep", digest)
        await bob.release("user:keep")
        assert (await ada.stat(digest)).reference_count == 1
        await service.refer("task:t-9", digest, account="ada")
        assert await _reason(lambda: ada.release("task:t-9")) == "HOLDER_FORBIDDEN"
        await ada.release("user:keep")
        await service.release("task:t-9")
        assert (await ada.stat(digest)).reference_count == 0


@pytest.mark.parametrize("role", sorted(READERS))
def test_account_for_another_account_is_for_those_who_act_for_others(role: str) -> None:
    caller = Principal(role, "ada", task_id="t-1")
    if role in ("admin", "agent", "service"):
        assert account_for(caller, "bob") == "bob"
        assert reach_of(caller) is None
        check_holder(caller, "anything")
    else:
        with pytest.raises(ServiceError):
            account_for(caller, "bob")
        assert account_for(caller, "") == account_for(caller, "ada") == reach_of(caller) == "ada"


async def _reason(call: object) -> str:
    try:
        await call()  # type: ignore[operator]
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error).reason
    return ""
