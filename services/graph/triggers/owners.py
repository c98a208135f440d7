"""Whether the account whose runs a trigger starts is still there: asked of the scheduler, remembered for a moment."""

from __future__ import annotations

import grpc.aio

from modelyard.errors import from_rpc_error
from modelyard.v1 import account_pb2, account_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.peers.passing import passed_on
from services.chassis.peers.sessions import on_behalf_of

CALL_S = 10.0
REMEMBERED_MS = 5_000
_REMEMBERED_MOST = 1_000


class Owners:
    """Asked before each firing becomes a run."""

    def __init__(self, scheduler: grpc.aio.Channel, clock: Clock) -> None:
        self._stub = account_pb2_grpc.AccountServiceStub(scheduler)
        self._clock = clock
        self._there: dict[str, int] = {}

    async def exists(self, account: str) -> bool:
        """Raises what the scheduler answers, and Unavailable leaves where it is away."""
        now_ms = self._clock.monotonic_ms()
        if self._there.get(account, 0) > now_ms:
            return True
        try:
            await self._stub.GetAccount(
                account_pb2.GetAccountRequest(), metadata=on_behalf_of(account), timeout=CALL_S
            )
        except grpc.aio.AioRpcError as error:
            refused = from_rpc_error(error)
            if refused.code == "NOT_FOUND":
                return False
            raise passed_on(refused) from error
        if len(self._there) >= _REMEMBERED_MOST:
            self._there.clear()
        self._there[account] = now_ms + REMEMBERED_MS
        return True
