"""Nodes that are cut off: what runs there, what is tried elsewhere and which of two is kept, on real processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from modelyard.client.specs import Options, command_spec
from modelyard.v1 import task_pb2
from tests.e2e.test_e2e_chaos import AGENTS, chaotic_yard
from tests.e2e.test_e2e_modify import start
from tests.support.wait import wait_until

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(240)]

# Lease, margin, and what a strict task needs to end; with time for a machine that is busy.
LONG_S = 90


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_nodes_that_are_cut_off_keep_what_may_run_and_end_what_must_not(
    tmp_path: Path,
) -> None:  # promise 2
    marks = tmp_path / "pids"
    marks.mkdir()

    def lasting(name: str, **options: object) -> task_pb2.TaskSpec:
        text = f"echo $$ > {marks}/{name}.$YARD_ATTEMPT; until [ -e {tmp_path}/go ]; do sleep 0.2; done"
        wish: Options = {"node": AGENTS[0], "cpu": 0.5, **options}  # type: ignore[typeddict-item]
        return command_spec(["sh", "-c", text], wish)

    def pid(name: str) -> int:
        path = marks / name
        return int(path.read_text() or 0) if path.exists() else 0

    async with chaotic_yard() as (yard, proxy, _), yard.client() as client:
        strict = await start(client, lasting("strict", on_disconnect="stop"))
        kept = await start(client, lasting("kept", on_disconnect="keep"))
        usual = await start(client, lasting("usual"))
        for name in ("strict.1", "kept.1", "usual.1"):
            await wait_until(lambda name=name: pid(name), f"{name} runs")  # type: ignore[misc]
        proxy.silence()
        # The agent ends it before anybody else may begin it.
        await wait_until(lambda: not alive(pid("strict.1")), "the strict one is ended", timeout_s=LONG_S)
        assert not (marks / "strict.2").exists()
        assert alive(pid("kept.1"))
        assert alive(pid("usual.1"))

        async def is_lost() -> bool:
            return (await client.nodes.get(AGENTS[0])).detail.startswith("not connected")

        await wait_until(is_lost, "the scheduler gives the node up", timeout_s=LONG_S)
        await proxy.cut()
        proxy.speak()
        await wait_until(lambda: pid("strict.2"), "the strict one is tried again", timeout_s=LONG_S)
        (tmp_path / "go").touch()
        for task_id, attempt in ((strict, 2), (kept, 1), (usual, 1)):
            outcome = await asyncio.wait_for(client.outcome(task_id), LONG_S)
            assert (outcome.state, outcome.attempt) == (task_pb2.TASK_STATE_SUCCEEDED, attempt)
