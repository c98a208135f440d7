"""Whether a server admits to each RPC exactly whom its rule names: asked by every kind of caller, over real RPCs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from modelyard.channel import ACCOUNT_KEY
from modelyard.errors import from_rpc_error
from modelyard.v1 import account_pb2
from services.chassis.security import ADMIN, AGENT, ANONYMOUS, ON_BEHALF, SERVICE, USER, VIEWER, RuleTable
from tests.support.scheduler_service import SchedulerYard, command


class Asked(Protocol):
    """A yard whose service is asked."""

    scheduler: Any

    def client(self, token: str) -> Any: ...


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


async def _answer_of(channel: grpc.aio.Channel, method: MethodDescriptor, account: str = "") -> str:
    """`ADMITTED`, or the reason of the refusal, for an empty request."""
    request = GetMessageClass(method.input_type)()
    answer = GetMessageClass(method.output_type)
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


async def _callers(scheduler: SchedulerYard) -> dict[str, tuple[str, str, str]]:
    """By name: the role that a caller has, its token, and for which account it calls."""
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


def _expected(rules: RuleTable, role: str, method: MethodDescriptor) -> str:
    allowed = rules[path(method)]
    if role in allowed:
        return ADMITTED
    told = {"": "TOKEN_INVALID", ANONYMOUS: "TOKEN_MISSING", "forbidden": "BEHALF_FORBIDDEN"}
    if role == SERVICE and ON_BEHALF in allowed:
        return "BEHALF_MISSING"
    return told.get(role, "ROLE_NOT_ALLOWED")


async def wrongly_answered(yard: Asked, rules: RuleTable, methods: Iterable[MethodDescriptor]) -> list[str]:
    """Every caller and RPC whose answer is not what the rule says."""
    found = await _callers(yard.scheduler)
    # A channel for each caller: hundreds of connections that are made at once are slower than all that is asked.
    channels = {name: yard.client(token).channel for name, (_, token, _) in found.items()}

    async def check(name: str, method: MethodDescriptor) -> str:
        role, _, account = found[name]
        answer, wanted = await _answer_of(channels[name], method, account), _expected(rules, role, method)
        return "" if answer == wanted else f"{name} → {path(method)}: {answer}, not {wanted}"

    wrong = await asyncio.gather(*[check(name, method) for name in found for method in methods])
    return [line for line in wrong if line]
