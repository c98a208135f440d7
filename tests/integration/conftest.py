"""A real worker process and a socket to it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.frames import Peer, short_directory, worker_process


@pytest.fixture
def place() -> Iterator[Path]:
    """Short enough for sockets; goes away."""
    with short_directory() as path:
        yield path


@pytest.fixture
def worker(place: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A worker, and the path of its socket."""
    with worker_process(place) as started:
        yield started


@pytest.fixture
def peer(worker: tuple[subprocess.Popen[bytes], str]) -> Iterator[Peer]:
    """What an agent is to that worker."""
    connection = Peer(worker[1])
    yield connection
    connection.close()
