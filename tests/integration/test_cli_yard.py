"""`yard up` and what it promises, with the real services."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.wait import wait_until
from tests.support.yard import free_port_base
from tests.support.yard_process import Result, finish, run, start


def ready(state: Path, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((state / "run" / f"{name}.json").read_text())
    return document


def is_ready(state: Path, name: str, but: int) -> bool:
    """It serves, and is another process than `but`."""
    path = state / "run" / f"{name}.json"
    return path.exists() and json.loads(path.read_text())["pid"] != but


@pytest_asyncio.fixture
async def state(tmp_path: Path) -> AsyncIterator[Path]:
    """A running yard of one node."""
    state = tmp_path / "yard"
    up = await run("up", "--detach", "--port-base", str(free_port_base()), state=state)
    assert up.code == 0, up.stderr
    yield state
    down = await run("down", state=state)
    assert down.code == 0, down.stderr


@pytest.mark.asyncio
async def test_up_detached_serves_calls_and_down_stops_everything(tmp_path: Path) -> None:
    state = tmp_path / "yard"
    up = await run("up", "--detach", "--agents", "2", "--port-base", str(free_port_base()), state=state)
    assert (up.code, up.stdout) == (0, "")
    assert "next: yard call echo --param value=1" in up.stderr
    try:
        assert await run("call", "echo", "--param", "value=1", state=state) == Result(0, "1\n", "")
        pids = [ready(state, name)["pid"] for name in ("scheduler", "store", "agent-node-1", "agent-node-2")]
        assert state.stat().st_mode & 0o777 == 0o700
        again = await run("up", "--detach", state=state)
        assert again.code == 6
        assert str(ready(state, "up")["pid"]) in again.stderr
        unknown = await run("restart", "agents", state=state)
        assert (unknown.code, "choose of scheduler, store" in unknown.stderr) == (3, True), unknown.stderr
    finally:
        down = await run("down", state=state)
    assert down.code == 0
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert "nothing runs" in (await run("down", state=state)).stderr
    assert "nothing would start them again" in (await run("restart", state=state)).stderr


@pytest.mark.asyncio
async def test_run_follows_to_the_last_byte_and_ends_with_the_commands_code(state: Path) -> None:
    script = "seq 1 20000; echo done >&2; exit 3"
    result = await run("run", "--", "sh", "-c", script, state=state)
    assert result.code == 3
    assert result.stdout.splitlines() == [str(number) for number in range(1, 20001)]
    assert result.stderr == "done\n"


@pytest.mark.asyncio
@pytest.mark.parametrize("victim", ["scheduler", "agent-node-1"])
async def test_service_killed_during_a_run_is_restarted_and_no_line_is_lost(state: Path, victim: str) -> None:
    script = "for i in $(seq 1 30); do echo $i; sleep 0.1; done; exit 4"
    process = await start("run", "--", "sh", "-c", script, state=state)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"1\n"
    pid = ready(state, victim)["pid"]
    os.kill(pid, signal.SIGKILL)
    result = await finish(process)
    assert (result.code, result.stdout.split()) == (4, [str(number) for number in range(2, 31)]), (
        result.stderr
    )
    await wait_until(lambda: is_ready(state, victim, pid), f"{victim} to serve again")


@pytest.mark.asyncio
async def test_up_after_a_killed_supervisor_replaces_what_it_left(state: Path) -> None:
    left = ready(state, "scheduler")["pid"]
    os.kill(ready(state, "up")["pid"], signal.SIGKILL)
    up = await run("up", "--detach", state=state)
    assert up.code == 0, up.stderr
    assert ready(state, "scheduler")["pid"] != left
    assert (await run("call", "echo", "--param", "value=1", state=state)).stdout == "1\n"


@pytest.mark.asyncio
async def test_up_on_a_taken_port_names_it_and_leaves_no_process(tmp_path: Path) -> None:
    base = free_port_base()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + 1))
        taken.listen()
        result = await run("up", "--detach", "--port-base", str(base), state=tmp_path / "yard")
    assert result.code == 6
    assert f"port {base + 1}, for the store, is taken" in result.stderr
    assert "next: yard up --port-base" in result.stderr
    assert not (tmp_path / "yard" / "client.toml").exists()


@pytest.mark.asyncio
async def test_up_in_the_foreground_stops_cleanly_on_interrupt(tmp_path: Path) -> None:
    state = tmp_path / "yard"
    process = await start("up", "--port-base", str(free_port_base()), state=state)
    await wait_until(lambda: is_ready(state, "up", 0), "the yard to serve", timeout_s=30)
    pid = ready(state, "scheduler")["pid"]
    process.send_signal(signal.SIGINT)
    result = await finish(process)
    assert (result.code, result.stdout) == (0, "")
    assert result.stderr.endswith("stopped\n")
    assert not Path(f"/proc/{pid}").exists()
    assert not list((state / "run").glob("*.json"))


@pytest.mark.asyncio
async def test_backup_under_load_restores_to_a_sound_yard(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "yard.tar.gz"
    (tmp_path / "f.bin").write_bytes(b"x" * 100_000)
    digest = (await run("artifacts", "put", str(tmp_path / "f.bin"), state=state)).stdout.strip()
    calls = [run("call", "echo", "--param", f"value={number}", state=state) for number in range(4)]
    *called, backup = await asyncio.gather(*calls, run("backup", str(file), state=state))
    assert backup.code == 0, backup.stderr
    assert [result.code for result in called] == [0, 0, 0, 0], called
    assert file.stat().st_mode & 0o077 == 0
    assert (await run("restore", str(file), state=state)).code == 6
    other = tmp_path / "other"
    restored = await run("restore", str(file), state=other)
    assert restored.code == 0, restored.stderr
    assert (other / "scheduler" / "restored").exists()
    with sqlite3.connect(other / "scheduler" / "scheduler.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    up = await run("up", "--detach", "--port-base", str(free_port_base()), state=other)
    try:
        assert up.code == 0, up.stderr
        assert (await run("call", "echo", "--param", "value=1", state=other)).stdout == "1\n"
        got = await run("artifacts", "get", digest, str(tmp_path / "back.bin"), state=other)
        assert got.code == 0, got.stderr
        assert (tmp_path / "back.bin").read_bytes() == b"x" * 100_000
    finally:
        await run("down", state=other)


@pytest.mark.asyncio
async def test_up_on_all_addresses_speaks_tls_and_local_commands_trust_it(tmp_path: Path) -> None:
    state = tmp_path / "yard"
    up = await run("up", "--detach", "--host", "0.0.0.0", "--port-base", str(free_port_base()), state=state)
    try:
        assert up.code == 0, up.stderr
        assert "TLS" in up.stderr
        assert (await run("call", "echo", "--param", "value=1", state=state)).stdout == "1\n"
        plain = await run("nodes", "ls", "--ca-file", "/dev/null", state=state)
        assert plain.code == 5
    finally:
        await run("down", state=state)
