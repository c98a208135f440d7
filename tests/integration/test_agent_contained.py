"""Commands that name an image: they run in a container, behave as commands do, survive what those do, leave nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from modelyard.enclosure.container import LABEL
from modelyard.enclosure.engine import Engine
from modelyard.v1 import agent_link_pb2 as pb
from modelyard.v1 import task_pb2
from services.agent.host.cookies import cookie
from tests.support.agent_process import AgentProcess, bundle, command, running_agent
from tests.support.enclosed_frames import IMAGE, MEMORY_BYTES, need
from tests.support.fake_scheduler import FakeScheduler
from tests.support.wait import wait_until

pytestmark = pytest.mark.asyncio

LOOK = """
import json, os, pathlib, socket, sys

def may(path):
    try:
        pathlib.Path(path).write_text("x")
        return True
    except OSError:
        return False

def reaches(address):
    try:
        socket.create_connection(address, 2).close()
        return True
    except OSError:
        return False

status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
json.dump({
    "uid": os.getuid(), "directory": os.getcwd(), "greeting": open("greeting.txt").read(),
    "writes": [path for path in ("/etc/x", "/usr/x", "/task/x", "/task/inputs/data", "/tmp/x", "here") if may(path)],
    "reaches": reaches(("1.1.1.1", 53)), "interfaces": sorted(name for _, name in socket.if_nameindex()),
    "capabilities": int(status["CapEff"], 16), "no_new_privileges": int(status["NoNewPrivs"]),
    "params": json.load(open(os.environ["YARD_PARAMS"])), "data": open(os.environ["YARD_INPUT_DATA"]).read(),
    "set": os.environ["MINE"], "words": sys.argv[1:], "token": "YARD_TASK_TOKEN" in os.environ,
}, sys.stdout)
pathlib.Path(os.environ["YARD_PROGRESS_FILE"]).write_text("0.5 half\\n")
print("and this", file=sys.stderr)
"""
TICK = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("asked", flush=True), sys.exit(3)))
signal.signal(signal.SIGUSR1, lambda *_: print(pathlib.Path(os.environ["YARD_PARAMS"]).read_text(), flush=True))
while True:
    print("tick", flush=True)
    time.sleep(0.05)
"""


def contained(*argv: str, **fields: Any) -> task_pb2.TaskSpec:
    """A command in a container of this Python."""
    environment = task_pb2.Environment(image=IMAGE)
    return command(*argv, environment=environment, **fields)


def containers(agent: AgentProcess) -> list[str]:
    """Those of this agent's tasks."""
    mark = cookie(agent.root, "")
    return [one for one, whose in Engine.find(os.environ).labelled(LABEL).items() if whose.startswith(mark)]


async def until_none(agent: AgentProcess) -> None:
    await wait_until(lambda: not containers(agent), "no container is left", logs=[agent.log])


async def ticking(scheduler: FakeScheduler, more: int = 1) -> None:
    """Until it has said so many more than by now."""
    said = scheduler.log("t-1").count(b"tick")
    await scheduler.until(lambda: scheduler.log("t-1").count(b"tick") >= said + more, "it goes on")


@pytest.fixture(autouse=True)
def engine() -> None:
    need("container")


async def test_command_in_a_container_finds_what_a_command_finds_and_may_nothing_else(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        spec = contained(
            "python3", "-c", LOOK, "a b", "$c",
            env={"MINE": "1"}, outputs=["he*"], params_json='{"rate": 1}',
            inputs={"data": task_pb2.Input(data=b"given")},
            bundle_digest=scheduler.store.add(bundle(**{"greeting.txt": "hello"})),
        )  # fmt: skip
        scheduler.start_tasks(spec, ["t-1"], params_json='{"depth": 2}', task_token="secret")
        (end,) = await scheduler.exited("t-1")
        assert not end.HasField("error"), end
        await scheduler.until(lambda: scheduler.log("t-1", task_pb2.LOG_STREAM_STDERR) == b"and this\n")
        said = json.loads(scheduler.log("t-1"))
        own = os.getuid() or 65_534
        assert (said["uid"], said["directory"], said["greeting"]) == (own, "/task/work", "hello")
        assert said["writes"] == ["/tmp/x", "here"]
        assert (said["reaches"], said["interfaces"], said["token"]) == (False, ["lo"], False)
        assert (said["capabilities"], said["no_new_privileges"]) == (0, 1)
        assert (said["params"], said["data"]) == ({"rate": 1, "depth": 2}, "given")
        assert (said["set"], said["words"]) == ("1", ["a b", "$c"])
        assert [output.name for output in end.result.outputs] == ["here"]
        assert end.usage.enforcement == "container"
        assert not containers(agent)


async def test_ends_of_contained_commands_are_told_as_those_of_others(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        scheduler.start_tasks(contained("python3", "-c", "raise SystemExit(7)"), ["t-7"])
        die = "import os; os.kill(os.getpid(), 11)"
        scheduler.start_tasks(contained("python3", "-c", die), ["t-11"])
        much = f"b'x' * {2 * MEMORY_BYTES}"
        resources = task_pb2.Resources(memory_bytes=MEMORY_BYTES)
        scheduler.start_tasks(contained("python3", "-c", much, resources=resources), ["t-m"])
        absent = task_pb2.Environment(image="127.0.0.1:9/No/such:1")
        scheduler.start_tasks(command("true", environment=absent), ["t-0"])
        seven, eleven, memory, missing = await scheduler.exited("t-7", "t-11", "t-m", "t-0")
        assert (seven.error.cause, seven.error.exit_code) == (task_pb2.TASK_CAUSE_EXIT, 7)
        assert (eleven.error.cause, eleven.error.signal) == (task_pb2.TASK_CAUSE_SIGNAL, signal.SIGSEGV)
        assert memory.error.cause == task_pb2.TASK_CAUSE_OUT_OF_MEMORY, memory
        assert str(MEMORY_BYTES) in memory.error.message
        assert missing.error.cause == task_pb2.TASK_CAUSE_SETUP
        assert "127.0.0.1:9/No/such:1" in missing.error.message and "docker pull" in missing.error.next_step
        assert not containers(agent)


async def test_contained_command_is_asked_to_end_then_killed_and_leaves_nothing(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        scheduler.start_tasks(contained("python3", "-c", TICK), ["t-1"])
        await ticking(scheduler)
        scheduler.stop_task("t-1", grace_ms=60_000)
        (end,) = await scheduler.exited("t-1")
        assert (end.error.cause, end.error.exit_code) == (task_pb2.TASK_CAUSE_CANCELLED, 3)
        await scheduler.until(lambda: scheduler.log("t-1").endswith(b"asked\n"), "its last words")
        assert not containers(agent)
        stubborn = (
            "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
        )
        scheduler.start_tasks(contained("python3", "-c", stubborn), ["t-2"])
        await scheduler.until(lambda: scheduler.log("t-2") == b"up\n")
        scheduler.stop_task("t-2", grace_ms=100)
        (end,) = await scheduler.exited("t-2")
        assert end.error.cause == task_pb2.TASK_CAUSE_CANCELLED
        assert not containers(agent)


async def test_contained_command_is_changed_stopped_where_it_is_and_goes_on(tmp_path: Path) -> None:  # S0.7
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        spec = contained("python3", "-c", TICK, params_json='{"rate": 1}')
        spec.command.modify_signal = "SIGUSR1"
        scheduler.start_tasks(spec, ["t-1"])
        await ticking(scheduler)
        change = pb.ModifyTask(task_id="t-1", attempt=1, revision=7, params_json='{"rate": 2}')
        scheduler.command_all(pb.Commands(commands=[pb.Command(modify=change)]))
        await scheduler.until(
            lambda: b'"rate":2' in scheduler.log("t-1").replace(b" ", b""), "the change is read"
        )
        (container,) = containers(agent)
        state: Callable[[], Any] = lambda: Engine.find(os.environ).state(container)  # noqa: E731
        scheduler.command_all(pb.Commands(commands=[_order("suspend")]))
        await wait_until(lambda: state()["Paused"], "it is stopped", logs=[agent.log])
        scheduler.command_all(pb.Commands(commands=[_order("resume")]))
        await wait_until(lambda: not state()["Paused"], "it goes on", logs=[agent.log])
        await ticking(scheduler)
        scheduler.command_all(pb.Commands(commands=[_order("suspend")]))
        await wait_until(lambda: state()["Paused"], "it is stopped again", logs=[agent.log])
        scheduler.stop_task("t-1", grace_ms=60_000)
        (end,) = await scheduler.exited("t-1")
        assert (end.error.cause, end.error.exit_code) == (task_pb2.TASK_CAUSE_CANCELLED, 3)
        assert not containers(agent)


def _order(what: str) -> pb.Command:
    made = pb.Command()
    getattr(made, what).task_id, getattr(made, what).attempt = "t-1", 1
    return made


async def test_contained_command_outlives_agent_and_launcher_and_is_adopted(
    tmp_path: Path,
) -> None:  # reliability 3
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        scheduler.start_tasks(contained("python3", "-c", TICK), ["t-1"])
        await ticking(scheduler)
        before = containers(agent)
        await agent.kill()
        os.kill(agent.launcher_pid(), signal.SIGKILL)
        await agent.start()
        assert [held.task_id for held in scheduler.session.hello.tasks] == ["t-1"]
        await ticking(scheduler, 5)
        assert containers(agent) == before
        scheduler.stop_task("t-1", grace_ms=60_000)
        (end,) = await scheduler.exited("t-1")
        assert end.error.exit_code == 3
        await until_none(agent)


async def test_container_ends_with_its_shim_and_what_stands_beside_it(
    tmp_path: Path,
) -> None:  # reliability 7
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        for number, task_id in enumerate(("t-1", "t-2")):
            scheduler.start_tasks(contained("python3", "-c", TICK), [task_id])
            await scheduler.until(lambda one=task_id: b"tick" in scheduler.log(one))  # type: ignore[misc]
            beside, shim = _beside(agent, task_id)
            # First the shim alone, then both at once.
            for pid in (shim, beside)[: number + 1]:
                with contextlib.suppress(ProcessLookupError):  # the shim's end is the other's
                    os.kill(pid, signal.SIGKILL)
            (end,) = await scheduler.exited(task_id)
            assert end.HasField("error")
            await until_none(agent)
            assert not psutil.pid_exists(beside)


def _beside(agent: AgentProcess, task_id: str) -> tuple[int, int]:
    """The process beside the container of a task, and its shim."""
    for process in psutil.process_iter(["cmdline", "ppid"]):
        words = process.info["cmdline"] or []
        if "run" in words and any(f"tasks/{task_id}-" in word and str(agent.root) in word for word in words):
            return process.pid, process.info["ppid"]
    raise AssertionError(f"nothing stands beside a container of {task_id}")
