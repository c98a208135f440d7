"""Suspend and resume as a user sees them: a running task stops where it is, keeps its node, and goes on."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from modelyard.client.specs import Options, command_spec, operator_spec
from modelyard.v1 import task_pb2
from tests.e2e.test_e2e_modify import start
from tests.support.wait import wait_until
from tests.support.yard import Yard

pytestmark = pytest.mark.asyncio

# A process of its own session counts, too, and so does what was started in the background.
COUNT = "setsid sh -c 'while :; do echo >> {beats}; sleep 0.02; done' & wait"
OPERATOR = """
import subprocess
import time

from modelyard import Context


def count(ctx: Context, path: str, stop: str) -> int:
    import os

    n = 0
    while not os.path.exists(stop):
        n += 1
        with open(path, "a") as file:
            file.write("x")
        time.sleep(0.01)
    return n
"""
SUSPENDED, RUNNING = task_pb2.TASK_STATE_SUSPENDED, task_pb2.TASK_STATE_RUNNING


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def stands_still(path: Path) -> bool:
    """Nothing is written for ten times as long as one beat takes."""
    before = size(path)
    await asyncio.sleep(0.3)
    return size(path) == before


async def goes_on(path: Path) -> None:
    before = size(path)
    await wait_until(lambda: size(path) > before, "it beats again")


def shell(text: str, options: Options | None = None) -> task_pb2.TaskSpec:
    return command_spec(["sh", "-c", text], options)


async def test_command_stops_with_all_it_has_started_and_goes_on(yard: Yard, tmp_path: Path) -> None:  # S0.7
    beats = tmp_path / "beats"
    async with yard.client() as client:
        task_id = await start(client, shell(COUNT.format(beats=beats)))
        await wait_until(lambda: size(beats) > 0, "it beats")
        before = await client.tasks.get(task_id)
        shown = await asyncio.to_thread(yard.json, "tasks", "suspend", task_id)
        assert [task["state"] for task in shown["tasks"]] == ["TASK_STATE_SUSPENDED"]
        assert await stands_still(beats)
        again = await client.tasks.suspend(task_id)
        assert (again[0].state, again[0].node) == (SUSPENDED, before.node)
        listed = await asyncio.to_thread(yard.json, "tasks", "ls", "--in", "suspended")
        assert task_id in [task["id"] for task in listed["tasks"]]
        resumed = await asyncio.to_thread(yard.json, "tasks", "resume", task_id)
        assert [task["state"] for task in resumed["tasks"]] == ["TASK_STATE_RUNNING"]
        await goes_on(beats)
        await client.tasks.cancel(task_id)
        assert (await client.outcome(task_id)).state == task_pb2.TASK_STATE_CANCELLED
        history = (await client.tasks.get(task_id)).history
    assert [change.state for change in history if change.state in (RUNNING, SUSPENDED)][:1] == [RUNNING]
    assert SUSPENDED in [change.state for change in history]


async def test_operator_stops_and_ends_with_its_result(yard: Yard, tmp_path: Path) -> None:  # S0.7
    beats, stop, code = tmp_path / "beats", tmp_path / "stop", tmp_path / "code"
    code.mkdir()
    (code / "counting.py").write_text(OPERATOR)
    async with yard.client() as client:
        bundle = await client.artifacts.bundle(code)
        spec = operator_spec("counting:count", {"bundle_digest": bundle})
        spec.params_json = f'{{"path": "{beats}", "stop": "{stop}"}}'
        task_id = await start(client, spec)
        await wait_until(lambda: size(beats) > 0, "it beats")
        assert (await client.tasks.suspend(task_id))[0].state == SUSPENDED
        assert await stands_still(beats)
        assert (await client.tasks.resume(task_id))[0].state == RUNNING
        await goes_on(beats)
        stop.touch()
        outcome = await client.outcome(task_id)
        assert int(outcome.result.value_json) == size(beats)


async def test_run_timeout_does_not_count_while_suspended_and_a_cancel_is_heard(
    yard: Yard, tmp_path: Path
) -> None:  # S0.7
    heard, ready = tmp_path / "heard", tmp_path / "ready"
    script = f"trap 'echo > {heard}; exit 0' TERM; touch {ready}; while :; do sleep 0.02; done"
    async with yard.client() as client:
        task_id = await start(client, shell(script, {"timeout": 3}))
        await wait_until(ready.exists, "its trap is set")
        await client.tasks.suspend(task_id)
        began = time.monotonic()
        while time.monotonic() - began < 4:
            await asyncio.sleep(0.5)
            assert (await client.tasks.get(task_id)).state == SUSPENDED
        await client.tasks.cancel(task_id)
        assert (await client.outcome(task_id)).state == task_pb2.TASK_STATE_CANCELLED
    assert heard.exists()


async def test_waiting_task_is_held_and_resumed(yard: Yard) -> None:  # S0.7
    async with yard.client() as client:
        spec = shell("true", {"cpu": 0.1, "hold": True})
        (task_id,) = await client.tasks.submit(spec)
        assert (await client.tasks.suspend(task_id))[0].state == task_pb2.TASK_STATE_HELD
        await client.tasks.resume(task_id)
        assert (await client.outcome(task_id)).state == task_pb2.TASK_STATE_SUCCEEDED
        result = await asyncio.to_thread(yard.cli, "tasks", "suspend", task_id)
        assert result.code == 6
        assert "has ended" in result.stderr


@pytest.mark.parametrize("kind", ["command", "operator"])
async def test_suspension_outlasts_the_death_of_every_service(
    own_yard: Yard, tmp_path: Path, kind: str
) -> None:  # S0.7
    yard, beats, stop = own_yard, tmp_path / "beats", tmp_path / "stop"
    async with yard.client() as client:
        if kind == "command":
            spec = shell(f"while [ ! -e {stop} ]; do echo >> {beats}; sleep 0.02; done")
        else:
            code = tmp_path / "code"
            code.mkdir()
            (code / "counting.py").write_text(OPERATOR)
            spec = operator_spec("counting:count", {"bundle_digest": await client.artifacts.bundle(code)})
            spec.params_json = f'{{"path": "{beats}", "stop": "{stop}"}}'
        task_id = await start(client, spec)
        await wait_until(lambda: size(beats) > 0, "it beats")
        assert (await client.tasks.suspend(task_id))[0].state == SUSPENDED
        node = (await client.tasks.get(task_id)).node
        for victim in ("scheduler", f"agent-{node}"):
            pid = await asyncio.to_thread(yard.kill, victim)
            await asyncio.to_thread(yard.wait_for, victim, not_pid=pid)
        await _connected(client, node)
        assert await stands_still(beats)
        task = await client.tasks.get(task_id)
        assert (task.state, task.attempt) == (SUSPENDED, 1)
        stop.touch()
        await client.tasks.resume(task_id)
        outcome = await client.outcome(task_id)
        assert (outcome.state, outcome.attempt) == (task_pb2.TASK_STATE_SUCCEEDED, 1)


async def _connected(client: object, node: str) -> None:
    async with asyncio.timeout(30):
        while True:
            nodes = (await client.nodes.list()).nodes  # type: ignore[attr-defined]
            if any(found.id == node and found.detail == "" for found in nodes):
                return
            await asyncio.sleep(0.1)
