"""Running work survives the death of any service, in any order. Promises 1–3, 5, 7 of the design."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from modelyard.v1 import task_pb2
from tests.support.wait import wait_until
from tests.support.yard import Yard

TASKS = 200


def token_specs(tokens: Path, seconds: float) -> list[task_pb2.TaskSpec]:
    """Commands that sleep and then append who they are."""
    script = f"sleep {seconds}; echo $YARD_TASK_ID >> {tokens}"
    spec = task_pb2.TaskSpec(command=task_pb2.CommandWork(argv=["sh", "-c", script]))
    spec.resources.cpu = 0.04
    return [spec] * TASKS


@pytest.mark.asyncio
async def test_two_hundred_tasks_survive_the_death_of_every_service(own_yard: Yard, tmp_path: Path) -> None:
    """I1, I2, I5, I8: each task ends once, by one attempt, and leaves nothing."""
    yard, tokens = own_yard, tmp_path / "tokens"
    async with yard.client() as client:
        begin = (await client.tasks.list()).revision
        ids = await client.tasks.submit(*token_specs(tokens, 8))
        seen: dict[str, int] = {}
        waiting = asyncio.gather(
            *(client.outcome(task_id) for task_id in ids), _watch(yard, begin, ids, seen)
        )
        await wait_until(lambda: _count(yard, "sleep") >= TASKS, "all run", timeout_s=60, state=yard.logs)
        victims = ["scheduler", "agent-node-1", "store", "agent-node-2", "scheduler", "agent-node-1"]
        random.Random(8).shuffle(victims)
        for victim in victims:
            pid = await asyncio.to_thread(yard.kill, victim)
            await asyncio.to_thread(yard.wait_for, victim, not_pid=pid)
        async with asyncio.timeout(60):
            *outcomes, _ = await waiting
        tasks = await asyncio.gather(*(client.tasks.get(task_id) for task_id in ids))
    assert {outcome.state for outcome in outcomes} == {task_pb2.TASK_STATE_SUCCEEDED}
    assert {task.attempt for task in tasks} == {1}
    assert sorted(tokens.read_text().split()) == sorted(ids)
    assert seen == dict.fromkeys(ids, task_pb2.TASK_STATE_SUCCEEDED)
    for task in tasks:
        ends = [change for change in task.history if change.state == task_pb2.TASK_STATE_SUCCEEDED]
        assert len(ends) == 1
    await wait_until(
        lambda: not yard.task_leavings(), "nothing of the tasks is left", state=yard.task_leavings
    )
    assert [node["runningCount"] for node in _occupancy(yard)] == [0, 0]


async def _watch(yard: Yard, begin: int, ids: list[str], seen: dict[str, int]) -> None:
    """A watcher that never hears of the deaths; each task's changes come once and in order."""
    revisions: dict[str, int] = {}
    async with yard.client() as client:
        async for task in client.tasks.watch(*ids, revision=begin):
            assert task.revision > revisions.get(task.id, 0), f"{task.id} was told again"
            revisions[task.id] = task.revision
            seen[task.id] = task.state
            if len(seen) == len(ids) and set(seen.values()) == {task_pb2.TASK_STATE_SUCCEEDED}:
                return


def _count(yard: Yard, word: str) -> int:
    return sum(words.startswith(word) for words in yard.task_processes().values())


def _occupancy(yard: Yard) -> list[dict[str, object]]:
    nodes: list[dict[str, object]] = yard.json("nodes", "occupancy")["nodes"]
    for node in nodes:
        node.setdefault("runningCount", 0)
        for resource in node["resources"]:  # type: ignore[attr-defined]
            assert resource.get("reserved", 0) == 0
    return nodes
