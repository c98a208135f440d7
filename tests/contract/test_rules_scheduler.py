"""The scheduler's contract, enumerated from its descriptors over a real server: who may call what, health, reflection.

Each RPC is called by each kind of principal; what comes back must be exactly what `rules.py` says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from modelyard.channel import ACCOUNT_KEY
from modelyard.errors import from_rpc_error
from modelyard.v1 import (
    account_pb2,
    agent_link_pb2,
    contact_pb2,
    lineage_pb2,
    node_pb2,
    operator_pb2,
    queue_pb2,
    task_pb2,
)
from services.chassis.security import ADMIN, AGENT, ANONYMOUS, ON_BEHALF, ROLES, SERVICE, TASK, USER, VIEWER
from services.scheduler.rules import RULES
from tests.support.scheduler_service import Client, SchedulerYard, command, scheduler_yard
from tests.support.scripted_agent import connected

FILES = (task_pb2, operator_pb2, node_pb2, account_pb2, contact_pb2, queue_pb2, agent_link_pb2, lineage_pb2)
SERVICES = [s for file in FILES for s in file.DESCRIPTOR.services_by_name.values()]
METHODS: list[MethodDescriptor] = [method for service in SERVICES for method in service.methods]

ADMITTED = "admitted"
BEHALF = {"BEHALF_FORBIDDEN", "BEHALF_MISSING"}


def path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def start_call(client: Client, method: MethodDescriptor, *requests: Any, account: str = "") -> Any:
    """A call of any RPC with these messages; ``requests`` are sent as bytes if they are bytes."""
    answer = message_factory.GetMessageClass(method.output_type)
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"

    def encode(request: Any) -> bytes:
        return request if isinstance(request, bytes) else request.SerializeToString()

    call = getattr(client.channel, kind)(path(method), encode, answer.FromString)

    async def stream() -> AsyncIterator[Any]:
        for request in requests:
            yield request

    metadata = [(ACCOUNT_KEY, account)] if account else None
    return call(stream() if method.client_streaming else requests[0], metadata=metadata)


async def answer_of(client: Client, method: MethodDescriptor, secret: str, account: str = "") -> str:
    """`ADMITTED`, or the reason of the refusal, for an empty request."""
    request: Any = message_factory.GetMessageClass(method.input_type)()
    if method.name == "ResolveToken":
        # A token that is none is refused like a caller's own.
        request.secret = secret
    call = start_call(client, method, request, account=account)
    try:
        # Every stream has something to say at once.
        await asyncio.wait_for(call.read() if method.server_streaming else call, 30)
    except grpc.aio.AioRpcError as error:
        refused = from_rpc_error(error)
        assert refused.code not in ("UNKNOWN", "INTERNAL"), f"{path(method)}: {refused.message}"
        gate = {"ROLE_NOT_ALLOWED", "TOKEN_MISSING", "TOKEN_INVALID", "RPC_WITHOUT_RULE", *BEHALF}
        return refused.reason if refused.reason in gate else ADMITTED
    finally:
        call.cancel()
    return ADMITTED


async def callers(yard: SchedulerYard, task_token: str) -> dict[str, tuple[str, Client]]:
    """By name: the role that a caller has, and a client of theirs."""
    expired = await yard.user("ada")
    row = await yard.service._accounts.get_token(await _token_id(expired))
    await yard.service._accounts.revoke(row.id)
    await yard.service._accounts.put_token(expired.token, "ada", USER, expire_ms=1)
    return {
        "nobody": (ANONYMOUS, yard.client("")),
        "garbage": ("", yard.client("yard_user_garbage")),
        "garbage task": ("", yard.client("yard_task_" + "A" * 80)),
        "not base64": ("", yard.client("yard_task_***")),
        "expired": ("", expired),
        "viewer": (VIEWER, await yard.user("ada", account_pb2.ROLE_VIEWER)),
        "user": (USER, await yard.user("ada")),
        "other user": (USER, await yard.user("bob")),
        "admin": (ADMIN, yard.admin),
        "agent": (AGENT, await yard.agent_client("n9")),
        "service": (SERVICE, yard.service_client),
        "task": (TASK, yard.client(task_token)),
    }


async def _token_id(client: Client) -> str:
    answer = await client.accounts.GetIdentity(account_pb2.GetIdentityRequest())
    return answer.identity.token_id


@pytest.mark.asyncio
@pytest.mark.timeout(90)
async def test_every_rpc_admits_exactly_whom_its_rule_names(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard) as agent:
        ada = await yard.user("ada")
        await ada.submit(command())
        start = await agent.start()
        found = await callers(yard, start.task_token)

        async def check(name: str, method: MethodDescriptor) -> str:
            role, client = found[name]
            answer = await answer_of(client, method, yard.admin.token)
            if role in RULES[path(method)]:
                expected = ADMITTED
            elif not role:
                expected = "TOKEN_INVALID"
            else:
                expected = "TOKEN_MISSING" if role == ANONYMOUS else "ROLE_NOT_ALLOWED"
            if role == SERVICE and ON_BEHALF in RULES[path(method)] and expected != ADMITTED:
                expected = "BEHALF_MISSING"
            return "" if answer == expected else f"{name} → {path(method)}: {answer}, not {expected}"

        wrong = await asyncio.gather(*[check(name, method) for name in found for method in METHODS])
        assert [line for line in wrong if line] == []
        # The token of an attempt ends with the attempt.
        agent.exit(start)
        await ada.wait(start.task_id)
        with pytest.raises(Exception, match="attempt that this token belongs to is over"):
            await yard.service.authenticator().authenticate(start.task_token)


@pytest.mark.asyncio
@pytest.mark.timeout(90)
async def test_only_services_act_on_behalf_of_an_account_and_only_where_the_rule_says_so(
    tmp_path: Path,
) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard) as agent:
        ada = await yard.user("ada")
        await ada.submit(command())
        found = await callers(yard, (await agent.start()).task_token)

        async def check(name: str, method: MethodDescriptor) -> str:
            role, client = found[name]
            answer = await answer_of(client, method, yard.admin.token, account="ada")
            rule = RULES[path(method)]
            if role == SERVICE:
                expected = ADMITTED if rule & {SERVICE, ON_BEHALF} else "ROLE_NOT_ALLOWED"
            else:
                expected = "TOKEN_INVALID" if not role else "BEHALF_FORBIDDEN"
            return "" if answer == expected else f"{name} → {path(method)}: {answer}, not {expected}"

        wrong = await asyncio.gather(*[check(name, method) for name in found for method in METHODS])
        assert [line for line in wrong if line] == []


@pytest.mark.asyncio
async def test_what_a_service_submits_on_behalf_of_an_account_is_that_accounts(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard, connected(yard):
        ada, bob = await yard.user("ada"), await yard.user("bob")
        request = task_pb2.SubmitTasksRequest(specs=[command()])
        answer = await yard.service_client.tasks.SubmitTasks(request, metadata=[(ACCOUNT_KEY, "ada")])
        assert (
            await ada.tasks.GetTask(task_pb2.GetTaskRequest(task_id=answer.task_ids[0]))
        ).task.account == "ada"
        with pytest.raises(grpc.aio.AioRpcError, match="NOT_FOUND"):
            await bob.tasks.GetTask(task_pb2.GetTaskRequest(task_id=answer.task_ids[0]))


def test_every_rpc_has_a_rule_and_every_rule_an_rpc() -> None:
    assert {path(method) for method in METHODS} == set(RULES)


def test_rules_name_known_roles_and_nobody_is_let_in_but_to_join() -> None:
    assert all(roles <= ROLES | {ANONYMOUS, ON_BEHALF} for roles in RULES.values())
    assert {rpc for rpc, roles in RULES.items() if ANONYMOUS in roles} == {
        "/modelyard.v1.AgentLinkService/Join"
    }


@pytest.mark.asyncio
async def test_every_service_is_healthy_and_described_by_reflection(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        health = health_pb2_grpc.HealthStub(yard.client("").channel)
        for name in ("", *(service.full_name for service in SERVICES)):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING

        async def listed(client: Client) -> set[str]:
            stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
            request = reflection_pb2.ServerReflectionRequest(list_services="")
            async for answer in stub.ServerReflectionInfo(iter([request])):
                return {service.name for service in answer.list_services_response.service}
            return set()

        assert await listed(await yard.user("ada")) >= {service.full_name for service in SERVICES}
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await listed(yard.client(""))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
