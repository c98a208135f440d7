"""What every RPC of every service gets from the chassis, over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from modelyard import channel as channels
from modelyard.channel import connect
from modelyard.errors import CallRefused, ConnectionFailed, CredentialsRefused, YardError, from_rpc_error
from services.chassis.access.admission import STREAM_CHECK_FAR_S, STREAM_LOOK_S, Access
from services.chassis.rpc.interceptors import RpcInterceptor
from services.chassis.rpc.server import add_health_and_reflection, bind, server_with
from services.chassis.security import Principal
from tests.e2e.tcp_proxy import Proxy
from tests.support import echo_service as echo
from tests.support.echo_service import USER_TOKEN, VIEWER_TOKEN, EchoServicer, FewTokens, call_one, method
from tests.support.wait import wait_until

KINDS = {"One": "unary_unary", "Down": "unary_stream", "Up": "stream_unary", "Both": "stream_stream"}


class Yard:
    """A server with its parts in reach, and channels to it."""

    def __init__(self, authenticator: FewTokens, servicer: EchoServicer, address: str) -> None:
        self.authenticator = authenticator
        self.servicer = servicer
        self.address = address
        self.channels: list[grpc.aio.Channel] = []

    def channel(self, token: str = USER_TOKEN) -> grpc.aio.Channel:
        self.channels.append(connect(self.address, token=token))
        return self.channels[-1]


class FarTokens:
    """The same table in another process: nobody says when a token is revoked."""

    def __init__(self, tokens: FewTokens) -> None:
        self._tokens = tokens

    async def authenticate(self, secret: str) -> Principal:
        return await self._tokens.authenticate(secret)


@asynccontextmanager
async def serving(unary_timeout_s: float = 30.0, *, is_far: bool = False) -> AsyncIterator[Yard]:
    authenticator, servicer = FewTokens(), EchoServicer()
    guard = FarTokens(authenticator) if is_far else authenticator
    access = Access(guard, echo.RULES, stream_look_s=0.02 if is_far else STREAM_LOOK_S)
    assert access.stream_check_s == (STREAM_CHECK_FAR_S if is_far else FewTokens.recheck_s)
    if is_far:
        access.stream_check_s = 0.02
    server = server_with(RpcInterceptor(access, unary_timeout_s=unary_timeout_s))
    await add_health_and_reflection(server, echo.add_to(server, servicer))
    yard = Yard(authenticator, servicer, f"127.0.0.1:{bind(server, '127.0.0.1', 0)}")
    servicer.peer = yard.channel()
    await server.start()
    try:
        yield yard
    finally:
        for channel in yard.channels:
            await channel.close()
        await server.stop(0)


@pytest_asyncio.fixture
async def yard() -> AsyncIterator[Yard]:
    async with serving() as yard:
        yield yard


async def refusal(call: Any) -> YardError:
    """The error that `call` ends with, as a client sees it."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if isinstance(call, AsyncIterator) or hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    return from_rpc_error(caught.value)


def requests(*texts: str | bytes) -> Iterator[str | bytes]:
    return iter(texts)


def start(channel: grpc.aio.Channel, name: str, *texts: str | bytes) -> Any:
    """Start a call of any kind."""
    stub = method(channel, name, KINDS[name])
    return stub(texts[0]) if name in ("One", "Down") else stub(requests(*texts))


@pytest.mark.asyncio
async def test_server_that_takes_its_time_to_answer_a_connection_is_waited_for() -> None:
    async with serving() as yard:
        proxy = Proxy(int(yard.address.rpartition(":")[2]))
        proxy.delay_s = 0.2
        await proxy.start()
        async with connect(f"127.0.0.1:{proxy.port}", token=USER_TOKEN) as channel:
            assert (await call_one(channel, "hello")).value == "hello"
        await proxy.stop()


@pytest.mark.asyncio
async def test_call_of_each_kind_answers(yard: Yard) -> None:
    channel = yard.channel()
    assert (await start(channel, "One", "a")).value == "a"
    assert [item.value async for item in start(channel, "Down", "a b")] == ["a", "b"]
    assert (await start(channel, "Up", "a", "b")).value == "a b"
    assert [item.value async for item in start(channel, "Both", "a", "b")] == ["a", "b"]


@pytest.mark.asyncio
@pytest.mark.parametrize("name", KINDS)
async def test_call_without_token_is_refused(yard: Yard, name: str) -> None:
    error = await refusal(start(yard.channel(token=""), name, "a"))
    assert (error.code, error.reason) == ("UNAUTHENTICATED", "TOKEN_MISSING")
    assert isinstance(error, CredentialsRefused)
    assert error.next_step


@pytest.mark.asyncio
@pytest.mark.parametrize("name", KINDS)
async def test_call_with_unknown_token_is_refused(yard: Yard, name: str) -> None:
    error = await refusal(start(yard.channel("yard_user_unknown"), name, "a"))
    assert (error.code, error.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID")


@pytest.mark.asyncio
async def test_call_with_other_scheme_is_refused(yard: Yard) -> None:
    metadata = (("authorization", f"Basic {USER_TOKEN}"),)
    error = await refusal(call_one(yard.channel(""), "a", metadata=metadata))
    assert error.reason == "TOKEN_MISSING"


@pytest.mark.asyncio
@pytest.mark.parametrize("name", KINDS)
async def test_call_by_role_without_right_is_refused(yard: Yard, name: str) -> None:
    error = await refusal(start(yard.channel(VIEWER_TOKEN), name, "a"))
    assert (error.code, error.reason) == ("PERMISSION_DENIED", "ROLE_NOT_ALLOWED")
    assert error.metadata["role"] == "viewer"


@pytest.mark.asyncio
async def test_call_without_rule_is_refused_even_with_token(yard: Yard) -> None:
    error = await refusal(call_one(yard.channel(), "a", "WithoutRule"))
    assert (error.code, error.reason) == ("PERMISSION_DENIED", "RPC_WITHOUT_RULE")


@pytest.mark.asyncio
async def test_call_of_unknown_method_is_unimplemented(yard: Yard) -> None:
    assert (await refusal(call_one(yard.channel(), "a", "Absent"))).code == "UNIMPLEMENTED"


@pytest.mark.asyncio
@pytest.mark.parametrize("name", KINDS)
async def test_service_error_reaches_client_with_all_its_parts(yard: Yard, name: str) -> None:
    error = await refusal(start(yard.channel(), name, "refuse"))
    assert isinstance(error, CallRefused)
    assert (error.code, error.reason, error.field) == ("NOT_FOUND", "ECHO_NOT_FOUND", "value")
    assert (error.message, error.next_step) == ("There is no such echo.", "say something else")
    assert error.metadata["echo"] == "x"
    assert error.metadata["request_id"]


@pytest.mark.asyncio
@pytest.mark.parametrize("name", KINDS)
async def test_crash_answers_internal_with_request_id_and_nothing_else(yard: Yard, name: str) -> None:
    error = await refusal(start(yard.channel(), name, "crash"))
    assert (error.code, error.reason) == ("INTERNAL", "INTERNAL")
    assert "echo went missing" not in error.message
    assert len(error.metadata["request_id"]) == 16


@pytest.mark.asyncio
@pytest.mark.parametrize("name", KINDS)
async def test_malformed_message_is_refused_as_such(yard: Yard, name: str) -> None:
    error = await refusal(start(yard.channel(), name, b"\xff\xff\xff\xff"))
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")


@pytest.mark.asyncio
@pytest.mark.parametrize("name", KINDS)
async def test_malformed_message_without_token_says_only_that(yard: Yard, name: str) -> None:
    error = await refusal(start(yard.channel(""), name, b"\xff\xff\xff\xff"))
    assert error.reason == "TOKEN_MISSING"


@pytest.mark.asyncio
async def test_error_of_a_peer_does_not_leak_through(yard: Yard) -> None:
    error = await refusal(call_one(yard.channel(), "peer"))
    assert (error.code, error.reason) == ("UNAVAILABLE", "PEER_FAILED")
    assert isinstance(error, CallRefused)


@pytest.mark.asyncio
async def test_error_with_long_odd_message_arrives_shortened(yard: Yard) -> None:
    error = await refusal(call_one(yard.channel(), "long"))
    assert (error.code, error.reason) == ("NOT_FOUND", "ECHO_NOT_FOUND")
    assert error.message.startswith("yyy")


@pytest.mark.asyncio
async def test_message_above_four_mebibytes_is_refused(yard: Yard) -> None:
    assert (await refusal(call_one(yard.channel(), "x" * (4 << 20)))).code == "RESOURCE_EXHAUSTED"


@pytest.mark.asyncio
async def test_request_id_of_the_client_is_quoted(yard: Yard) -> None:
    channel = grpc.aio.insecure_channel(yard.address)
    metadata = (("authorization", f"Bearer {USER_TOKEN}"), ("x-request-id", "mine"))
    error = await refusal(method(channel, "One")("refuse", metadata=metadata))
    await channel.close()
    assert error.metadata["request_id"] == "mine"


@pytest.mark.asyncio
async def test_principal_is_known_to_the_handler(yard: Yard) -> None:
    assert (await call_one(yard.channel(), "who")).value == "user/alice/"


@pytest.mark.asyncio
async def test_token_is_remembered_until_one_is_revoked(yard: Yard) -> None:
    channel = yard.channel()
    for _ in range(5):
        await call_one(channel, "a")
    assert yard.authenticator.asked == 1
    yard.authenticator.revoke(USER_TOKEN)
    assert (await refusal(call_one(channel, "a"))).reason == "TOKEN_INVALID"


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["Down", "Up", "Both"])
async def test_open_stream_ends_when_its_token_is_revoked(yard: Yard, name: str) -> None:
    """It is told: by itself it would be looked at only once in 15 s, and checked once in 10 minutes."""
    call = start(yard.channel(), name, "hang")
    await wait_until(lambda: yard.authenticator.asked, "the stream is open")
    yard.authenticator.revoke(VIEWER_TOKEN)  # another's token: checked, and the stream lives on
    await wait_until(lambda: yard.authenticator.asked >= 2, "the token was checked again")
    assert not call.done()
    yard.authenticator.revoke(USER_TOKEN)
    assert (await refusal(call)).reason == "TOKEN_INVALID"


@pytest.mark.asyncio
async def test_open_stream_ends_too_where_nobody_says_that_its_token_was_revoked() -> None:
    async with serving(is_far=True) as yard:
        call = start(yard.channel(), "Both", "hang")
        await wait_until(lambda: yard.authenticator.asked >= 3, "the token is checked again and again")
        assert not call.done()
        yard.authenticator.revoke(USER_TOKEN)
        assert (await refusal(call)).reason == "TOKEN_INVALID"


@pytest.mark.asyncio
async def test_unary_call_above_the_limit_ends_with_a_clear_error() -> None:
    async with serving(unary_timeout_s=0.05) as yard:
        error = await refusal(call_one(yard.channel(), "hang"))
        assert (error.code, error.reason) == ("DEADLINE_EXCEEDED", "CALL_TOO_LONG")


@pytest.mark.asyncio
async def test_unary_call_named_wait_has_another_limit() -> None:
    async with serving(unary_timeout_s=0.01) as yard:
        error = await refusal(call_one(yard.channel(), "hang", "WaitOne", timeout=0.2))
        assert error.reason == "CALL_TIMED_OUT"


@pytest.mark.asyncio
async def test_deadline_and_request_id_are_passed_on(yard: Yard) -> None:
    """A call made while serving another carries its request id and never a later deadline."""
    loop = asyncio.get_running_loop()
    channel = yard.channel()
    channels.incoming.set(("from-above", loop.time() + 0.1))
    error = await refusal(call_one(channel, "refuse"))
    assert error.metadata["request_id"] == "from-above"
    assert (await refusal(call_one(channel, "hang", timeout=20))).code == "DEADLINE_EXCEEDED"


@pytest.mark.asyncio
async def test_cancelled_stream_is_cancelled_in_the_handler_and_closed(yard: Yard) -> None:
    call = start(yard.channel(), "Down", "a hang")
    assert (await call.read()).value == "a"
    await wait_until(lambda: yard.servicer.log == ["hangs"], "the answer is behind it")
    call.cancel()
    await wait_until(lambda: yard.servicer.log == ["hangs", "cancelled", "closed"], "the handler was closed")


@pytest.mark.asyncio
async def test_unreachable_service_is_a_connection_failure() -> None:
    async with serving() as yard:
        address = yard.address
    async with connect(address, token=USER_TOKEN) as channel:
        error = await refusal(call_one(channel, "a", timeout=5))
    assert isinstance(error, ConnectionFailed)
    assert error.next_step


@pytest.mark.asyncio
async def test_health_check_is_anonymous_and_watch_is_not(yard: Yard) -> None:
    stub = health_pb2_grpc.HealthStub(yard.channel(""))
    request = health_pb2.HealthCheckRequest(service=echo.NAME)
    assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
    assert (await refusal(stub.Watch(request))).reason == "TOKEN_MISSING"
    watch = health_pb2_grpc.HealthStub(yard.channel(VIEWER_TOKEN)).Watch(request)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


@pytest.mark.asyncio
async def test_health_check_of_unknown_service_is_not_found(yard: Yard) -> None:
    stub = health_pb2_grpc.HealthStub(yard.channel(""))
    assert (await refusal(stub.Check(health_pb2.HealthCheckRequest(service="absent")))).code == "NOT_FOUND"


@pytest.mark.asyncio
async def test_reflection_needs_any_token(yard: Yard) -> None:
    def ask(token: str) -> Any:
        stub = reflection_pb2_grpc.ServerReflectionStub(yard.channel(token))
        return stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))

    assert (await refusal(ask(""))).reason == "TOKEN_MISSING"
    [answer] = [item async for item in ask(VIEWER_TOKEN)]
    assert echo.NAME in {item.name for item in answer.list_services_response.service}
