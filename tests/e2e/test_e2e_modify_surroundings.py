"""S0.7 as a user sees it: attachments and resources of a task change while it waits and while it runs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from modelyard.client.specs import operator_spec
from modelyard.v1 import task_pb2
from tests.e2e.test_e2e_modify import said, script, start
from tests.support.wait import wait_until
from tests.support.yard import Yard

pytestmark = pytest.mark.asyncio

OPERATORS = """
import time

from modelyard import Context


def read_again(ctx: Context) -> list:
    heard = []
    ctx.on_attachments_changed = lambda attached: heard.append(sorted(attached))
    before = ctx.attachments["a.txt"].read_text()
    while not heard:
        ctx.progress(0.5)
        time.sleep(0.01)
    while len(heard) < 2:
        time.sleep(0.01)
    return [before, ctx.attachments["a.txt"].read_text(), heard, (ctx.directory / "b.txt").exists()]
"""


async def test_running_operator_sees_changed_attachments(yard: Yard, tmp_path: Path) -> None:  # S0.6 S0.7
    code, one, two = tmp_path / "code", tmp_path / "one", tmp_path / "two"
    code.mkdir()
    (code / "reading.py").write_text(OPERATORS)
    one.write_text("one")
    two.write_text("two")
    async with yard.client() as client:
        spec = operator_spec("reading:read_again")
        await client.attach(spec, directory=code, attachments={"a.txt": one, "b.txt": one})
        task_id = await start(client, spec)
        answer = await asyncio.to_thread(
            said, yard, task_id, "--attach", f"{two}:a.txt", "--attach", f"{two}:d/c"
        )
        assert answer == [["attachments", "APPLIED"]]
        assert await asyncio.to_thread(said, yard, task_id, "--attach", "=b.txt") == [
            ["attachments", "APPLIED"]
        ]
        outcome = await client.outcome(task_id)
        assert json.loads(outcome.result.value_json) == [
            "one", "two", [["a.txt", "b.txt", "d/c"], ["a.txt", "d/c"]], False,
        ], outcome  # fmt: skip
        task = await client.tasks.get(task_id)
        assert sorted(attachment.path for attachment in task.spec.attachments) == ["a.txt", "d/c"]


async def test_running_command_finds_a_new_attachment_whole_upon_the_signal(
    yard: Yard, tmp_path: Path
) -> None:  # S0.7
    ready, seen, new = tmp_path / "ready", tmp_path / "seen", tmp_path / "new.txt"
    new.write_text("new")
    wait = f"trap 'cat data/new.txt > {seen}; exit 0' USR1; touch {ready}; while :; do sleep 0.05; done"
    async with yard.client() as client:
        task_id = await start(client, script(wait, {"modify_signal": "SIGUSR1"}))
        await wait_until(ready.exists, "its trap is set")
        words = ("--attach", f"{new}:data/new.txt")
        assert await asyncio.to_thread(said, yard, task_id, *words) == [["attachments", "APPLIED"]]
        assert (await client.outcome(task_id)).state == task_pb2.TASK_STATE_SUCCEEDED
    assert seen.read_text() == "new"


async def test_waiting_task_gets_attachments_and_resources_at_once(
    yard: Yard, tmp_path: Path
) -> None:  # S0.7
    new = tmp_path / "new.txt"
    new.write_text("new")
    async with yard.client() as client:
        (task_id,) = await client.tasks.submit(script("cat new.txt; test ! -e old", {"hold": True, "cpu": 1}))
        words = ("--attach", str(new), "--cpu", "0.5", "--memory", "64Mi")
        assert await asyncio.to_thread(said, yard, task_id, *words) == [
            ["attachments", "APPLIED"],
            ["resources", "APPLIED"],
        ]
        task = await client.tasks.get(task_id)
        assert (task.spec.resources.cpu, task.spec.resources.memory_bytes) == (0.5, 64 << 20)
        too_much = await asyncio.to_thread(yard.cli, "tasks", "modify", task_id, "--cpu", "1000")
        assert too_much.code == 8, too_much.stderr
        await client.tasks.release(task_id)
        assert (await client.outcome(task_id)).state == task_pb2.TASK_STATE_SUCCEEDED


async def test_running_task_gets_room_where_its_node_has_it_and_gives_it_back(
    own_yard: Yard, tmp_path: Path
) -> None:  # S0.7
    yard = own_yard
    async with yard.client() as client:
        task_id = await start(client, script("while :; do sleep 0.05; done", {"cpu": 1, "memory": "64Mi"}))
        node = (await client.tasks.get(task_id)).node

        async def reserved() -> tuple[float, float]:
            answer = await client.nodes.occupancy()
            view = next(found for found in answer if found.node == node)
            amounts = {resource.resource: resource.reserved for resource in view.resources}
            return amounts["cpu"], amounts["memory"] / (1 << 20)

        assert await reserved() == (1, 64)
        words = ("--cpu", "2", "--memory", "128Mi")
        assert await asyncio.to_thread(said, yard, task_id, *words) == [["resources", "APPLIED"]]
        assert await reserved() == (2, 128)
        refused = await client.tasks.modify(task_id, resources=task_pb2.Resources(cpu=1000))
        assert refused.verdicts[0].kind == task_pb2.FIELD_VERDICT_KIND_REJECTED
        assert "left, and it asks for" in refused.verdicts[0].message
        gpu = await client.tasks.modify(task_id, resources=task_pb2.Resources(gpu=1))
        assert "gpu cannot change" in gpu.verdicts[0].message
        for victim in ("scheduler", f"agent-{node}"):
            pid = await asyncio.to_thread(yard.kill, victim)
            await asyncio.to_thread(yard.wait_for, victim, not_pid=pid)
        await wait_until_connected(client, node)
        assert await reserved() == (2, 128)
        small = await client.tasks.modify(
            task_id, resources=task_pb2.Resources(cpu=0.5, memory_bytes=32 << 20)
        )
        assert small.verdicts[0].kind == task_pb2.FIELD_VERDICT_KIND_APPLIED, small
        assert await reserved() == (0.5, 32)
        task = await client.tasks.get(task_id)
        assert (task.spec.resources.cpu, task.attempt) == (0.5, 1)
        await client.tasks.cancel(task_id)
        assert (await client.outcome(task_id)).state == task_pb2.TASK_STATE_CANCELLED
        await wait_until_free(client, node)


async def wait_until_connected(client: object, node: str) -> None:
    async with asyncio.timeout(30):
        while True:
            nodes = (await client.nodes.list()).nodes  # type: ignore[attr-defined]
            if any(found.id == node and found.detail == "" for found in nodes):
                return
            await asyncio.sleep(0.1)


async def wait_until_free(client: object, node: str) -> None:
    async with asyncio.timeout(30):
        while True:
            nodes = (await client.nodes.list()).nodes  # type: ignore[attr-defined]
            if any(found.id == node and not found.running_count for found in nodes):
                return
            await asyncio.sleep(0.1)
