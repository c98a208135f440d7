"""The store as the engine asks it: while it is away it is waited for, since a node would fail for nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from modelyard.errors import YardError
from services.chassis.clock import Clock
from services.chassis.logs import get_logger

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0
AWAY = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})

T = TypeVar("T")
_log = get_logger("graph.patience")


class Store(Protocol):
    """What of the store the engine needs; both may be asked twice."""

    async def put(self, account: str, data: bytes, holder: str) -> str: ...
    async def read(self, account: str, digest: str, bytes_most: int) -> bytes: ...


class PatientStore:
    """Asks again, at growing distances, for as long as the store is away. What is refused is refused at once."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def put(self, account: str, data: bytes, holder: str) -> str:
        """Keeps the bytes; their digest. Raises YardError. May be cancelled."""
        return await self._patiently(lambda: self._store.put(account, data, holder))

    async def read(self, account: str, digest: str, bytes_most: int) -> bytes:
        """The bytes of a small artefact. Raises YardError; ValueError where it is larger. May be cancelled."""
        return await self._patiently(lambda: self._store.read(account, digest, bytes_most))

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        delay_s = FIRST_DELAY_S
        while True:
            try:
                return await ask()
            except YardError as error:
                if error.code not in AWAY:
                    raise
                _log.warning("store_away", reason=error.reason, again_s=delay_s)
            await self._clock.sleep(delay_s)
            delay_s = min(2 * delay_s, LONGEST_DELAY_S)
