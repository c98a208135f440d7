"""A blocking stand-in for the agent's end of a worker's or launcher's socket."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from modelyard.worker.frames import FrameBuffer, encode

Message = dict[str, Any]


class Peer:
    """One connection; remembers every frame that came."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(15)
        self.socket.connect(path)
        self.frames: list[Message] = []
        self._buffer = FrameBuffer()
        self.ended: dict[str, Message] = {}

    def send(self, **message: Any) -> None:
        self.socket.sendall(encode(message))

    def receive(self) -> list[Message]:
        """The next frames; empty when the other end has closed."""
        while True:
            data = self.socket.recv(65536)
            frames = self._buffer.feed(data)
            self.frames += frames
            for frame in frames:
                self.ended.update({report["key"]: report for report in frame.get("ended", ())})
            if frames or not data:
                return frames

    def until(self, field: str, key: str = "") -> Message:
        """The first item of that repeated field, of that key, in this or a later frame."""
        seen = 0
        while True:
            for frame in self.frames[seen:]:
                items = frame.get(field, ())
                for item in [items] if isinstance(items, dict) else items:
                    if not key or item["key"] == key:
                        return item
            seen = len(self.frames)
            assert self.receive(), f"closed before {field} of {key}; got {self.frames}"

    def call(self, key: str, operator: str, params: str = "{}", **more: Any) -> Message:
        """Runs an operator to its end."""
        self.send(run=[{"key": key, "operator": {"operator": operator, "params_json": params, **more}}])
        return self.until("ended", key)

    def close(self) -> None:
        self.socket.close()


@contextmanager
def short_directory() -> Iterator[Path]:
    """A private directory whose path is short enough for a socket."""
    path = Path(tempfile.mkdtemp(prefix="yt-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def worker_process(directory: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A worker in a process of its own, and its socket."""
    path = str(directory / "w.sock")
    with (directory / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "modelyard.worker", "--socket", path, *arguments],
            stderr=log,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
    try:
        wait_for(lambda: is_listening(path) or process.poll() is not None)
        assert process.poll() is None, (directory / "worker.log").read_text()
        yield process, path
    finally:
        # Killed like this a worker leaves what it runs to the launcher, and here is none.
        left = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        for child in left:
            with suppress(psutil.NoSuchProcess):
                child.kill()


def is_listening(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


def wait_for(condition: Any, timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False
