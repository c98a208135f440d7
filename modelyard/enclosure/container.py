"""A frame in a container: nothing is built, everything is mounted.

Owns what the container is made of, its output and its end. The image gives Python and the libraries of its system;
the packages come from the environment that the agent has made, the component from the seat. The container ends when
the connection that is attached to it does, whatever became of this process: its first process (`within`) sees to
that, and the engine removes what has ended.
"""

from __future__ import annotations

import json
import os
import select
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.enclosure.confinement import FOUND, USER, Limits, host_config
from modelyard.enclosure.engine import Engine, EngineFailed
from modelyard.enclosure.image import resolve
from modelyard.enclosure.offer import OFFER, Offer
from modelyard.enclosure.order import (
    LAUNCH,
    SEAT,
    SECRET,
    Image,
    Order,
    Trouble,
    make_room,
    open_to_read,
    package_directory,
)
from modelyard.enclosure.output import Output
from modelyard.enclosure.telling import Telling
from modelyard.enclosure.watching import Watch

LABEL = "modelyard.seat"
"""On every container of ours: whose it is."""
COMPONENT, ROOM, PACKAGES, ENVIRONMENT = "/component", "/room", "/opt/modelyard", "/opt/environment"
_OFFER = "say runtime.kind: environment, which needs no container engine"


class Container:
    """One, from its image to its end."""

    def __init__(self, order: Order, environ: Mapping[str, str]) -> None:
        self._order = order
        self._environ = environ
        self._engine: Engine | None = None
        self._id = ""
        self._output: Output | None = None
        self._waiter: socket.socket | None = None
        self._watch: Watch | None = None
        self._offer: Offer | None = None
        self.code: int | None = None
        """How it has ended."""
        self.image = Image()
        """What it is made of."""

    def start(self, listener: socket.socket | None, watch: Watch) -> None:
        """Raises Trouble, OSError."""
        order, self._watch = self._order, watch
        open_to_read(order.component)
        make_room(order, COMPONENT)
        if listener is not None:
            self._offer = Offer(order.room / OFFER, listener, watch)
        try:
            self._engine = Engine.find(self._environ)
            telling = Telling(order.image)
            self.image = resolve(self._engine, order.image, order.tried, self._environ, telling.take)
            telling.end()
            image = self.image.name
            self._id = self._engine.create("", container_config(order, image, packages_of(order)))
        except EngineFailed as error:
            raise _no_container(error) from error
        try:
            attached = self._engine.attach(self._id)
            self._output = Output(attached, watch, order.output_bytes)
            self._waiter = self._engine.wait(self._id)
            watch(self._waiter.fileno(), select.EPOLLIN, self._on_end)
            self._engine.start(self._id)
        except EngineFailed as error:
            self.close()
            raise _not_started(error, image) from error

    def _on_end(self, _: int) -> None:
        assert self._waiter is not None and self._watch is not None
        said = self._waiter.recv(65_536)
        begin, end = said.find(b"{"), said.rfind(b"}")
        self._watch(self._waiter.fileno(), 0, None)
        found = json.loads(said[begin : end + 1]) if 0 <= begin < end else {}
        if self._output is not None:
            self._output.finish()
        self.code = int(found.get("StatusCode", 255))

    def signal(self, name: str) -> None:
        """Hands a signal on; whoever cannot be told is ended by `close`."""
        assert self._engine is not None
        try:
            self._engine.signal(self._id, name)
        except EngineFailed as error:
            os.write(2, f"{name} did not reach the container: {error}\n".encode())

    def look(self) -> None:
        """The engine keeps the limits."""

    def close(self) -> None:
        """Nothing of it is left afterwards."""
        if self._offer is not None:
            self._offer.close()
        if self._output is not None:
            self._output.close()
        if self._waiter is not None:
            self._waiter.close()
        if self._engine is not None and self._id:
            try:
                self._engine.remove(self._id)
            except EngineFailed as error:
                os.write(2, f"the container {self._id[:12]} could not be removed: {error}\n".encode())


def packages_of(order: Order) -> Path | None:
    """Where the environment keeps its packages. Raises Trouble."""
    if order.environment is None:
        return None
    found = sorted(order.environment.glob("lib/python3*/site-packages"))
    if not found:
        message = f"{order.environment} is no Python environment"
        raise Trouble("FAILED_PRECONDITION", "runtime.requirements", message)
    return found[0]


def container_config(order: Order, image: str, packages: Path | None) -> dict[str, Any]:
    """What the engine is asked for."""
    mounts = [
        _mount(order.component, COMPONENT),
        _mount(package_directory(), f"{PACKAGES}/modelyard"),
        _mount(order.room, ROOM),
    ]
    if order.found is not None:
        mounts.append(_mount(order.found, FOUND) | {"ReadOnly": False})
    paths = [PACKAGES]
    if packages is not None:
        mounts.append(_mount(packages, ENVIRONMENT))
        paths.append(ENVIRONMENT)
    environ = {
        LAUNCH: f"{ROOM}/launch.json",
        SECRET: order.secret,
        SEAT: order.seat,
        "PYTHONPATH": ":".join(paths),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "HOME": "/tmp",
        "OMP_NUM_THREADS": str(order.threads),
        "OPENBLAS_NUM_THREADS": str(order.threads),
    }
    return {
        "Image": image,
        "Entrypoint": ["python3"],
        "Cmd": ["-I", f"{PACKAGES}/modelyard/enclosure/within.py", order.python, *order.program],
        "Env": [f"{name}={value}" for name, value in environ.items()],
        "Labels": {LABEL: order.seat},
        "User": f"{USER}:{USER}",
        "WorkingDir": "/tmp",
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": {**host_config(_limits(order)), "Mounts": mounts},
    }


def _limits(order: Order) -> Limits:
    return Limits(
        memory_bytes=order.memory_bytes,
        cpu=order.cpu,
        pids=order.pids,
        file_bytes=order.file_bytes,
        devices=order.gpus,
        has_network=order.has_network,
    )


def _mount(source: Path, target: str) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": True}


def _no_container(error: EngineFailed) -> Trouble:
    return Trouble("FAILED_PRECONDITION", "runtime.kind", f"there is no container: {error}; {_OFFER}")


def _not_started(error: EngineFailed, image: str) -> Trouble:
    if "python3" in str(error):
        message = f"the image {image} has no python3 on its PATH; name one that has with runtime.image"
        return Trouble("FAILED_PRECONDITION", "runtime.image", message)
    if "gpu" in str(error):
        message = (
            f"the container engine cannot hand on devices: {error}; install nvidia-container-toolkit there"
        )
        return Trouble("FAILED_PRECONDITION", "runtime.gpu", message)
    return _no_container(error)
