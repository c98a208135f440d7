"""Calls with everything around them in memory, and the protocol's front before them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from modelyard.channel import connect
from modelyard.oip.v2 import inference_pb2_grpc as rpc
from tests.support.scripted_frames import ALICE, CallsWorld, calls_world


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[CallsWorld]:
    async with calls_world(tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def stub(world: CallsWorld) -> AsyncIterator[Any]:
    async with connect(await world.serve(), token=ALICE) as channel:
        yield rpc.GRPCInferenceServiceStub(channel)
