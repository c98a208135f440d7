"""Quotes, gangs and preemption as a user has them: through the command line, on two agents (S0.5)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from modelyard.client.specs import Options, command_spec
from modelyard.v1 import task_pb2
from tests.support.wait import wait_until
from tests.support.yard import Yard

pytestmark = pytest.mark.asyncio


async def test_user_holds_capacity_and_runs_there(yard: Yard) -> None:  # S0.5
    quote = await asyncio.to_thread(yard.json, "nodes", "quote", "node-2", "--cpu", "1")
    assert [room["node"] for room in quote["rooms"]] == ["node-2"]
    ran = await asyncio.to_thread(yard.cli, "run", "--quote", quote["id"], "--", "sh", "-c", "echo held")
    assert (ran.code, ran.stdout) == (0, "held\n")
    again = await asyncio.to_thread(yard.cli, "run", "--quote", quote["id"], "--", "true")
    assert again.code != 0
    assert "rooms are in use" in again.stderr
    unknown = await asyncio.to_thread(yard.cli, "run", "--quote", "q-none", "--", "true")
    assert (unknown.code, "yard nodes quote" in unknown.stderr) == (3, True)


async def test_elements_of_a_gang_meet_each_other(yard: Yard, tmp_path: Path) -> None:
    """Each waits for the other: started one after the other they would never end."""
    script = f"touch {tmp_path}/$YARD_ARRAY_INDEX; while [ ! -e {tmp_path}/0 -o ! -e {tmp_path}/1 ]; do sleep 0.1; done"
    options = Options(array_size=2, gang="pair", cpu=1, distinct_nodes=True)
    async with yard.client() as client:
        (task_id,) = await client.tasks.submit(command_spec(["sh", "-c", script], options))
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
