"""Scripts that stand in shipped definitions, executed as they are rendered."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelyard.training import Address, Identity, Launch, Plan
from tests.support.ports import free_port
from tests.support.training import golden_job, planned
from tests.support.wait import wait_until


def book(plan: Plan, folder: Path) -> dict[tuple[str, int], Address]:
    return {
        (role.name, index): Address(
            host="127.0.0.1", ip="127.0.0.1", directory=str(folder / f"{role.name}-{index}"),
            ports={port.name: free_port() for port in role.role.address()},
        )
        for role in plan.roles
        for index in range(role.count)
    }  # fmt: skip


def laid_out(launch: Launch, place: Address) -> Path:
    folder = Path(place.directory)
    folder.mkdir(parents=True)
    for file in launch.files:
        (folder / file.path).write_text(file.content)
        (folder / file.path).chmod(0o755 if file.is_executable else 0o644)
    return folder


@contextmanager
def running(launch: Launch, place: Address) -> Iterator[subprocess.Popen[bytes]]:
    (process,) = launch.processes
    argv = [sys.executable if process.argv[0] == "python" else process.argv[0], *process.argv[1:]]
    started = subprocess.Popen(argv, cwd=laid_out(launch, place), env={**os.environ, **process.env})
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def asked(url: str, put: bytes | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(url, data=put, method="GET" if put is None else "PUT")
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, b""


def listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.asyncio
async def test_remote_shell_executes_for_those_who_know_the_secret(tmp_path: Path) -> None:
    # N12: mpirun's remote shell agent without ssh
    plan = planned(golden_job("mpi"))
    places = book(plan, tmp_path)
    at = plan.surroundings(Identity(id="j-1", secret="hush"), places)
    launcher = plan.launch(at, "launcher", 0)
    folder = laid_out(launcher, places["launcher", 0])
    place = places["worker", 1]
    with running(plan.launch(at, "worker", 1), place):
        await wait_until(lambda: listens(place.ports["shell"]), "the shell listens")

        def rsh(*words: str, **changed: str) -> subprocess.CompletedProcess[str]:
            env = {**os.environ, **launcher.processes[0].env, **changed}
            return subprocess.run(
                [folder / "rsh", *words], env=env, capture_output=True, text=True, check=False
            )

        found = rsh(
            "-x", "worker-1.j-1", "echo", "$((6", "*", "7));", "pwd;", "echo", "bad", ">&2;", "exit", "3"
        )
        assert (found.stdout, found.stderr, found.returncode) == (f"42\n{place.directory}\n", "bad\n", 3)
        assert rsh("worker-1.j-1", "kill", "-9", "$$").returncode == 137
        assert rsh("worker-1.j-1", "echo", "in", YARD_JOB_SECRET="guess").returncode == 255
        stranger = rsh("worker-9.j-1", "true")
        assert stranger.returncode == 1
        assert "none of worker-0.j-1 worker-1.j-1" in stranger.stderr
        # A daemon that is left behind keeps its pipes; the command has ended all the same.
        assert rsh("worker-1.j-1", "sleep 3 & echo left").stdout == "left\n"


@pytest.mark.asyncio
async def test_rendezvous_keeps_keys_until_they_are_asked_for(tmp_path: Path) -> None:
    plan = planned(golden_job("horovod"))
    places = book(plan, tmp_path)
    at = plan.surroundings(Identity(id="j-1"), places)
    place = places["rendezvous", 0]
    with running(plan.launch(at, "rendezvous", 0), place):
        await wait_until(lambda: listens(place.ports["http"]), "the rendezvous listens")
        url = f"http://127.0.0.1:{place.ports['http']}/global/rank_0"
        assert asked(url) == (404, b"")
        assert asked(url, b"10.0.0.1:4000") == (200, b"")
        assert asked(url) == (200, b"10.0.0.1:4000")
