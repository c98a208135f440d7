"""A registry of images on this machine: Debian's docker-registry on loopback, open or behind a password."""

from __future__ import annotations

import base64
import http.server
import io
import json
import re
import shutil
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from modelyard.enclosure.engine import Engine, EngineFailed, split_image

PROGRAM = "docker-registry"
USER, PASSWORD = "ada", "open sesame"
_HASH = "$2b$04$eFspjQi1599sJPqy/dzJhOYSWHnBewiCoGgYHT6UjHf2J7MDMX1xa"
_SAID = re.compile(r"listening on (127\.0\.0\.1:\d+)")


def need_registry() -> str:
    """Its program; skips a test where there is none."""
    program = shutil.which(PROGRAM)
    if program is None:
        pytest.skip(f"no registry here: {PROGRAM} is not installed")
    return program


@contextmanager
def running_registry(folder: Path, *, is_locked: bool = False, port: int = 0) -> Iterator[str]:
    """Where it listens. ``is_locked``: it wants `USER` and `PASSWORD`. What it had in this folder it has again."""
    program = need_registry()
    folder.mkdir(parents=True, exist_ok=True)
    words = [
        "version: 0.1",
        "log: {level: info}",
        f"storage: {{filesystem: {{rootdirectory: {folder}/images}}}}",
    ]
    words.append(f"http: {{addr: '127.0.0.1:{port}'}}")
    if is_locked:
        (folder / "htpasswd").write_text(f"{USER}:{_HASH}\n")
        words.append(f"auth: {{htpasswd: {{realm: tests, path: {folder}/htpasswd}}}}")
    (folder / "config.yml").write_text("\n".join(words) + "\n")
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "serve", str(folder / "config.yml")], stdout=output, stderr=output
        )
    try:
        yield _address(log, process)
    finally:
        process.kill()
        process.wait()


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if found := _SAID.search(log.read_text()):
            return found[1]
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)
    raise AssertionError(f"the registry does not listen: {log.read_text()}")


@contextmanager
def gate(address: str) -> Iterator[tuple[str, threading.Event]]:
    """An address before another, at which nothing is said until the gate is opened; nothing ever, where there is none
    behind it."""
    opened, closed = threading.Event(), threading.Event()
    server = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65_536):
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)

    def serve(client: socket.socket) -> None:
        opened.wait()
        if closed.is_set() or not address:
            return
        host, _, port = address.rpartition(":")
        with suppress(OSError):
            behind = socket.create_connection((host, int(port)))
            held.append(behind)
            threading.Thread(target=copy, args=(behind, client), daemon=True).start()
            copy(client, behind)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                held.append(client)
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}", opened
    finally:
        closed.set()
        opened.set()
        for one in (server, *held):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@contextmanager
def answering(status: int) -> Iterator[tuple[str, list[str]]]:
    """A registry that says only this; 0: it hangs up. What it is asked for is kept."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if not status:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nowhere."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def logged_in(folder: Path, address: str, password: str = PASSWORD) -> Path:
    """What `docker login` leaves, in a folder for DOCKER_CONFIG."""
    folder.mkdir(parents=True, exist_ok=True)
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {address: {"auth": auth}}}))
    return folder


def publish(engine: Engine, image: str, auth: str = "e30=") -> str:
    """A small image with a shell in a registry, and no longer on this machine; NAME@sha256:…"""
    engine.import_image(image, _shell())
    return push(engine, image, auth)


def push(engine: Engine, image: str, auth: str = "e30=") -> str:
    """An image of this machine's in its registry, and no longer on this machine; NAME@sha256:…"""
    name, tag = split_image(image)
    said = engine._request(
        "POST", f"/images/{quote(name)}/push?tag={tag}", io.BytesIO(), f"a/b\r\nX-Registry-Auth: {auth}"
    )
    if b"connection refused" in said:
        forget(engine, image)
        pytest.skip("no registry for this engine: it does not run where the tests do")
    assert b'"error"' not in said, said
    (source,) = engine.image_sources(image)
    forget(engine, image)
    return source


def forget(engine: Engine, image: str) -> None:
    """No longer here under any name."""
    with suppress(EngineFailed):
        while digest := engine.image_id(image):
            engine._ask("DELETE", f"/images/{digest}?force=true")


def _shell() -> io.BytesIO:
    """A file system of one shell and what it is linked with."""
    shell = Path("/bin/sh").resolve()
    said = subprocess.run(["ldd", str(shell)], capture_output=True, text=True, check=True).stdout
    paths = [Path(path) for path in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", said, re.MULTILINE)]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in ("bin", "tmp", "task", "proc", "sys", "dev", "etc"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        tar.add(shell, "bin/sh")
        for path in paths:
            tar.add(path.resolve(), str(path).lstrip("/"))
    archive.seek(0)
    return archive
