"""Gangs and preemption on two agents: by the client in depth, and by the command line and grpcurl."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from modelyard.client.specs import Options, command_spec
from modelyard.v1 import task_pb2
from tests.support.doors import CommandLine, Contract
from tests.support.wait import wait_until
from tests.support.yard import Yard

pytestmark = pytest.mark.asyncio


def meeting(place: Path) -> str:
    return f"touch {place}/$YARD_ARRAY_INDEX; while [ ! -e {place}/0 -o ! -e {place}/1 ]; do sleep 0.1; done"


async def test_elements_of_a_gang_meet_each_other(yard: Yard, tmp_path: Path) -> None:
    """Each waits for the other: started one after the other they would never end."""
    options = Options(array_size=2, gang="pair", cpu=1, distinct_nodes=True)
    async with yard.client() as client:
        (task_id,) = await client.tasks.submit(command_spec(["sh", "-c", meeting(tmp_path)], options))
        outcome = await asyncio.wait_for(client.outcome(task_id), 60)
        assert outcome.state == task_pb2.TASK_STATE_SUCCEEDED
        nodes = {(await client.tasks.get(f"{task_id}.{index}")).node for index in range(2)}
        assert nodes == {"node-1", "node-2"}


async def test_preempted_command_saves_its_state_and_goes_on_later(yard: Yard, tmp_path: Path) -> None:
    script = (
        f"[ -e {tmp_path}/saved ] && exit 0; trap 'touch {tmp_path}/saved; exit 0' USR1; "
        f"touch {tmp_path}/runs; while :; do sleep 0.1; done"
    )
    async with yard.client() as client:
        cpu = (await client.nodes.get("node-1")).capacity.cpu
        low = Options(
            node="node-1", cpu=cpu, preemptible=True, preemption_grace="20s", checkpoint_signal="SIGUSR1"
        )
        (victim,) = await client.tasks.submit(command_spec(["bash", "-c", script], low))
        await wait_until((tmp_path / "runs").exists, "the victim runs")
        high = Options(node="node-1", cpu=cpu, priority=5, preempts=True)
        (head,) = await client.tasks.submit(command_spec(["true"], high))
        assert (await asyncio.wait_for(client.outcome(head), 60)).state == task_pb2.TASK_STATE_SUCCEEDED
        assert (tmp_path / "saved").exists()
        outcome = await asyncio.wait_for(client.outcome(victim), 60)
        assert (outcome.state, outcome.attempt) == (task_pb2.TASK_STATE_SUCCEEDED, 2)
        history = (await client.tasks.get(victim)).history
        assert any(f"asked to make room for {head}" in change.detail.message for change in history)


@pytest.mark.parametrize("door_of", [CommandLine, Contract], ids=["cli", "grpcurl"])
async def test_gang_and_preemption_through_either_door(
    yard: Yard, tmp_path: Path, door_of: type[CommandLine] | type[Contract]
) -> None:
    door = door_of(yard)
    wait = lambda task_id: asyncio.to_thread(door.wait, task_id)  # noqa: E731
    gang = await asyncio.to_thread(
        door.submit, ["sh", "-c", meeting(tmp_path)], {"array": 2, "gang": "pair", "cpu": 1}
    )
    assert (await wait(gang))["state"] == "TASK_STATE_SUCCEEDED"
    cpu = (await asyncio.to_thread(door.occupancy, 10))[0]["resources"][0]["capacity"]
    script = f"[ -e {tmp_path}/runs ] && exit 0; touch {tmp_path}/runs; exec sleep 600"
    room = {"node": "node-1", "cpu": cpu}
    low = await asyncio.to_thread(door.submit, ["sh", "-c", script], {**room, "preemptible": True})
    await wait_until((tmp_path / "runs").exists, "the victim runs")
    high = await asyncio.to_thread(door.submit, ["true"], {**room, "priority": 5, "preempts": True})
    assert (await wait(high))["state"] == "TASK_STATE_SUCCEEDED"
    ended = await wait(low)
    assert (ended["state"], ended["attempt"]) == ("TASK_STATE_SUCCEEDED", 2)
