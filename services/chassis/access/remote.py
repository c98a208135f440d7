"""Authentication by asking the scheduler, for services that keep no accounts themselves.

Owns a memory of the answers. It is empty as soon as the scheduler says that a token was revoked. A positive answer is
believed for a few seconds, so that a revoked token ends soon where that word does not come; while the scheduler cannot
be reached it stands in for as long as the scheduler allowed, a minute at most, so that transfers outlive its restart.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import NamedTuple

import grpc
import grpc.aio

from modelyard.errors import from_rpc_error
from modelyard.v1 import account_pb2, account_pb2_grpc
from services.chassis.access.revocations import Revocations
from services.chassis.clock import Clock, SystemClock
from services.chassis.errors import Unauthenticated, Unavailable
from services.chassis.security import TASK, Principal, TokenInvalid, TokenStale, hash_secret

REMEMBER_MS = 5_000
"""How long an answer is believed without asking; what guards a server adds its own ten seconds."""
STAND_IN_MS = 60_000
"""The most that an answer stands in for a scheduler that cannot be reached."""
REMEMBER_UNKNOWN_MS = 5_000
_REMEMBERED_MOST = 10_000
_TIMEOUT_S = 5.0
_OF_TASKS = "yard_task_"
_UNKNOWN = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED)


class AccountsUnreachable(Unavailable):
    """The scheduler, which knows the tokens, cannot be reached; repeat in a moment."""


class RemoteAuthenticator:
    """An Authenticator over AccountService.ResolveToken; `channel` carries the service token.

    A service has one, and runs its `follow` for as long as it lives. It listens over `news`, a connection apart: one
    that is always being made while the scheduler is away would let calls fail for a moment after it is back.
    """

    recheck_s = 60.0

    def __init__(
        self, channel: grpc.aio.Channel, clock: Clock | None = None, *, news: grpc.aio.Channel | None = None
    ) -> None:
        self._accounts = account_pb2_grpc.AccountServiceStub(channel)
        self._clock = clock or SystemClock()
        self._remembered: dict[bytes, _Answer] = {}
        self._asked: dict[bytes, asyncio.Task[_Answer]] = {}
        self._revocations = Revocations(news or channel, self._clock)
        self._revocations.subscribe(self._forget)

    @property
    def generation(self) -> int:
        """Another number after each revocation."""
        return self._revocations.generation

    def subscribe(self, listener: Callable[[], None]) -> None:
        """`listener` is called after each, when nothing is remembered any more."""
        self._revocations.subscribe(listener)

    async def follow(self) -> None:
        """Listens for revocations until it is cancelled."""
        await self._revocations.run()

    def _forget(self) -> None:
        """What is asked now may be answered by what was: whoever comes from now on asks anew."""
        self._remembered.clear()
        self._asked.clear()

    async def authenticate(self, secret: str) -> Principal:
        """The principal of `secret`; raises TokenInvalid, TokenStale or AccountsUnreachable.

        An answer for a task is neither remembered nor does it stand in: its attempt may be replaced at any moment.
        """
        key = hash_secret(secret)
        known = self._remembered.get(key)
        now_ms = self._clock.monotonic_ms()
        if known is None or known.until_ms < now_ms:
            generation = self.generation
            try:
                known = await self._ask(key, secret)
            except AccountsUnreachable:
                if known is None or known.stands_in_until_ms < now_ms:
                    raise
            else:
                if generation == self.generation:
                    self._remember(key, known)
        if isinstance(known.caller, type):
            raise known.caller
        return known.caller

    async def _ask(self, key: bytes, secret: str) -> _Answer:
        """All who bring the same token at the same time ask once, as all open streams do after a revocation."""
        if secret.startswith(_OF_TASKS):
            return await self._resolve(secret)
        asked = self._asked.get(key)
        if asked is None:
            # It has no context: one who asks with little time left must not fail the others.
            asked = asyncio.create_task(self._resolve(secret), context=contextvars.Context())
            self._asked[key] = asked
            asked.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(asked)

    def _answered(self, key: bytes, asked: asyncio.Task[_Answer]) -> None:
        if self._asked.get(key) is asked:
            del self._asked[key]
        if not asked.cancelled():
            asked.exception()  # seen, also where nobody waits any more

    async def _resolve(self, secret: str) -> _Answer:
        request = account_pb2.ResolveTokenRequest(secret=secret)
        try:
            answer = await self._accounts.ResolveToken(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() in _UNKNOWN:
                is_stale = from_rpc_error(error).reason == TokenStale.reason
                refusal: type[Unauthenticated] = TokenStale if is_stale else TokenInvalid
                return _Answer(refusal, self._clock.monotonic_ms() + REMEMBER_UNKNOWN_MS, -1)
            raise AccountsUnreachable(metadata={"code": error.code().name}) from error
        for_ms = STAND_IN_MS
        if answer.HasField("valid_for"):
            for_ms = max(0, min(for_ms, answer.valid_for.ToMilliseconds()))
        now_ms = self._clock.monotonic_ms()
        return _Answer(_principal(answer.identity), now_ms + min(for_ms, REMEMBER_MS), now_ms + for_ms)

    def _remember(self, key: bytes, answer: _Answer) -> None:
        if isinstance(answer.caller, Principal) and answer.caller.role == TASK:
            return
        if len(self._remembered) >= _REMEMBERED_MOST:
            self._remembered.clear()
        self._remembered[key] = answer


class _Answer(NamedTuple):
    """What is known of a token: whom it speaks for, or why it is refused."""

    caller: Principal | type[Unauthenticated]
    until_ms: int
    stands_in_until_ms: int


def _principal(identity: account_pb2.Identity) -> Principal:
    role = account_pb2.Role.Name(identity.role).removeprefix("ROLE_").lower()
    return Principal(role, identity.account, identity.node, identity.task_id, identity.token_id)
