"""RemoteAuthenticator against a real AccountService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from modelyard.channel import connect
from modelyard.v1 import account_pb2, account_pb2_grpc
from services.chassis.access.remote import AccountsUnreachable, RemoteAuthenticator
from services.chassis.process.supervise import Loops
from services.chassis.rpc.server import bind, make_server
from services.chassis.security import SERVICE, Principal, TokenInvalid
from tests.support.fake_clock import FakeClock
from tests.support.wait import wait_until

RULES = {
    f"/modelyard.v1.AccountService/{name}": frozenset({SERVICE})
    for name in ("ResolveToken", "WatchRevocations")
}
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
        self.followers = 0
        self.is_good_known = True
        self.revision = "a-0"
        self.revoked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def ResolveToken(self, request: account_pb2.ResolveTokenRequest, context: Any) -> Any:
        self.asked += 1
        is_known = request.secret == "good" and self.is_good_known
        await self.may_answer.wait()
        if not is_known:
            raise TokenInvalid
        identity = account_pb2.Identity(role=account_pb2.ROLE_USER, account="alice", token_id="t1")
        answer = account_pb2.ResolveTokenResponse(identity=identity)
        if self.valid_for_s:
            answer.valid_for.FromSeconds(self.valid_for_s)
        return answer

    async def WatchRevocations(
        self, request: account_pb2.WatchRevocationsRequest, context: Any
    ) -> AsyncIterator[account_pb2.WatchRevocationsResponse]:
        self.followers += 1
        while True:
            yield account_pb2.WatchRevocationsResponse(revision=self.revision)
            self.revoked.clear()
            await self.revoked.wait()

    def revoke(self, revision: str) -> None:
        self.is_good_known, self.revision = False, revision
        self.revoked.set()


class Parts:
    """The accounts, a clock and the authenticator that asks."""

    def __init__(
        self, accounts: Accounts, channel: grpc.aio.Channel, server: grpc.aio.Server, port: int
    ) -> None:
        self.loops, self.port = Loops(), port
        self.accounts = accounts
        self.clock = FakeClock()
        self.server = server
        self.authenticator = RemoteAuthenticator(channel, self.clock)

    async def follow(self) -> None:
        """From here on it hears of revocations."""
        self.loops.start("revocations", self.authenticator.follow())
        await wait_until(lambda: self.authenticator.generation, "the present revision is heard")


@pytest_asyncio.fixture
async def parts() -> AsyncIterator[Parts]:
    accounts, server = Accounts(), make_server(OnlyTheService(), RULES)
    account_pb2_grpc.add_AccountServiceServicer_to_server(accounts, server)
    port = bind(server, "127.0.0.1", 0)
    await server.start()
    async with connect(f"127.0.0.1:{port}", token=SERVICE_TOKEN) as channel:
        parts = Parts(accounts, channel, server, port)
        yield parts
        await parts.loops.close()
        await parts.server.stop(0)


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


@pytest.mark.asyncio
async def test_revocation_that_is_heard_of_ends_what_is_remembered(parts: Parts) -> None:  # S0.9
    await parts.follow()
    await parts.authenticator.authenticate("good")
    told: list[int] = []
    parts.authenticator.subscribe(lambda: told.append(parts.authenticator.generation))
    parts.accounts.revoke("a-1")
    await wait_until(lambda: told, "the revocation is heard")
    with pytest.raises(TokenInvalid):
        await parts.authenticator.authenticate("good")


@pytest.mark.asyncio
async def test_answer_that_was_under_way_when_a_token_was_revoked_is_not_remembered(parts: Parts) -> None:
    await parts.follow()
    before = parts.authenticator.generation
    parts.accounts.may_answer.clear()
    asking = asyncio.create_task(parts.authenticator.authenticate("good"))
    await wait_until(lambda: parts.accounts.asked, "the question is under way")
    parts.accounts.revoke("a-1")
    await wait_until(lambda: parts.authenticator.generation != before, "the revocation is heard")
    later = asyncio.create_task(parts.authenticator.authenticate("good"))  # joins nobody who asked before
    await wait_until(lambda: parts.accounts.asked == 2, "it is asked anew")
    parts.accounts.may_answer.set()
    assert (await asking).account == "alice"
    with pytest.raises(TokenInvalid):
        await later
    with pytest.raises(TokenInvalid):
        await parts.authenticator.authenticate("good")


@pytest.mark.asyncio
async def test_many_with_one_token_ask_once(parts: Parts) -> None:
    parts.accounts.may_answer.clear()
    asking = [asyncio.create_task(parts.authenticator.authenticate("good")) for _ in range(20)]
    await wait_until(lambda: parts.accounts.asked, "the question is under way")
    asking.pop(0).cancel()  # who asked first need not stay
    parts.accounts.may_answer.set()
    assert {caller.account for caller in await asyncio.gather(*asking)} == {"alice"}
    assert parts.accounts.asked == 1


@pytest.mark.asyncio
async def test_scheduler_that_was_away_is_heard_again_and_may_have_revoked_meanwhile(parts: Parts) -> None:
    await parts.follow()
    before, port = parts.authenticator.generation, parts.port
    await parts.server.stop(0)
    parts.accounts.revoke("b-0")
    parts.server = make_server(OnlyTheService(), RULES)
    account_pb2_grpc.add_AccountServiceServicer_to_server(parts.accounts, parts.server)
    bind(parts.server, "127.0.0.1", port)
    await parts.server.start()

    async def is_heard() -> bool:
        await parts.clock.advance(5_000)
        return parts.authenticator.generation != before

    await wait_until(is_heard, "the new revision is heard")
    with pytest.raises(TokenInvalid):
        await parts.authenticator.authenticate("good")
