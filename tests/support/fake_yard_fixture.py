"""A fake yard for one test. Import `fake` into a test module to use it as a fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from modelyard import settings
from modelyard.client import Client
from tests.support.fake_services import TOKEN, FakeServer


@pytest_asyncio.fixture
async def fake() -> AsyncIterator[FakeServer]:
    """A running fake yard."""
    server = FakeServer()
    await server.start()
    yield server
    await server.stop()


def client_of(server: FakeServer, **patience: float) -> Client:
    """A client of the fake yard."""
    flags = {"endpoint": server.address, "store": server.address, "graph": server.address, "token": TOKEN}
    return Client(settings=settings.load(flags, {"HOME": "/nonexistent"}), **patience)
