"""Frames that are shut in, as a seat launches them: `yard-frame` in a directory of its own, called through its port."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.enclosure.base_image import own_image, provide
from modelyard.enclosure.engine import Engine, EngineFailed
from modelyard.enclosure.order import TROUBLE_EXIT
from modelyard.serving.launch import FILE_VARIABLE, SECRET_VARIABLE
from services.models.surroundings.association import FrameTrouble, trouble_of
from tests.support.model_frames import SECRET, FramePeer, FrameProcess, config_of, tensor
from tests.support.ports import free_port

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
IMAGE = f"python:{PYTHON}-slim"
MEMORY_BYTES = 256 * 1024**2
FORMS = ("environment", "container")


@functools.cache
def missing_engine() -> str:
    """Why there are no containers here; empty: there are, and their image is there."""
    try:
        engine = Engine.find(os.environ)
        engine.version()
    except EngineFailed as error:
        return str(error)
    return "" if provide(engine, own_image(IMAGE)) else "the image cannot be made"


def need(kind: str) -> None:
    """Skips a test of containers where there are none."""
    if kind == "container" and (why := missing_engine()):
        pytest.skip(f"no containers here: {why}")


class Enclosed(FrameProcess):
    """A frame that is shut in, and the process beside it."""

    def __init__(self, process: subprocess.Popen[bytes], address: str, log: Path) -> None:
        super().__init__(process, address, log)
        self._peers: list[FramePeer] = []

    def peer(self, timeout_s: float = 30.0) -> FramePeer:
        """Closed with the frame."""
        self._peers.append(super().peer(timeout_s))
        return self._peers[-1]

    def close(self) -> None:
        """All connections."""
        for peer in self._peers:
            peer.close()

    def ended(self, timeout_s: float = 30.0) -> int:
        """Waits for its exit code."""
        return self.process.wait(timeout_s)

    def trouble(self, timeout_s: float = 30.0) -> FrameTrouble:
        """Why it has ended."""
        found = trouble_of(self.ended(timeout_s), self.output.splitlines())
        assert found is not None, (self.process.returncode, self.output)
        return found

    def connected(self, timeout_s: float = 30.0) -> FramePeer:
        """A connection that has shown the secret and heard `loaded`."""
        peer = self.peer(timeout_s)
        peer.loaded()
        return peer


def code_component(folder: Path, source: str) -> tuple[Path, dict[str, Any]]:
    """A component that is a Python file with a class of `predict(text) -> text`, and its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(source)
    text = {"codec": "text"}
    return folder, config_of(
        "python",
        "model.py",
        inputs=[tensor("x", "BYTES", [1], **text)],
        outputs=[tensor("y", "BYTES", [1], **text)],
    )


def said(peer: FramePeer, text: str) -> str:
    """What such a component answers."""
    answer = peer.answer({"x": np.array([text.encode()], dtype=object)})["y"]
    return str(bytes(answer.ravel()[0]).decode())


@contextmanager
def enclosed(
    component: Path,
    config: Mapping[str, Any],
    directory: Path,
    kind: str = "environment",
    *,
    environ: Mapping[str, str] | None = None,
    launch: Mapping[str, Any] | None = None,
    may_unpickle: bool = False,
    user: int | None = None,
    **enclosure: Any,
) -> Iterator[Enclosed]:
    """``directory``: the seat's, made here. Everything has ended on leaving."""
    need(kind)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    port = free_port()
    wanted = {"kind": kind, "image": IMAGE, "python": PYTHON, "memory_bytes": MEMORY_BYTES, "cpu": 1.0}
    whole = {
        "component": str(component),
        "config": dict(config),
        "listen": f"tcp://127.0.0.1:{port}",
        "golden": None,
        "may_unpickle": may_unpickle,
        "enclosure": wanted | enclosure,
        **(launch or {}),
    }
    (directory / "frame.json").write_text(json.dumps(whole))
    if user is not None:
        os.chown(directory, user, user)
    environment = {
        **os.environ,
        FILE_VARIABLE: "frame.json",
        SECRET_VARIABLE: SECRET,
        "VIRTUAL_ENV": sys.prefix,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "YARD_SEAT": f"test:{directory.name}-{port}/1",
        **(environ or {}),
    }
    log = directory.with_name(f"{directory.name}.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "modelyard.enclosure"], env=environment, cwd=directory,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, user=user, group=user,
            extra_groups=None if user is None else [],
        )  # fmt: skip
    frame = Enclosed(process, str(whole["listen"]), log)
    try:
        yield frame
    finally:
        frame.close()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def containers_of(seat: str) -> list[str]:
    """The containers that belong to a seat."""
    return [one for one, whose in Engine.find(os.environ).labelled("modelyard.seat").items() if whose == seat]


def processes_of(seat: str) -> list[int]:
    """Processes on this machine that were started for a seat; the one beside the frame as well."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if f"YARD_SEAT={seat}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def until(holds: Any, timeout_s: float = 15.0) -> bool:
    """Whether it holds before the time is over."""
    deadline = time.monotonic() + timeout_s
    while not (result := bool(holds())) and time.monotonic() < deadline:
        time.sleep(0.05)
    return result


__all__ = ["FORMS", "TROUBLE_EXIT", "Enclosed", "code_component", "enclosed", "said"]
