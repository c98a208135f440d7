"""The word of the scheduler that tokens were revoked, for services that remember whose tokens are.

Owns the stream over which it comes. It only adds to the short memories: while it is broken, those alone count.
"""

from __future__ import annotations

from collections.abc import Callable

import grpc.aio

from modelyard.v1 import account_pb2, account_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.logs import get_logger

_RETRY_S, _RETRY_MOST_S = 0.2, 5.0

_log = get_logger("chassis.revocations")


class Revocations:
    """Heard over `channel`, which carries the service token; `run` listens."""

    def __init__(self, channel: grpc.aio.Channel, clock: Clock) -> None:
        self._accounts = account_pb2_grpc.AccountServiceStub(channel)
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []
        self._revision = ""
        self._is_heard = True
        self.generation = 0
        """Another number after each revocation that was heard of, and whenever one may have been missed."""

    def subscribe(self, listener: Callable[[], None]) -> None:
        """`listener` is called on the loop after each change of `generation`, in the order of subscription."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Listens until it is cancelled; begins anew when the scheduler has gone."""
        retry_s = _RETRY_S
        while True:
            reason = "the stream has ended"
            try:
                async for message in self._accounts.WatchRevocations(account_pb2.WatchRevocationsRequest()):
                    retry_s = _RETRY_S
                    self._hear(message.revision)
            except grpc.aio.AioRpcError as error:
                reason = error.code().name
            if self._is_heard:
                self._is_heard = False
                _log.warning("revocations_not_heard", reason=reason)
            await self._clock.sleep(retry_s)
            retry_s = min(retry_s * 2, _RETRY_MOST_S)

    def _hear(self, revision: str) -> None:
        if not self._is_heard:
            self._is_heard = True
            _log.info("revocations_heard")
        if revision == self._revision:
            return
        self._revision = revision
        self.generation += 1
        for listener in self._listeners:
            listener()
