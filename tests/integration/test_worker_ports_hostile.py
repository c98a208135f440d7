"""Leased ports among programs that take whatever port they get: nobody finds theirs in use (S3.6).

`LEASED_PORTS_JOBS=200` makes it as large as the goal; without it it is a tenth of that.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.frames import Peer, worker_process
from tests.support.seat_shim import Shim

JOBS = int(os.environ.get("LEASED_PORTS_JOBS", "20"))
SHIMS = 4
PORTS = ("c10d", "rpc", "web")

# Holds as many ports as it may have, gives some back and takes others; and dials, which takes ports too.
HOSTILE = """
import random, resource, socket, sys
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
sink = socket.create_server(("127.0.0.1", 0), backlog=4096)
held = []
print("begins", flush=True)
while True:
    sock = socket.socket()
    try:
        if random.random() < 0.5:
            sock.bind(("", 0))
            sock.listen()
        else:
            sock.connect(sink.getsockname())
            held.append(sink.accept()[0])
        held.append(sock)
    except OSError:
        sock.close()
    while len(held) > 3000:
        held.pop(random.randrange(len(held))).close()
"""
# As strict as a program can be: without SO_REUSEADDR, on all addresses.
PROGRAM = """
import os, socket, sys
held = []
for port in sys.argv[1:]:
    held.append(socket.socket())
    held[-1].bind(("", int(port)))
    held[-1].listen()
"""


@pytest.fixture
def hostile() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-S", "-c", HOSTILE], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"begins\n"
        yield
        assert process.poll() is None, "it was hostile to the end"
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def peers(place: Path) -> Iterator[list[tuple[Peer, Path]]]:
    with ExitStack() as stack:
        found = []
        for number in range(SHIMS):
            directory = place / f"shim-{number}"
            directory.mkdir(mode=0o700)
            _, path = stack.enter_context(worker_process(directory))
            peer = Peer(path)
            stack.callback(peer.close)
            found.append((peer, directory))
        yield found


def train(peer: Peer, directory: Path, leases: Path, jobs: range) -> list[str]:
    """One job after the other, each started twice in its seat; what went wrong."""
    wrong = []
    for job in jobs:
        shim = Shim(peer, directory, key=f"t-{job}/1/1/1")
        numbers = shim.open(*PORTS, lease_path=str(leases))["ports"]
        argv = [sys.executable, "-S", "-c", PROGRAM, *(str(numbers[name]) for name in PORTS)]
        for epoch in (1, 2):
            shim.order(launch={"epoch": epoch, "processes": [{"argv": argv}]})
            end = shim.until_state("ENDED", epoch)["exit"]
            if end["cause"] != "EXIT_CAUSE_SUCCESS":
                wrong.append(f"job {job}, epoch {epoch}: {end['last_lines'][-1:]}")
        shim.close()
    return wrong


@pytest.mark.timeout(600)
def test_leased_ports_are_there_for_every_job_whoever_takes_ports_besides(
    peers: list[tuple[Peer, Path]], place: Path, hostile: None
) -> None:  # S3.6
    leases = place / "ports"
    with ThreadPoolExecutor(SHIMS) as pool:
        found = [
            pool.submit(train, peer, directory, leases, range(number, JOBS, SHIMS))
            for number, (peer, directory) in enumerate(peers)
        ]
    assert [line for one in found for line in one.result()] == []
