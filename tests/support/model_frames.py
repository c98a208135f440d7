"""Frames of models as plain processes, and a blocking peer that talks to one as the models service does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from modelyard.serving.launch import FILE_VARIABLE, SECRET_VARIABLE
from modelyard.serving.tensors import from_wire, to_wire
from modelyard.serving.wire import Buffer, Decoder, Header, Message, encode

SECRET = "frame-secret"


class FrameProcess:
    """A running frame. `address` is as it listens: unix:///path or tcp://host:port."""

    def __init__(self, process: subprocess.Popen[bytes], address: str, log: Path) -> None:
        self.process = process
        self.address = address
        self.secret = SECRET
        self._log = log

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def peer(self, timeout_s: float = 30.0) -> FramePeer:
        """A connection that has shown the secret and heard `welcome`."""
        found = FramePeer(self.dial(timeout_s), timeout_s)
        found.send({"kind": "hello", "secret": self.secret})
        assert found.next().kind == "welcome"
        return found

    def dial(self, timeout_s: float = 30.0) -> socket.socket:
        """As soon as it listens."""
        until = time.monotonic() + timeout_s
        while True:
            try:
                return _dialled(self.address)
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise AssertionError(
                        f"the frame does not listen, exit {self.process.poll()}\n{self.output}"
                    ) from None
                time.sleep(0.02)


class FramePeer:
    """Sends and receives whole messages."""

    def __init__(self, opened: socket.socket, timeout_s: float = 30.0) -> None:
        self.socket = opened
        opened.settimeout(timeout_s)
        self._decoder = Decoder()
        self._waiting: list[Message] = []

    def send(self, header: Header, buffers: Sequence[Buffer] = ()) -> None:
        for piece in encode(header, buffers):
            self.socket.sendall(piece)

    def next(self) -> Message:
        """The next message. Raises EOFError: it has closed."""
        while not self._waiting:
            count = self.socket.recv_into(self._decoder.room())
            if not count:
                raise EOFError
            self._waiting = self._decoder.received(count)
        return self._waiting.pop(0)

    def loaded(self) -> Header:
        """Waits for `loaded`, which is a failure of the test if it is something else."""
        header = self.next().header
        assert header["kind"] == "loaded", header
        return header

    def call(self, id_: Any, values: Mapping[str, Any], **more: Any) -> None:
        """Sends a call of arrays; an input may be (array, parameters)."""
        inputs, buffers = tensors_of(values)
        self.send({"kind": "call", "id": id_, "left_ms": 0, "inputs": inputs, **more}, buffers)

    def answer(self, values: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """Of one call: arrays by name. A failure is raised."""
        self.call("only", values, **more)
        message = self.next()
        assert message.kind == "result", message.header
        return arrays_of(message)

    def close(self) -> None:
        self.socket.close()


def tensors_of(values: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[Buffer]]:
    """Inputs of a call and their buffers."""
    inputs, buffers = [], []
    for name, value in values.items():
        array, parameters = value if isinstance(value, tuple) else (value, {})
        meta, buffer = to_wire(name, array)
        inputs.append({**meta, "parameters": parameters} if parameters else meta)
        buffers.append(buffer)
    return inputs, buffers


def arrays_of(message: Message) -> dict[str, Any]:
    """Outputs of a result or a part."""
    return arrays_of_pairs(message.header["outputs"], message.buffers)


def arrays_of_pairs(metas: Sequence[dict[str, Any]], buffers: Sequence[Buffer]) -> dict[str, Any]:
    """Tensors by name."""
    return {str(meta["name"]): from_wire(meta, one) for meta, one in zip(metas, buffers, strict=True)}


def tensor(name: str, datatype: str, shape: Sequence[int], **more: Any) -> dict[str, Any]:
    """An input or an output of a configuration."""
    return {"name": name, "datatype": datatype, "shape": list(shape), **more}


def config_of(format_: str, file: str, **more: Any) -> dict[str, Any]:
    """A configuration as plain data."""
    return {"name": "model", "format": format_, "file": file, **more}


@contextmanager
def frame(
    component: Path,
    config: Mapping[str, Any],
    state: Path,
    *,
    python: str = sys.executable,
    address: str = "",
    environ: Mapping[str, str] | None = None,
    **launch: Any,
) -> Iterator[FrameProcess]:
    """A frame for a component; ended, with all that it started, on leaving. `state`: an empty directory."""
    state.mkdir(parents=True, exist_ok=True)
    listen = address or f"unix://{state}/frame.sock"
    file, log = state / "frame.json", state / "frame.log"
    file.write_text(
        json.dumps({"component": str(component), "config": dict(config), "listen": listen, **launch})
    )
    environment = {
        **os.environ,
        FILE_VARIABLE: str(file),
        SECRET_VARIABLE: SECRET,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        **(environ or {}),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-m", "modelyard.serving"], env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        yield FrameProcess(process, listen, log)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def loaded_frame(
    component: Path, config: Mapping[str, Any], state: Path, **more: Any
) -> Iterator[tuple[FrameProcess, FramePeer]]:
    """One that has loaded its component, and a connection to it."""
    with frame(component, config, state, **more) as running:
        peer = running.peer()
        peer.loaded()
        try:
            yield running, peer
        finally:
            peer.close()


def _dialled(address: str) -> socket.socket:
    if address.startswith("unix://"):
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            opened.connect(address.removeprefix("unix://"))
        except OSError:
            opened.close()
            raise
        return opened
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    opened = socket.create_connection((host, int(port)), timeout=5)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened
