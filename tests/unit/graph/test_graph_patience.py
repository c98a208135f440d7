"""While the store is away the engine waits for it; what is refused is refused."""

from __future__ import annotations

import asyncio

import pytest

from modelyard.errors import YardError
from services.graph.peers.patience import LONGEST_DELAY_S, PatientStore
from tests.support.fake_clock import FakeClock


class AwayStore:
    """Is away so many times, then answers or refuses."""

    def __init__(self, times: int, code: str = "") -> None:
        self.left = times
        self.code = code

    def _answer(self) -> None:
        if self.left:
            self.left -= 1
            raise YardError("away", code="UNAVAILABLE")
        if self.code:
            raise YardError("refused", code=self.code)

    async def put(self, account: str, data: bytes, holder: str) -> str:
        self._answer()
        return "d"

    async def read(self, account: str, digest: str, bytes_most: int) -> bytes:
        self._answer()
        return b"x"


@pytest.mark.asyncio
async def test_store_that_is_away_is_waited_for() -> None:
    clock = FakeClock()
    away = AwayStore(9)
    store = PatientStore(away, clock)
    asked = asyncio.create_task(store.read("ann", "d", 10))
    await asyncio.sleep(0)
    assert not asked.done()
    await clock.advance(round(9_000 * LONGEST_DELAY_S))
    assert await asked == b"x"
    assert await store.put("ann", b"", "h") == "d"


@pytest.mark.asyncio
async def test_what_is_refused_is_not_asked_again() -> None:
    with pytest.raises(YardError, match="refused"):
        await PatientStore(AwayStore(0, "NOT_FOUND"), FakeClock()).put("ann", b"", "h")
