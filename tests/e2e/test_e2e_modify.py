"""S0.7 as a user sees it: a modify command changes a task that is queued or running, and it goes on accordingly."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from modelyard.client.aio import Client
from modelyard.client.specs import Options, command_spec, operator_spec
from modelyard.v1 import task_pb2
from tests.support.wait import wait_until
from tests.support.yard import Yard

pytestmark = pytest.mark.asyncio

OPERATORS = """
import asyncio
import time

from modelyard import Context


def until(ctx: Context, goal: int) -> list:
    heard = []
    ctx.on_params_changed = lambda params: heard.append(params["goal"])
    while ctx.params["goal"] < 10:
        ctx.progress(0.5, "running")
        time.sleep(0.01)
    return [goal, ctx.params["goal"], heard]


async def until_later(ctx: Context, goal: int) -> list:
    while ctx.params["goal"] < 10:
        ctx.progress(0.5, "running")
        await asyncio.sleep(0.01)
    return [goal, ctx.params["goal"]]


def deaf(goal: int) -> int:
    time.sleep(goal)
    return goal
"""


async def start(client: Client, spec: task_pb2.TaskSpec) -> str:
    """Submits it and waits until it runs."""
    begin = (await client.tasks.list()).revision
    (task_id,) = await client.tasks.submit(spec)
    async with asyncio.timeout(30):
        async for task in client.tasks.watch(task_id, revision=begin):
            if task.state == task_pb2.TASK_STATE_RUNNING:
                break
    return task_id


async def operator(client: Client, name: str, tmp_path: Path, **params: int) -> task_pb2.TaskSpec:
    """A call of one of the operators above, shipped with the call."""
    bundle = tmp_path / "bundle"
    bundle.mkdir(exist_ok=True)
    (bundle / "loops.py").write_text(OPERATORS)
    spec = operator_spec(f"loops:{name}")
    spec.params_json = json.dumps(params)
    await client.attach(spec, directory=bundle)
    return spec


def script(text: str, options: Options | None = None, **params: int) -> task_pb2.TaskSpec:
    spec = command_spec(["sh", "-c", text], options)
    if params:
        spec.params_json = json.dumps(params)
    return spec


def said(yard: Yard, task_id: str, *words: str) -> list[list[str]]:
    """The verdicts that `yard tasks modify` prints."""
    answer = yard.json("tasks", "modify", task_id, *words)
    return [
        [verdict["path"], verdict["kind"].removeprefix("FIELD_VERDICT_KIND_")]
        for verdict in answer["verdicts"]
    ]


async def test_running_operator_goes_on_with_its_new_parameter(yard: Yard, tmp_path: Path) -> None:  # S0.7
    async with yard.client() as client:
        for name, result in (("until", [1, 12, [12]]), ("until_later", [1, 12])):
            task_id = await start(client, await operator(client, name, tmp_path, goal=1))
            assert await asyncio.to_thread(said, yard, task_id, "--param", "goal=12") == [
                ["params_json", "APPLIED"]
            ]
            outcome = await client.outcome(task_id)
            assert json.loads(outcome.result.value_json) == result
            task = await client.tasks.get(task_id)
            assert json.loads(task.spec.params_json) == {"goal": 12}
            assert [change.detail.reason for change in task.history].count("MODIFIED") == 2


async def test_operator_that_cannot_take_a_change_rejects_it_and_ends_as_it_was(
    yard: Yard, tmp_path: Path
) -> None:  # S0.7
    async with yard.client() as client:
        task_id = await start(client, await operator(client, "deaf", tmp_path, goal=3))
        answer = await client.tasks.modify(task_id, params={"goal": 60}, priority=3)
        kinds = [verdict.kind for verdict in answer.verdicts]
        assert kinds == [task_pb2.FIELD_VERDICT_KIND_REJECTED] * 2
        assert "takes no Context" in answer.verdicts[0].message
        assert "running on node-" in answer.verdicts[1].message
        printed = await asyncio.to_thread(yard.cli, "tasks", "modify", task_id, "--priority", "3")
        assert printed.code == 6
        assert [line.split()[:2] for line in printed.stdout.splitlines()] == [
            ["FIELD", "VERDICT"],
            ["priority", "rejected"],
        ]
        outcome = await client.outcome(task_id)
        assert outcome.result.value_json == "3"
        assert json.loads((await client.tasks.get(task_id)).spec.params_json) == {"goal": 3}


async def test_command_reads_its_changed_parameters_upon_the_signal(
    yard: Yard, tmp_path: Path
) -> None:  # S0.7
    ready, seen = tmp_path / "ready", tmp_path / "seen"
    wait = f"trap 'cp $YARD_PARAMS {seen}; exit 0' USR1; touch {ready}; while :; do sleep 0.05; done"
    async with yard.client() as client:
        task_id = await start(client, script(wait, {"modify_signal": "SIGUSR1"}))
        await wait_until(ready.exists, "its trap is set")
        assert await asyncio.to_thread(said, yard, task_id, "--param", "rate=0.5") == [
            ["params_json", "APPLIED"]
        ]
        assert (await client.outcome(task_id)).state == task_pb2.TASK_STATE_SUCCEEDED
    assert json.loads(seen.read_text()) == {"rate": 0.5}


async def test_command_without_a_file_of_parameters_rejects_new_ones(yard: Yard) -> None:  # S0.7
    async with yard.client() as client:
        task_id = await start(client, script("sleep 60"))
        answer = await client.tasks.modify(task_id, params={"rate": 1})
        assert "without parameters" in answer.verdicts[0].message
        await client.tasks.cancel(task_id)


async def test_running_command_ends_by_its_new_time_limit(yard: Yard) -> None:  # S0.7
    async with yard.client() as client:
        task_id = await start(client, script("sleep 60", {"timeout": 50}))
        assert await asyncio.to_thread(said, yard, task_id, "--timeout", "100ms") == [
            ["timeouts.run_timeout", "APPLIED"]
        ]
        outcome = await client.outcome(task_id)
        assert outcome.error.cause == task_pb2.TASK_CAUSE_TIMEOUT
        assert "run_timeout of 0.1 s" in outcome.error.message


async def test_running_command_outlasts_the_limit_that_was_taken_away(yard: Yard) -> None:  # S0.7
    async with yard.client() as client:
        task_id = await start(client, script("sleep 2", {"timeout": 1}))
        await client.tasks.modify(task_id, run_timeout=0)
        assert (await client.outcome(task_id)).state == task_pb2.TASK_STATE_SUCCEEDED


async def test_held_task_keeps_its_changes_through_the_death_of_the_scheduler(own_yard: Yard) -> None:  # S0.7
    yard = own_yard
    async with yard.client() as client:
        spec = operator_spec("echo", {"hold": True, "labels": {"a": "1", "b": "2"}, "queue_timeout": 60})
        spec.params_json = '{"value": 1}'
        (task_id,) = await client.tasks.submit(spec)
        words = (
            "--param",
            "value=2",
            "--priority",
            "7",
            "--queue-timeout",
            "0",
            "--tag",
            "a=",
            "--tag",
            "c=3",
        )
        verdicts = await asyncio.to_thread(said, yard, task_id, *words)
        assert [kind for _, kind in verdicts] == ["APPLIED"] * 4
        pid = await asyncio.to_thread(yard.kill, "scheduler")
        await asyncio.to_thread(yard.wait_for, "scheduler", not_pid=pid)
        task = await client.tasks.get(task_id)
        assert (task.spec.priority, dict(task.spec.labels)) == (7, {"b": "2", "c": "3"})
        assert (
            not task.spec.timeouts.HasField("queue_timeout") or not task.spec.timeouts.queue_timeout.seconds
        )
        await client.tasks.release(task_id)
        assert (await client.outcome(task_id)).result.value_json == "2"


async def test_change_of_a_running_task_holds_for_its_next_attempt_after_every_service_died(
    own_yard: Yard, tmp_path: Path
) -> None:  # S0.7
    yard, seen, go = own_yard, tmp_path / "seen", tmp_path / "go"
    once = f"cat $YARD_PARAMS >> {seen}; until [ -e {go} ]; do sleep 0.05; done; [ $YARD_ATTEMPT = 2 ]"
    async with yard.client() as client:
        spec = script(once, {"retries": 1}, n=1)
        task_id = await start(client, spec)
        await wait_until(seen.exists, "its first parameters")
        answer = await client.tasks.modify(task_id, params={"n": 2}, run_timeout=120)
        assert [v.kind for v in answer.verdicts] == [task_pb2.FIELD_VERDICT_KIND_APPLIED] * 2
        node = (await client.tasks.get(task_id)).node
        for victim in ("scheduler", f"agent-{node}"):
            pid = await asyncio.to_thread(yard.kill, victim)
            await asyncio.to_thread(yard.wait_for, victim, not_pid=pid)
        answer = await client.tasks.modify(task_id, params={"m": 3})
        assert answer.verdicts[0].kind != task_pb2.FIELD_VERDICT_KIND_REJECTED, answer
        go.touch()
        assert (await client.outcome(task_id)).state == task_pb2.TASK_STATE_SUCCEEDED
        task = await client.tasks.get(task_id)
    assert task.attempt == 2
    assert task.spec.timeouts.run_timeout.seconds == 120
    first, second = (json.loads(part) for part in seen.read_text().replace("}{", "}\n{").splitlines())
    assert (first, second) == ({"n": 1}, {"n": 2, "m": 3})
