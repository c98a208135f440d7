"""Frames on a real yard: loaded on demand, adopted after any death, given back with their memory (S2.4–S2.6)."""

from __future__ import annotations

import pytest

from modelyard.v1 import deployment_pb2 as pb
from tests.support.frames_room import frames_room
from tests.support.yard import Yard

pytestmark = pytest.mark.asyncio


async def test_model_is_loaded_when_it_is_called(yard: Yard) -> None:  # S2.5
    async with frames_room(yard) as room:
        await room.add("adder", plus=5)
        assert await room.call("adder", 3) == 8
        listed = await room.deployments.ListFrames(pb.ListFramesRequest())
        (frame,) = listed.frames
        assert (frame.model, frame.version, frame.state) == ("adder", 1, pb.FRAME_STATE_READY)
        assert frame.node in yard.nodes and frame.call_count == 1
