"""Quotas of accounts that are gone: dropped, so that whoever gets the name later begins without them.

Owns when it is looked: the scheduler says of each end of tokens, and the end of an account is one; and at the start.
"""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio

from modelyard.v1 import account_pb2, account_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.peers.sessions import on_behalf_of
from services.models.catalogue import events as ev
from services.models.catalogue.engine import Engine
from services.models.quotas import FIELDS

ASK_S = 5.0
RETRY_S = 30.0

_log = get_logger("models.departed")


class DepartedAccounts:
    """Looked for by `run`, as often as `look` was called."""

    def __init__(self, engine: Engine, scheduler: grpc.aio.Channel, clock: Clock) -> None:
        self._engine = engine
        self._accounts = account_pb2_grpc.AccountServiceStub(scheduler)
        self._clock = clock
        self._wake = asyncio.Event()

    def look(self) -> None:
        """An account may be gone."""
        self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled. A scheduler that does not answer is asked again."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                for account in sorted(self._engine.state.quotas):
                    if await self._is_gone(account):
                        await self._drop(account)
            except grpc.aio.AioRpcError as error:
                _log.warning("accounts_not_checked", reason=error.code().name)
                await self._clock.sleep(RETRY_S)
                self._wake.set()

    async def _is_gone(self, account: str) -> bool:
        request = account_pb2.GetAccountRequest(name=account)
        try:
            await self._accounts.GetAccount(request, metadata=on_behalf_of(account), timeout=ASK_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return True
        return False

    async def _drop(self, account: str) -> None:
        reply, answer = self._engine.new_reply()
        self._engine.post(ev.QuotaSet(reply, account=account, given=dict.fromkeys(FIELDS, 0)))
        await answer
        _log.info("quota_dropped", account=account)
