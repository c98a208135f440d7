"""Nodes as those who care for them see them: looked at, pooled, upgraded and emptied without losing a task."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from modelyard.client.specs import command_spec, operator_spec
from modelyard.v1 import task_pb2
from tests.e2e.test_e2e_modify import script, start
from tests.support.wait import wait_until
from tests.support.yard import Yard

pytestmark = pytest.mark.asyncio


async def test_agents_begin_anew_under_their_running_tasks(own_yard: Yard, tmp_path: Path) -> None:
    yard, go = own_yard, tmp_path / "go"
    async with yard.client() as client:
        ids = [await start(client, script(f"until [ -e {go} ]; do sleep 0.05; done")) for _ in range(3)]
        before = {name: yard.pid(f"agent-{name}") for name in yard.nodes}
        shells = yard.shells(str(go))
        assert len(shells) == 3
        restarted = await asyncio.to_thread(yard.cli, "agent", "restart")
        assert restarted.code == 0, restarted.stderr
        assert restarted.stderr.count("has begun anew") == len(yard.nodes)
        assert {name: yard.pid(f"agent-{name}") for name in yard.nodes} == before
        assert yard.shells(str(go)) == shells
        [later] = await client.tasks.submit(operator_spec("echo"))
        await client.outcome(later)
        go.touch()
        for task_id in ids:
            outcome = await client.outcome(task_id)
            assert (outcome.state, outcome.attempt) == (task_pb2.TASK_STATE_SUCCEEDED, 1)


async def test_occupancy_shows_who_uses_what_and_the_other_node_gets_the_task(
    yard: Yard,
) -> None:  # S0.4 S0.5
    async with yard.client() as client:
        busy_node, free_node = yard.nodes
        spec = command_spec(["sleep", "60"], {"node": busy_node, "cpu": 1, "name": "busy"})
        task_id = await start(client, spec)
        nodes = {node["node"]: node for node in yard.json("nodes", "occupancy")["nodes"]}
        assert set(nodes) == {busy_node, free_node}
        (shown,) = nodes[busy_node]["tasks"]
        assert (shown["taskId"], shown["name"], shown["resources"]["cpu"]) == (task_id, "busy", 1.0)
        cpu = next(r for r in nodes[busy_node]["resources"] if r["resource"] == "cpu")
        assert [window["windowS"] for window in cpu["windows"]] == [1, 10, 60]
        assert cpu["reserved"] == 1.0
        assert cpu["occupancyRatio"] <= 1.0
        printed = await asyncio.to_thread(yard.cli, "nodes", "occupancy")
        assert all(len(line) <= 80 for line in printed.stdout.splitlines())
        pinned = await start(client, command_spec(["sleep", "60"], {"node": free_node}))
        assert (await client.tasks.get(pinned)).node == free_node
        await client.tasks.cancel(task_id, pinned)


async def test_pooled_node_is_left_to_those_who_name_its_pool(yard: Yard) -> None:
    pooled, other = yard.nodes
    yard.json("nodes", "label", pooled, "pool=fast")
    async with yard.client() as client:
        assert (await client.nodes.get(pooled)).pool == "fast"
        for options, node in (({}, other), ({"pool": "fast"}, pooled)):
            [task_id] = await client.tasks.submit(operator_spec("echo", options))  # type: ignore[arg-type]
            assert (await client.outcome(task_id)).node == node
    refused = await asyncio.to_thread(yard.cli, "call", "echo", "--pool", "slow")
    assert refused.code == 8
    assert "no node is in pool 'slow'" in refused.stderr
    yard.json("nodes", "label", pooled, "pool-")


async def test_drained_node_is_left_alone_and_uncordon_brings_it_back(yard: Yard) -> None:
    async with yard.client() as client:
        task_id = await start(client, command_spec(["sleep", "60"]))
        node = (await client.tasks.get(task_id)).node
        other = next(name for name in yard.nodes if name != node)
        drained = yard.json("nodes", "drain", node, "--timeout", "100ms")
        assert (drained["state"], "drainDeadlineTime" in drained) == ("NODE_STATE_DRAINING", True)

        await wait_until(
            lambda: yard.json("tasks", "get", task_id).get("node") == other, "it is moved", timeout_s=30
        )
        await wait_until(
            lambda: yard.json("nodes", "get", node)["detail"].startswith("drained"),
            "it says that it is empty",
        )
        yard.json("nodes", "uncordon", node)
        assert yard.json("nodes", "get", node)["state"] == "NODE_STATE_READY"
        await client.tasks.cancel(task_id)


async def test_node_that_serves_is_not_forgotten(yard: Yard) -> None:
    refused = await asyncio.to_thread(yard.cli, "nodes", "rm", yard.nodes[0])
    assert refused.code == 6
    assert "stop its agent" in refused.stderr
