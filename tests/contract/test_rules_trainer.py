"""The trainer's contract, enumerated from its descriptors over a real server: who may call what."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelyard.channel import ACCOUNT_KEY
from modelyard.errors import from_rpc_error
from modelyard.v1 import account_pb2, framework_pb2, job_pb2, seat_pb2, sweep_pb2
from services.chassis.seat_links import SeatLinks
from services.chassis.security import ADMIN, AGENT, ANONYMOUS, ON_BEHALF, ROLES, SERVICE, TASK, USER, VIEWER
from services.trainer.rules import RULES
from services.trainer.servicer.frameworks import FrameworkServicer
from services.trainer.servicer.jobs import JobServicer
from services.trainer.servicer.sweeps import SweepServicer
from tests.support.scheduler_service import command
from tests.support.trainer_yard import TrainerYard, trainer_yard

FILES = (framework_pb2, job_pb2, seat_pb2, sweep_pb2)
SERVICES = [s for file in FILES for s in file.DESCRIPTOR.services_by_name.values()]
SERVED = {
    name
    for servicer in (FrameworkServicer, JobServicer, SweepServicer, SeatLinks)
    for part in servicer.__mro__
    if part.__module__.startswith("services.")
    for name in vars(part)
}
"""What is served; the rest of the contract is refused by gRPC's own stubs."""
EVERY: list[MethodDescriptor] = [method for service in SERVICES for method in service.methods]
METHODS = [method for method in EVERY if method.name in SERVED]
ADMITTED = "admitted"
GATE = {
    "ROLE_NOT_ALLOWED",
    "TOKEN_MISSING",
    "TOKEN_INVALID",
    "RPC_WITHOUT_RULE",
    "BEHALF_MISSING",
    "BEHALF_FORBIDDEN",
}


def path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


async def answer_of(channel: grpc.aio.Channel, method: MethodDescriptor, account: str = "") -> str:
    """`ADMITTED`, or the reason of the refusal, for an empty request."""
    request = message_factory.GetMessageClass(method.input_type)()
    answer = message_factory.GetMessageClass(method.output_type)
    if method.client_streaming:
        kind: Any = channel.stream_stream
    else:
        kind = channel.unary_stream if method.server_streaming else channel.unary_unary
    metadata = ((ACCOUNT_KEY, account),) if account else ()
    begun = kind(path(method), type(request).SerializeToString, answer.FromString)
    call = begun(iter([request]) if method.client_streaming else request, metadata=metadata)
    try:
        await asyncio.wait_for(call.read() if method.server_streaming else call, 30)
    except grpc.aio.AioRpcError as error:
        refused = from_rpc_error(error)
        assert refused.code not in ("UNKNOWN", "INTERNAL"), f"{path(method)}: {refused.message}"
        return refused.reason if refused.reason in GATE else ADMITTED
    finally:
        call.cancel()
    return ADMITTED


async def callers(yard: TrainerYard) -> dict[str, tuple[str, str, str]]:
    """By name: the role that a caller has, its token, and for which account it calls."""
    scheduler = yard.scheduler
    await (await scheduler.user("ada")).submit(command())
    return {
        "nobody": (ANONYMOUS, "", ""),
        "garbage": ("", "yard_user_garbage", ""),
        "viewer": (VIEWER, (await scheduler.user("ada", account_pb2.ROLE_VIEWER)).token, ""),
        "user": (USER, (await scheduler.user("ada")).token, ""),
        "admin": (ADMIN, scheduler.admin.token, ""),
        "agent": (AGENT, (await scheduler.agent_client("n9")).token, ""),
        "service": (SERVICE, scheduler.service_client.token, ""),
        "service on behalf": (ON_BEHALF, scheduler.service_client.token, "ada"),
        "user on behalf": ("forbidden", (await scheduler.user("ada")).token, "bob"),
    }


def expected(role: str, method: MethodDescriptor) -> str:
    allowed = RULES[path(method)]
    if role in allowed:
        return ADMITTED
    told = {"": "TOKEN_INVALID", ANONYMOUS: "TOKEN_MISSING", "forbidden": "BEHALF_FORBIDDEN"}
    if role == SERVICE and ON_BEHALF in allowed:
        return "BEHALF_MISSING"
    return told.get(role, "ROLE_NOT_ALLOWED")


@pytest.mark.asyncio
@pytest.mark.timeout(90)
async def test_every_rpc_of_training_admits_exactly_whom_its_rule_names(tmp_path: Path) -> None:
    async with trainer_yard(tmp_path) as yard:
        found = await callers(yard)
        # A channel for each caller: hundreds of connections that are made at once are slower than all that is asked.
        channels = {name: yard.client(token).channel for name, (_, token, _) in found.items()}

        async def check(name: str, method: MethodDescriptor) -> str:
            role, _, account = found[name]
            answer = await answer_of(channels[name], method, account)
            wanted = expected(role, method)
            return "" if answer == wanted else f"{name} → {path(method)}: {answer}, not {wanted}"

        wrong = await asyncio.gather(*[check(name, method) for name in found for method in METHODS])
        assert [line for line in wrong if line] == []


def test_every_rpc_of_training_has_a_rule_and_every_rule_an_rpc() -> None:
    assert {path(method) for method in METHODS} == set(RULES)


def test_rules_of_training_name_known_roles_and_agents_for_seats_alone() -> None:
    assert all(roles <= ROLES | {ON_BEHALF} for roles in RULES.values())
    assert not any(roles & {ANONYMOUS, SERVICE} for roles in RULES.values())
    assert {rpc for rpc, roles in RULES.items() if TASK in roles} == {
        f"/modelyard.v1.JobService/{rpc}"
        for rpc in ("ReportProgress", "WatchAddresses", "CreateJob", "GetJob", "WatchJob", "StopJob")
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
