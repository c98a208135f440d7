"""A real agent process against the fake scheduler."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import signal
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from modelyard.v1 import task_pb2
from services.agent.workers.traces import socket_directory
from tests.support.fake_scheduler import FakeScheduler
from tests.support.wait import wait_until

NODE = "n1"


def operator(name: str, **fields: object) -> task_pb2.TaskSpec:
    """A specification that calls an operator."""
    return task_pb2.TaskSpec(operator=task_pb2.OperatorWork(operator=name), **fields)  # type: ignore[arg-type]


def command(*argv: str, **fields: object) -> task_pb2.TaskSpec:
    """A specification that runs a command."""
    return task_pb2.TaskSpec(command=task_pb2.CommandWork(argv=argv), **fields)  # type: ignore[arg-type]


def shell(script: str, **fields: object) -> task_pb2.TaskSpec:
    """A specification that runs a shell script."""
    return command("sh", "-c", script, **fields)


def bundle(**files: str) -> bytes:
    """A tar.gz of these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name.replace("__", "."))
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


class AgentProcess:
    """One agent and its state directory."""

    def __init__(self, state_dir: Path, scheduler: FakeScheduler, *options: str) -> None:
        self.state_dir = state_dir
        self.scheduler = scheduler
        self.options = options
        self.root = state_dir / "agents" / NODE
        self.log = state_dir / "agent.log"
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *, welcome: bool = True) -> None:
        sessions = len(self.scheduler.sessions)
        self.state_dir.mkdir(exist_ok=True)
        token = self.state_dir / "join.token"
        token.write_text("yard_join_test\n")
        options = ["--state", str(self.state_dir), "--node", NODE, "--scheduler", self.scheduler.address]
        options += ["--store", self.scheduler.address, "--join-token-file", str(token), "--cpu", "2"]
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.agent", *options, *self.options, stdout=log, stderr=log
            )
        if welcome:
            await self.scheduler.until(lambda: len(self.scheduler.sessions) > sessions, "the agent's hello")

    async def kill(self) -> None:
        """kill -9; launcher and workers live on."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 20.0)

    def launcher_pids(self) -> set[int]:
        """The launcher and every process below it that works for this agent."""
        found = set()
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                try:
                    words = (path / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if b"services.agent.launcher" in words and os.fsencode(self.root) in words:
                    found.add(int(path.name))
        return found

    def launcher_pid(self) -> int:
        """The launcher alone: a worker that is just being born bears its name too."""
        pids = self.launcher_pids()
        return next(pid for pid in pids if psutil.Process(pid).ppid() not in pids)

    def text(self) -> str:
        return self.log.read_text()

    def ready(self) -> dict[str, object]:
        content: dict[str, object] = json.loads((self.state_dir / "run" / f"agent-{NODE}.json").read_text())
        return content


@asynccontextmanager
async def running_agent(state_dir: Path, *options: str) -> AsyncIterator[tuple[FakeScheduler, AgentProcess]]:
    """A scheduler and an agent that has said hello; nothing of them is left afterwards."""
    scheduler = FakeScheduler()
    await scheduler.start()
    agent = AgentProcess(state_dir, scheduler, *options)
    try:
        await agent.start()
        yield scheduler, agent
    finally:
        try:
            await agent.stop()
        finally:
            for pid in agent.launcher_pids() if agent.process and agent.process.returncode else ():
                os.kill(pid, signal.SIGKILL)
            await scheduler.stop()
            await wait_until(
                lambda: not agent.launcher_pids(), "launcher and workers are gone", logs=[agent.log]
            )
            shutil.rmtree(socket_directory(agent.root), ignore_errors=True)
