"""RemoteAuthenticator against a real AccountService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from modelyard.channel import connect
from modelyard.v1 import account_pb2, account_pb2_grpc
from services.chassis.peers import AccountsUnreachable, RemoteAuthenticator
from services.chassis.security import SERVICE, Principal, TokenInvalid
from services.chassis.server import bind, make_server
from tests.support.fake_clock import FakeClock

RULES = {"/modelyard.v1.AccountService/ResolveToken": frozenset({SERVICE})}
SERVICE_TOKEN = "yard_service_" + "s" * 43


class OnlyTheService:
    """Knows the services' token."""

    async def authenticate(self, secret: str) -> Principal:
        if secret != SERVICE_TOKEN:
            raise TokenInvalid
        return Principal(SERVICE)


class Accounts(account_pb2_grpc.AccountServiceServicer):
    """Counts how often it is asked; knows one token."""

    def __init__(self) -> None:
        self.asked = 0
        self.valid_for_s = 0

    async def ResolveToken(self, request: account_pb2.ResolveTokenRequest, context: Any) -> Any:
        self.asked += 1
        if request.secret != "good":
            raise TokenInvalid
        identity = account_pb2.Identity(role=account_pb2.ROLE_USER, account="alice", token_id="t1")
        answer = account_pb2.ResolveTokenResponse(identity=identity)
        if self.valid_for_s:
            answer.valid_for.FromSeconds(self.valid_for_s)
        return answer


class Parts:
    """The accounts, a clock and the authenticator that asks."""

    def __init__(self, accounts: Accounts, channel: grpc.aio.Channel, server: grpc.aio.Server) -> None:
        self.accounts = accounts
        self.clock = FakeClock()
        self.server = server
        self.authenticator = RemoteAuthenticator(channel, self.clock)


@pytest_asyncio.fixture
async def parts() -> AsyncIterator[Parts]:
    accounts, server = Accounts(), make_server(OnlyTheService(), RULES)
    account_pb2_grpc.add_AccountServiceServicer_to_server(accounts, server)
    address = f"127.0.0.1:{bind(server, '127.0.0.1', 0)}"
    await server.start()
    async with connect(address, token=SERVICE_TOKEN) as channel:
        yield Parts(accounts, channel, server)
    await server.stop(0)


@pytest.mark.asyncio
async def test_known_token_is_resolved_every_few_seconds(parts: Parts) -> None:
    for _ in range(3):
        assert await parts.authenticator.authenticate("good") == Principal("user", "alice", token_id="t1")
    assert parts.accounts.asked == 1
    parts.clock.turn(5_001)
    await parts.authenticator.authenticate("good")
    assert parts.accounts.asked == 2


@pytest.mark.asyncio
async def test_answer_is_remembered_no_longer_than_allowed(parts: Parts) -> None:
    parts.accounts.valid_for_s = 3
    await parts.authenticator.authenticate("good")
    parts.clock.turn(3_001)
    await parts.authenticator.authenticate("good")
    assert parts.accounts.asked == 2


@pytest.mark.asyncio
async def test_unknown_token_is_refused_and_remembered_for_seconds(parts: Parts) -> None:
    for _ in range(3):
        with pytest.raises(TokenInvalid):
            await parts.authenticator.authenticate("bad")
    assert parts.accounts.asked == 1
    parts.clock.turn(5_001)
    with pytest.raises(TokenInvalid):
        await parts.authenticator.authenticate("bad")
    assert parts.accounts.asked == 2


@pytest.mark.asyncio
async def test_unreachable_scheduler_is_not_a_wrong_token(parts: Parts) -> None:
    await parts.authenticator.authenticate("good")
    await parts.server.stop(0)
    await parts.authenticator.authenticate("good")  # remembered
    parts.clock.turn(5_001)
    await parts.authenticator.authenticate("good")  # stands in
    with pytest.raises(AccountsUnreachable):
        await parts.authenticator.authenticate("other")
    parts.clock.turn(60_001)
    with pytest.raises(AccountsUnreachable):
        await parts.authenticator.authenticate("good")
