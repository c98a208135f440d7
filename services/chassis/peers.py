"""Authentication by asking the scheduler, for services that keep no accounts themselves.

Owns a memory of the answers: positive ones for as long as the scheduler allows and a minute at
most, negative ones for a few seconds.
"""

from __future__ import annotations

import grpc
import grpc.aio

from modelyard.v1 import account_pb2, account_pb2_grpc
from services.chassis.clock import Clock, SystemClock
from services.chassis.errors import Unavailable
from services.chassis.security import Principal, TokenInvalid, hash_secret

REMEMBER_MS = 60_000
REMEMBER_UNKNOWN_MS = 5_000
_REMEMBERED_MOST = 10_000
_TIMEOUT_S = 5.0
_UNKNOWN = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED)


class AccountsUnreachable(Unavailable):
    """The scheduler, which knows the tokens, cannot be reached; repeat in a moment."""


class RemoteAuthenticator:
    """An Authenticator over AccountService.ResolveToken; `channel` carries the service token."""

    def __init__(self, channel: grpc.aio.Channel, clock: Clock | None = None) -> None:
        self._accounts = account_pb2_grpc.AccountServiceStub(channel)
        self._clock = clock or SystemClock()
        self._remembered: dict[bytes, tuple[Principal | None, int]] = {}

    async def authenticate(self, secret: str) -> Principal:
        """The principal of `secret`; raises TokenInvalid or AccountsUnreachable."""
        key = hash_secret(secret)
        caller, until_ms = self._remembered.get(key, (None, -1))
        if until_ms < self._clock.monotonic_ms():
            caller, for_ms = await self._resolve(secret)
            self._remember(key, caller, for_ms)
        if caller is None:
            raise TokenInvalid
        return caller

    async def _resolve(self, secret: str) -> tuple[Principal | None, int]:
        request = account_pb2.ResolveTokenRequest(secret=secret)
        try:
            answer = await self._accounts.ResolveToken(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() in _UNKNOWN:
                return None, REMEMBER_UNKNOWN_MS
            raise AccountsUnreachable(metadata={"code": error.code().name}) from error
        for_ms = REMEMBER_MS
        if answer.HasField("valid_for"):
            for_ms = max(0, min(for_ms, answer.valid_for.ToMilliseconds()))
        return _principal(answer.identity), for_ms

    def _remember(self, key: bytes, caller: Principal | None, for_ms: int) -> None:
        if len(self._remembered) >= _REMEMBERED_MOST:
            self._remembered.clear()
        self._remembered[key] = (caller, self._clock.monotonic_ms() + for_ms)


def _principal(identity: account_pb2.Identity) -> Principal:
    role = account_pb2.Role.Name(identity.role).removeprefix("ROLE_").lower()
    return Principal(role, identity.account, identity.node, identity.task_id, identity.token_id)
