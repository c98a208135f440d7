"""An agent through deaths and reconnections: nothing restarts, nothing is lost, nothing is told twice wrongly."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from modelyard.v1 import agent_link_pb2 as pb
from modelyard.v1 import task_pb2
from tests.support.agent_process import AgentProcess, command, operator, running_agent, shell
from tests.support.fake_scheduler import FakeScheduler
from tests.support.wait import wait_until

pytestmark = pytest.mark.asyncio


async def test_agent_says_what_the_machine_is_and_is_ready_once_welcomed(tmp_path: Path) -> None:
    async with running_agent(
        tmp_path / "y", "--labels", "zone=a", "--custom", "fpga=2", "--memory", "1Gi"
    ) as (
        scheduler,
        agent,
    ):
        hello = scheduler.session.hello
        assert (hello.node, hello.capacity.cpu, hello.capacity.memory_bytes) == ("n1", 2.0, 1 << 30)
        assert hello.capacity.custom == {"fpga": 2.0}
        assert hello.labels["zone"] == "a"
        assert hello.boot_id
        assert hello.incarnation == 1
        assert hello.enforcement in ("cgroup", "rlimit")
        assert "echo" in {operator.name for operator in hello.operators}
        assert scheduler.joined == ["yard_join_test"]
        await wait_until(lambda: (agent.state_dir / "run" / "agent-n1.json").exists(), "the ready file")
        assert agent.process is not None
        assert agent.ready()["pid"] == agent.process.pid
        await scheduler.until(
            lambda: any(len(beat.windows) == 3 for beat in scheduler.beats), "windows in a beat"
        )


async def test_kill_9_and_restart_of_the_agent_restarts_no_task(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        mark = tmp_path / "starts"
        script = (
            f"echo start >> {mark}; echo one; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo two"
        )
        scheduler.start_tasks(shell(script), ["t-1"])
        waits = json.dumps({"command": f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"})
        scheduler.start_tasks(operator("shell.run", params_json=waits), ["t-2"])
        await scheduler.until(lambda: scheduler.kinds("t-1") and scheduler.kinds("t-2"))
        await agent.kill()
        await agent.start()
        held = {task.task_id: task for task in scheduler.session.hello.tasks}
        assert {task_id: task.state for task_id, task in held.items()} == {
            "t-1": pb.HELD_STATE_RUNNING,
            "t-2": pb.HELD_STATE_RUNNING,
        }
        assert (held["t-1"].attempt, held["t-1"].epoch) == (1, 1)
        assert scheduler.session.hello.incarnation == 2
        (tmp_path / "go").touch()
        ends = await scheduler.exited("t-1", "t-2")
        assert not any(end.HasField("error") for end in ends)
        assert mark.read_text() == "start\n"
        await scheduler.until(lambda: scheduler.log("t-1") == b"one\ntwo\n")


async def test_end_while_the_agent_was_dead_is_told_by_the_next_one(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        scheduler.start_tasks(
            shell(f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; touch {tmp_path}/done; exit 4"),
            ["t-1"],
        )
        await scheduler.until(lambda: scheduler.kinds("t-1"))
        await agent.kill()
        (tmp_path / "go").touch()
        await wait_until(lambda: (tmp_path / "done").exists(), "the command's end")
        await agent.start()
        (end,) = await scheduler.exited("t-1")
        assert end.error.exit_code == 4


async def test_scheduler_away_for_a_while_gets_every_end_once_it_is_back(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        scheduler.acknowledges = False
        ids = [f"t-{number}" for number in range(20)]
        scheduler.start_tasks(operator("echo", params_json='{"value": 1}'), ids)
        await scheduler.exited(*ids)
        port = int(scheduler.address.rpartition(":")[2])
        await scheduler.stop()
        scheduler.exits.clear()
        scheduler.acknowledges = True
        await scheduler.start(port)
        await scheduler.until(lambda: len(scheduler.sessions) == 2)
        assert {task.task_id for task in scheduler.session.hello.tasks} == set(ids)
        assert set(scheduler.exits) == set(ids)


async def test_cut_stream_is_dialled_again_and_running_tasks_are_kept(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        scheduler.start_tasks(shell(f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"), ["t-1"])
        await scheduler.until(lambda: scheduler.kinds("t-1"))
        scheduler.cut()
        await scheduler.until(lambda: len(scheduler.sessions) == 2)
        assert [task.state for task in scheduler.session.hello.tasks] == [pb.HELD_STATE_RUNNING]
        (tmp_path / "go").touch()
        (end,) = await scheduler.exited("t-1")
        assert not end.HasField("error")


async def test_specifications_of_more_bytes_than_a_session_holds_begin_a_new_one(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        scheduler.start_tasks(shell(f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"), ["t-1"])
        await scheduler.until(lambda: scheduler.kinds("t-1"))
        large = operator("echo", params_json='"' + "x" * (3 << 20) + '"').SerializeToString()
        for number in range(100, 123):
            body = pb.TaskBody(body=number, spec=large, account="ann")
            scheduler.command_all(pb.Commands(bodies=[body]))
        await scheduler.until(lambda: len(scheduler.sessions) == 2, "a new session")
        assert [task.state for task in scheduler.session.hello.tasks] == [pb.HELD_STATE_RUNNING]
        (tmp_path / "go").touch()
        (end,) = await scheduler.exited("t-1")
        assert not end.HasField("error")


async def test_verdict_stop_ends_a_task_that_is_not_wanted_any_more(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        scheduler.start_tasks(command("sleep", "600"), ["t-1"])
        await scheduler.until(lambda: scheduler.kinds("t-1"))
        scheduler.verdict_of = lambda held: pb.VERDICT_KIND_STOP
        scheduler.cut()
        (end,) = await scheduler.exited("t-1")
        assert end.error.cause == task_pb2.TASK_CAUSE_CANCELLED


async def test_lower_epoch_is_refused_also_by_the_next_process(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        scheduler.epoch = 5
        scheduler.cut()
        await scheduler.until(lambda: len(scheduler.sessions) == 2)
        await wait_until(lambda: (agent.root / "epoch").read_text() == "5\n", "the epoch is on disk")
        await agent.kill()
        scheduler.epoch = 4
        await agent.start()
        assert scheduler.session.hello.max_epoch == 5
        await wait_until(lambda: "session_refused" in agent.text(), "the refusal", logs=[agent.log])
        scheduler.epoch = 6
        await scheduler.until(lambda: "beat" in scheduler.messages[-2:])


async def test_waiting_tasks_are_given_back_when_asked(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        scheduler.start_tasks(command("sleep", "600"), ["t-1", "t-2", "t-3"])
        await scheduler.until(lambda: scheduler.kinds("t-1") and scheduler.kinds("t-2"))
        scheduler.retract("t-1", "t-3")
        await scheduler.until(lambda: scheduler.kinds("t-3") == ["retracted"])
        assert scheduler.kinds("t-1") == ["started"]
        for task_id in ("t-1", "t-2"):
            scheduler.stop_task(task_id, grace_ms=100)
        await scheduler.exited("t-1", "t-2")


async def test_sigterm_gives_back_stops_and_leaves_nothing(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y", "--drain-grace-s", "0.2") as (scheduler, agent):
        scheduler.start_tasks(command("sleep", "600"), ["t-1", "t-2", "t-3"])
        await scheduler.until(lambda: scheduler.kinds("t-1") and scheduler.kinds("t-2"))
        assert await agent.stop() == 0
        assert scheduler.kinds("t-3") == ["retracted"]
        assert {scheduler.exits[task_id].error.cause for task_id in ("t-1", "t-2")} == {
            task_pb2.TASK_CAUSE_DRAINED
        }
        assert "draining" in scheduler.messages
        assert scheduler.messages[-1] == "bye"
        assert not (agent.state_dir / "run" / "agent-n1.json").exists()
        await wait_until(lambda: not agent.launcher_pids(), "launcher and workers are gone")


async def test_sighup_leaves_the_work_to_the_next_agent(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        scheduler.start_tasks(shell(f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"), ["t-1"])
        await scheduler.until(lambda: scheduler.kinds("t-1"))
        assert await agent.stop(signal.SIGHUP) == 0
        assert agent.launcher_pids()
        await agent.start()
        assert [task.state for task in scheduler.session.hello.tasks] == [pb.HELD_STATE_RUNNING]
        (tmp_path / "go").touch()
        (end,) = await scheduler.exited("t-1")
        assert not end.HasField("error")


async def test_lease_over_starts_nothing_until_a_beat_is_acknowledged(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        scheduler.answers_beats = False
        scheduler.lease_ms = 300
        scheduler.cut()
        await scheduler.until(lambda: len(scheduler.sessions) == 2)
        beats = len(scheduler.beats)
        await scheduler.until(lambda: len(scheduler.beats) >= beats + 4)
        scheduler.start_tasks(operator("echo", params_json='{"value": 1}'), ["t-1"])
        beats = len(scheduler.beats)
        await scheduler.until(lambda: len(scheduler.beats) >= beats + 2)
        assert not scheduler.kinds("t-1")
        scheduler.answers_beats = True
        await scheduler.exited("t-1")


async def test_second_agent_of_a_state_directory_is_refused(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        other = AgentProcess(agent.state_dir, scheduler)
        await other.start(welcome=False)
        assert other.process is not None
        assert await asyncio.wait_for(other.process.wait(), 20) == 2
        assert "in use by another agent-n1" in agent.text()


async def test_agent_without_credentials_and_token_says_what_to_do(tmp_path: Path) -> None:
    scheduler = FakeScheduler()
    await scheduler.start()
    agent = AgentProcess(tmp_path / "y", scheduler, "--join-token-file", "")
    try:
        await agent.start(welcome=False)
        assert agent.process is not None
        assert await asyncio.wait_for(agent.process.wait(), 20) == 2
        assert "yard nodes token" in agent.text()
    finally:
        await scheduler.stop()
        await wait_until(lambda: not agent.launcher_pids(), "launcher and workers are gone")


async def test_worker_of_a_killed_launcher_does_not_stop_the_agent(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        scheduler.start_tasks(operator("echo", params_json='{"value": 1}'), ["t-1"])
        await scheduler.exited("t-1")
        os.kill(agent.launcher_pid(), signal.SIGKILL)
        await wait_until(lambda: "launcher_lost" in agent.text(), "the loss is noticed", logs=[agent.log])
        scheduler.start_tasks(operator("echo", params_json='{"value": 2}'), ["t-2"])
        (end,) = await scheduler.exited("t-2")
        assert end.result.value_json == "2", f"{end}\n{agent.text()}"


async def test_wanted_beat_counts_at_once(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        scheduler.beat_ms = 600_000
        beats = len(scheduler.beats)
        scheduler.cut()
        await scheduler.until(lambda: len(scheduler.sessions) == 2)
        await scheduler.until(lambda: len(scheduler.beats) > beats and scheduler.beats[-1].number == 1)
        beats = len(scheduler.beats)
        scheduler.say(pb.ConnectResponse(beat_ack=pb.BeatAck(number=1, beat_ms=50)))
        await scheduler.until(lambda: len(scheduler.beats) >= beats + 3)
