"""A real launcher and real workers, driven by the agent's own clients."""

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from modelyard.worker.frames import encode
from services.agent.workers.launcher_client import LauncherClient, SpawnFailed
from services.agent.workers.worker_client import WorkerClient
from tests.support.frames import is_alive, short_directory, wait_for

Ended = asyncio.Queue[tuple[str, int, int]]


@asynccontextmanager
async def launcher(**options: Any) -> AsyncIterator[tuple[LauncherClient, Path, Ended, asyncio.Event]]:
    with short_directory() as place:
        ended: Ended = asyncio.Queue()
        lost = asyncio.Event()
        client = await LauncherClient.start(
            str(place / "l.sock"), place / "state", lambda *what: ended.put_nowait(what), lost.set, **options
        )
        try:
            yield client, place, ended, lost
        finally:
            client.shut_down()
            async with asyncio.timeout(10):
                await lost.wait()
            wait_for(lambda: not (place / "l.sock").exists())


@asynccontextmanager
async def connection(path: Path) -> AsyncIterator[Callable[..., Any]]:
    frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    lost = asyncio.Event()
    client = await WorkerClient.connect(str(path), frames.put_nowait, lost.set)

    async def call(key: str, operator: str, params: str = "{}") -> dict[str, Any]:
        client.send(run=[{"key": key, "operator": {"operator": operator, "params_json": params}}])
        async with asyncio.timeout(15):
            while True:
                for report in (await frames.get()).get("ended", ()):
                    if report["key"] == key:
                        return dict(report)

    try:
        yield call
    finally:
        client.close()
        await lost.wait()


@pytest.mark.asyncio
async def test_spawn_forks_a_worker_that_runs_calls() -> None:
    async with launcher() as (client, place, ended, _):
        pid = await client.spawn(
            "w1", str(place / "w1.sock"), log_path=str(place / "w1.log"), env={"COLOUR": "red"}
        )
        async with connection(place / "w1.sock") as call:
            assert (await call("a/1", "os:getpid"))["value_json"] == str(pid)
            assert (await call("a/2", "os:getenv", '{"key":"COLOUR"}'))["value_json"] == '"red"'
        client.kill("w1")
        assert await ended.get() == ("w1", 0, signal.SIGKILL)


@pytest.mark.asyncio
async def test_worker_finds_its_bundle_before_packages_of_the_same_name() -> None:
    async with launcher() as (client, place, _, _lost):
        bundle = place / "bundle" / "services"
        bundle.mkdir(parents=True)
        (bundle / "__init__.py").write_text("")
        (bundle / "mine.py").write_text("def answer() -> int:\n    return 42\n")
        await client.spawn("w1", str(place / "w1.sock"), paths=[str(place / "bundle")])
        async with connection(place / "w1.sock") as call:
            assert (await call("a/1", "services.mine:answer"))["value_json"] == "42"


@pytest.mark.asyncio
async def test_spawn_with_imports_comes_from_a_warm_parent() -> None:
    async with launcher() as (client, place, ended, _):
        for name in ("w1", "w2"):
            pid = await client.spawn(name, str(place / f"{name}.sock"), imports=["colorsys"])
            async with connection(place / f"{name}.sock") as call:
                assert (await call("a/1", "os:getpid"))["value_json"] == str(pid)
        os.kill(pid, signal.SIGTERM)
        assert await ended.get() == ("w2", 0, signal.SIGTERM)


@pytest.mark.asyncio
async def test_spawn_with_another_interpreter_runs_there() -> None:
    async with launcher() as (client, place, _, _lost):
        await client.spawn("w1", str(place / "w1.sock"), python=sys.executable)
        async with connection(place / "w1.sock") as call:
            assert (await call("a/1", "echo", '{"value":1}'))["value_json"] == "1"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"imports": ["no_such_module"]}, "cannot import 'no_such_module'"),
        ({"python": "/no/such/python"}, "No such file"),
        ({"python": "/bin/false"}, "ended before it could be forked"),
    ],
)
async def test_spawn_that_cannot_be_says_why(options: dict[str, Any], reason: str) -> None:
    async with launcher() as (client, place, _, _lost):
        with pytest.raises(SpawnFailed, match=reason):
            await client.spawn("w1", str(place / "w1.sock"), **options)
        assert await client.spawn("w1", str(place / "w1.sock")) > 0


@pytest.mark.asyncio
async def test_call_that_kills_its_worker_is_told_as_its_end() -> None:
    async with launcher() as (client, place, ended, _):
        await client.spawn("w1", str(place / "w1.sock"))
        gone = asyncio.Event()
        worker = await WorkerClient.connect(str(place / "w1.sock"), lambda _: None, gone.set)
        worker.send(run=[{"key": "a/1", "operator": {"operator": "os:_exit", "params_json": '{"status":7}'}}])
        assert await ended.get() == ("w1", 7, 0)
        await gone.wait()


@pytest.mark.asyncio
async def test_killed_worker_leaves_no_process() -> None:
    async with launcher() as (client, place, ended, _):
        await client.spawn("w1", str(place / "w1.sock"))
        frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        gone = asyncio.Event()
        worker = await WorkerClient.connect(str(place / "w1.sock"), frames.put_nowait, gone.set)
        command = {"argv": ["setsid", "sh", "-c", "sleep 600 & wait"], "directory": str(place)}
        worker.send(run=[{"key": "a/1", "command": command}])
        pid = 0
        while not pid:
            pid = next((item.get("pid", 0) for item in (await frames.get()).get("started", ())), 0)
        client.kill("w1")
        assert (await ended.get())[0] == "w1"
        await gone.wait()
        await asyncio.to_thread(wait_for, lambda: not is_alive(pid))


@pytest.mark.asyncio
async def test_second_client_finds_the_launcher_and_its_workers() -> None:
    # Promise 3: the agent's death ends nothing.
    async with launcher() as (client, place, _, lost):
        pid = await client.spawn("w1", str(place / "w1.sock"))
        ended: Ended = asyncio.Queue()
        gone = asyncio.Event()
        second = await LauncherClient.start(
            str(place / "l.sock"), place / "state", lambda *what: ended.put_nowait(what), gone.set
        )
        assert second.workers == {"w1": pid}
        await lost.wait()
        second.kill("w1", signal.SIGTERM)
        assert await ended.get() == ("w1", 0, signal.SIGTERM)
        second.shut_down()
        await gone.wait()


@pytest.mark.asyncio
async def test_second_launcher_on_the_same_socket_refuses() -> None:
    async with launcher() as (_, place, _ended, _lost):
        command = [sys.executable, "-m", "services.agent.launcher"]
        command += ["--socket", str(place / "l.sock"), "--state", str(place)]
        result = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
        assert result.returncode == 3
        assert "another launcher" in result.stderr


@pytest.mark.asyncio
async def test_launcher_after_a_crash_takes_the_stale_socket_over() -> None:
    with short_directory() as place:
        (place / "l.sock").touch()
        lost = asyncio.Event()
        client = await LauncherClient.start(
            str(place / "l.sock"), place / "state", lambda *_: None, lost.set, orphan_timeout_s=60
        )
        client.shut_down()
        await lost.wait()


@pytest.mark.asyncio
async def test_launcher_without_agent_and_work_ends_itself() -> None:
    with short_directory() as place:
        lost = asyncio.Event()
        client = await LauncherClient.start(
            str(place / "l.sock"), place / "state", lambda *_: None, lost.set, orphan_timeout_s=0.1
        )
        client.close()
        await lost.wait()
        await asyncio.to_thread(wait_for, lambda: not (place / "l.sock").exists())


@pytest.mark.asyncio
async def test_launcher_that_finds_an_old_and_a_new_agent_at_once_serves_the_new_one() -> None:
    async with launcher() as (_, place, _ended, lost):
        with socket.socket(socket.AF_UNIX) as old, socket.socket(socket.AF_UNIX) as new:
            old.connect(str(place / "l.sock"))
            await lost.wait()
            pid, *_ = struct.unpack("3i", old.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            os.kill(pid, signal.SIGSTOP)
            old.sendall(encode({"kill": {"worker": "nobody"}}))
            new.connect(str(place / "l.sock"))
            os.kill(pid, signal.SIGCONT)
            new.settimeout(10)
            assert b'"workers"' in await asyncio.to_thread(new.recv, 4096)
            new.sendall(encode({"spawn": {"worker": "w1", "socket_path": str(place / "w1.sock")}}))
            assert b'"pid"' in await asyncio.to_thread(new.recv, 4096)
            new.sendall(encode({"shut_down": {}}))
            assert await asyncio.to_thread(new.recv, 4096) is not None
