"""The launcher dies: what it has started runs on, ends once, can still be ended, and leaves nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.agent_process import operator, running_agent, shell
from tests.support.fake_scheduler import FakeScheduler
from tests.support.wait import wait_until

pytestmark = pytest.mark.asyncio


async def start_two(scheduler: FakeScheduler, go: Path) -> None:
    """A command and an operator's call that run until `go` exists."""
    scheduler.start_tasks(shell(f"echo one; while [ ! -e {go} ]; do sleep 0.05; done; echo two"), ["t-1"])
    wait = f"while [ ! -e {go} ]; do sleep 0.05; done"
    scheduler.start_tasks(operator("os:system", params_json=f'{{"command": "{wait}"}}'), ["t-2"])
    await scheduler.until(lambda: scheduler.kinds("t-1") and scheduler.kinds("t-2"))


async def test_work_of_a_killed_launcher_ends_once_and_leaves_nothing(tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with running_agent(tmp_path / "y", "--cpu", "4") as (scheduler, agent):
        await start_two(scheduler, go)
        os.kill(agent.launcher_pid(), signal.SIGKILL)
        await wait_until(
            lambda: "worker_adopted" in agent.text(), "its workers are adopted", logs=[agent.log]
        )
        scheduler.start_tasks(operator("echo", params_json='{"value": 2}'), ["t-3"])
        await scheduler.exited("t-3")
        go.touch()
        ends = await scheduler.exited("t-1", "t-2")
        assert not any(end.HasField("error") for end in ends)
        assert [scheduler.kinds(task_id).count("exited") for task_id in ("t-1", "t-2")] == [1, 1]
        await scheduler.until(lambda: scheduler.log("t-1") == b"one\ntwo\n")


async def test_agent_and_launcher_killed_together_are_followed_by_others_that_adopt(tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        await start_two(scheduler, go)
        await agent.kill()
        os.kill(agent.launcher_pid(), signal.SIGKILL)
        await agent.start()
        held = {task.task_id for task in scheduler.session.hello.tasks}
        assert held == {"t-1", "t-2"}
        go.touch()
        ends = await scheduler.exited("t-1", "t-2")
        assert not any(end.HasField("error") for end in ends)
        assert [scheduler.kinds(task_id).count("exited") for task_id in ("t-1", "t-2")] == [1, 1]


async def test_orphan_that_ignores_its_cancellation_is_killed_with_what_it_started(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        mark = tmp_path / "pid"
        stubborn = f"trap '' TERM INT; echo $$ > {mark}; while :; do sleep 0.1; done"
        scheduler.start_tasks(operator("os:system", params_json=f'{{"command": "{stubborn}"}}'), ["t-1"])
        await wait_until(lambda: mark.exists() and mark.read_text().strip(), "the call runs")
        os.kill(agent.launcher_pid(), signal.SIGKILL)
        await wait_until(
            lambda: "worker_adopted" in agent.text(), "its workers are adopted", logs=[agent.log]
        )
        scheduler.stop_task("t-1", grace_ms=100)
        (end,) = await scheduler.exited("t-1")
        assert end.error.signal == signal.SIGKILL
        await wait_until(lambda: not psutil.pid_exists(int(mark.read_text())), "what it started is gone")


async def test_orphan_that_dies_is_told_as_lost(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        scheduler.start_tasks(operator("os:getpid"), ["t-0"])
        (first,) = await scheduler.exited("t-0")
        scheduler.start_tasks(operator("sleep", params_json='{"seconds": 600}'), ["t-1"])
        await scheduler.until(lambda: scheduler.kinds("t-1"))
        os.kill(agent.launcher_pid(), signal.SIGKILL)
        await wait_until(
            lambda: "worker_adopted" in agent.text(), "its workers are adopted", logs=[agent.log]
        )
        os.kill(int(first.result.value_json), signal.SIGKILL)
        (end,) = await scheduler.exited("t-1")
        assert "its worker is lost" in end.error.message


async def test_everything_killed_at_once_leaves_the_outcome_that_was_written(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        scheduler.acknowledges = False
        scheduler.start_tasks(shell("exit 4"), ["t-1"])
        await scheduler.exited("t-1")
        await agent.kill()
        for pid in agent.launcher_pids():
            os.kill(pid, signal.SIGKILL)
        scheduler.acknowledges = True
        scheduler.exits.clear()
        await agent.start()
        (held,) = scheduler.session.hello.tasks
        assert (held.task_id, held.exited.error.exit_code) == ("t-1", 4)
        await scheduler.until(lambda: "beat" in scheduler.messages[-2:])
        await wait_until(lambda: not list((agent.root / "shims").glob("*.records")), "its record is gone")
