"""Frames on a real yard: loaded on demand, adopted after any death, given back with their memory (S2.4–S2.6)."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc.aio
import psutil
import pytest

from modelyard.errors import from_rpc_error
from modelyard.models import Serving
from modelyard.v1 import deployment_pb2 as pb
from services.chassis.errors import ServiceError
from services.models.calls.errors import FrameEnded
from services.models.frames.model import FrameUnloadable
from tests.support.frames_room import Room, frames_room
from tests.support.kept import entries, grown
from tests.support.wait import wait_until
from tests.support.yard import Yard, new_yard

pytestmark = pytest.mark.asyncio

WHO = """
import os
import time

class Who:
    def __init__(self):
        self.born = time.time_ns()

    def predict(self, x: int) -> int:
        if x == -1:
            os._exit(3)
        return self.born
"""
LARGE = """
class Large:
    def __init__(self):
        self.weights = bytearray(230 << 20)
        self.weights[::4096] = b"w" * len(self.weights[::4096])

    def predict(self, x: int) -> int:
        return x + 1
"""


async def test_model_is_loaded_when_it_is_called(yard: Yard) -> None:  # S2.5
    async with frames_room(yard) as room:
        await room.add("adder", plus=5)
        assert await room.call("adder", 3) == 8
        frame = await frame_of(room, "adder")
        assert "occupied" in frame.placement_reason
        assert (frame.model, frame.version, frame.state) == ("adder", 1, pb.FRAME_STATE_READY)
        assert frame.node in yard.nodes and frame.call_count == 1


async def frame_of(room: Room, model: str) -> pb.Frame:
    listed = await room.deployments.ListFrames(pb.ListFramesRequest(model=model))
    (frame,) = listed.frames
    return frame


def memory_of(yard: Yard) -> int:
    """Of all that runs for the yard, in bytes."""
    found = 0
    for pid in yard.processes():
        with suppress(psutil.NoSuchProcess):
            found += psutil.Process(pid).memory_info().rss
    return found


async def test_killed_frame_is_back_without_a_call_for_it(yard: Yard) -> None:  # S2.6, N7
    async with frames_room(yard) as room:
        await room.add("adder", plus=5)
        assert await room.call("adder", 3) == 8
        before = await frame_of(room, "adder")
        with pytest.raises(EOFError):
            await room.call("adder", -1)
        assert await room.call("adder", 4) == 9
        after = await frame_of(room, "adder")
        assert (after.id, after.task_id, after.restart_count) == (before.id, before.task_id, 1)


async def test_service_that_dies_adopts_its_frames(yard: Yard) -> None:  # S2.6
    """None is doubled: the process that answered before answers after."""
    async with frames_room(yard) as room:
        await room.add("adder", code=WHO)
        first = await room.call("adder", 0)
        before = await frame_of(room, "adder")
        await room.restart()
        assert await room.call("adder", 0) == first
        after = await frame_of(room, "adder")
        assert (after.id, after.task_id, after.state) == (before.id, before.task_id, pb.FRAME_STATE_READY)


async def test_agent_and_scheduler_may_die_under_load(own_yard: Yard) -> None:  # S2.6, N7
    """Calls go on. A process that dies while its agent is away is started again when the agent is back; the others
    are who they were, none is there twice, none is forgotten."""
    models = [f"who-{number}" for number in range(4)]
    async with frames_room(own_yard, with_calls=True) as room:
        for model in models:
            await room.add(model, code=WHO, serving=Serving(is_idempotent=False))
        born = {model: await room.ask(model, 0) for model in models}
        before = {one.model: one for one in await frames_of(room)}
        seen: dict[str, set[int]] = {model: set() for model in models}
        reasons: set[tuple[str, str]] = set()
        over = asyncio.Event()

        async def load(model: str) -> None:
            while not over.is_set():
                try:
                    seen[model].add(await room.ask(model, 0))
                except ServiceError as error:
                    reasons.add((model, error.reason))

        callers = [asyncio.create_task(load(model)) for model in models]
        try:
            victim = before["who-0"]
            pid = own_yard.kill(f"agent-{victim.node}")
            # Its agent hears of it only when it is there again.
            with pytest.raises(FrameEnded):
                await room.ask("who-0", -1)
            own_yard.wait_for(f"agent-{victim.node}", not_pid=pid)
            await wait_until(
                lambda: bool(seen["who-0"] - {born["who-0"]}), "the one that died answers again", timeout_s=30
            )
            pid = own_yard.kill("scheduler")
            own_yard.wait_for("scheduler", not_pid=pid)
        finally:
            over.set()
            await asyncio.gather(*callers)
        after = {one.model: one for one in await frames_of(room)}
        assert {name: (one.id, one.task_id) for name, one in after.items()} == {
            name: (one.id, one.task_id) for name, one in before.items()
        }
        assert [after[model].restart_count for model in models] == [1, 0, 0, 0]
        assert {name: seen[name] for name in models[1:]} == {name: {born[name]} for name in models[1:]}
        assert len(seen["who-0"] - {born["who-0"]}) == 1 and reasons <= {("who-0", "FRAME_ENDED")}


async def frames_of(room: Room) -> list[pb.Frame]:
    return list((await room.deployments.ListFrames(pb.ListFramesRequest())).frames)


async def test_rollback_holds_for_the_next_call(yard: Yard) -> None:  # S2.6, G4
    async with frames_room(yard) as room:
        await room.add("adder", 1, plus=1)
        await room.add("adder", 2, plus=2)
        await _deploy(room, "1")
        assert await room.call("adder", 10) == 11
        await room.deployments.ModifyDeployment(
            pb.ModifyDeploymentRequest(
                name="adder", routes=[pb.DeploymentRoute(model="adder", version="2", weight=1)]
            )
        )
        # Version 2 is being loaded: the one before answers meanwhile, and no call waits.
        assert await room.call("adder", 10) == 11
        await wait_until(
            lambda: room.source.route("adder", "", "me").served.key.version == 2, "version 2", timeout_s=30
        )
        assert await room.call("adder", 10) == 12
        await room.deployments.RollBackDeployment(pb.RollBackDeploymentRequest(name="adder"))
        assert await room.call("adder", 10) == 11


async def test_alias_that_moves_is_followed(yard: Yard) -> None:  # S2.6
    async with frames_room(yard) as room:
        await room.add("adder", 1, plus=1)
        await room.add("adder", 2, plus=2)
        room.shelf.aliases["adder", "champion"] = 1
        await _deploy(room, "")
        assert await room.call("adder", 10) == 11
        room.shelf.aliases["adder", "champion"] = 2
        answers = set()
        while 12 not in answers:
            answers.add(await room.call("adder", 10))
        assert answers <= {11, 12}


async def _deploy(room: Room, version: str) -> None:
    await room.deployments.Deploy(
        pb.DeployRequest(
            routes=[pb.DeploymentRoute(model="adder", version=version, weight=1)],
            settings=pb.ServingSettings(min_instances=1),
        )
    )
    async for told in room.deployments.WatchDeployment(pb.WatchDeploymentRequest(name="adder")):
        if told.deployment.state == pb.DEPLOYMENT_STATE_READY:
            return


async def test_hundreds_of_calls_of_more_models_than_memory_fail_none(yard: Yard) -> None:  # S2, G5
    """Seven models, memory for three, four callers who stay with a model for some calls: every call is answered by its
    model, never more than three are loaded, and nothing is kept of those that were."""
    async with frames_room(yard, memory="780Mi", with_calls=True) as room:
        for number in range(7):
            await room.add(f"m{number}", plus=number)
        for number in range(7):
            assert await room.ask(f"m{number}", 10) == 10 + number
        await unloaded(room)
        before, most = entries(room.room, room.calls), 0

        async def caller(start: int) -> None:
            nonlocal most
            for turn in range(6):
                number = (start + 3 * turn) % 7
                for value in range(15):
                    assert await room.ask(f"m{number}", value, left_s=120) == value + number
                    most = max(most, room.room.engine.state.held_bytes)

        await asyncio.gather(*(caller(start) for start in range(4)))
        assert most <= 780 << 20
        listed = await room.deployments.ListFrames(pb.ListFramesRequest(with_ended=True))
        ended = [one for one in listed.frames if one.model in room.shelf.known and one.reason == "MADE_ROOM"]
        assert len(ended) >= 8
        await unloaded(room)
        more = grown(before, entries(room.room, room.calls), slack=4)
        # Of seats that are closed the latest are remembered, which is bounded: tests/unit/models/test_models_kept.py.
        assert not {where: count for where, count in more.items() if not where.startswith("Link.")}


async def unloaded(room: Room) -> None:
    """Until no frame is left."""
    for model in [*room.shelf.known]:
        await room.source.unload(model, "")
    frames = room.room.engine.state.frames
    await wait_until(lambda: not frames, "all have ended", timeout_s=60, state=lambda: frames)


async def test_node_without_room_gets_it_from_idle_frames() -> None:  # G5
    """No budget is said: what the nodes have decides, and the scheduler knows."""
    with new_yard(agents=1, memory="700Mi") as yard:
        async with frames_room(yard) as room:
            for number in range(3):
                await room.add(f"m{number}", plus=number)
            for number in (0, 1, 2, 0):
                assert await room.call(f"m{number}", 10, deadline_s=60) == 10 + number


async def test_unload_gives_the_memory_back(yard: Yard) -> None:  # S2.6
    async with frames_room(yard) as room:
        await room.add("large", code=LARGE, memory=512 << 20)
        assert await room.call("large", 1) == 2
        loaded = memory_of(yard)
        await room.deployments.UnloadModel(pb.UnloadModelRequest(model="large"))
        frames = room.room.engine.state.frames
        await wait_until(lambda: not frames, "it has ended", timeout_s=30, state=lambda: frames)
        assert loaded - memory_of(yard) > 200 << 20


async def test_model_that_cannot_be_loaded_says_why(yard: Yard) -> None:  # S2.6
    async with frames_room(yard) as room:
        await room.add("broken", code="class Broken:\n    def __init__(self):\n        raise ValueError('no weights')\n"
                                      "    def predict(self, x: int) -> int:\n        return x\n")  # fmt: skip
        with pytest.raises(FrameUnloadable, match="no weights"):
            await room.call("broken", 1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await room.deployments.LoadModel(pb.LoadModelRequest(model="broken"))
        refused = from_rpc_error(caught.value)
        assert refused.reason == "FRAME_UNLOADABLE" and "no weights" in refused.message


async def test_load_on_a_node_and_what_is_said_of_it(yard: Yard) -> None:  # S2.5, N8
    async with frames_room(yard) as room:
        await room.add("adder")
        told = await room.deployments.ExplainModelCall(pb.ExplainModelCallRequest(name="adder"))
        assert "is not loaded; a call loads it" in told.summary
        assert told.placement.node in yard.nodes
        found = await room.deployments.LoadModel(pb.LoadModelRequest(model="adder", node="node-2"))
        assert (found.frame.node, found.frame.state) == ("node-2", pb.FRAME_STATE_READY)
        told = await room.deployments.ExplainModelCall(pb.ExplainModelCallRequest(name="adder"))
        assert told.frame.id == found.frame.id and "is warm" in told.summary
