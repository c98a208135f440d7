"""The container engine of this machine, asked over its socket: Docker's HTTP interface, version 1.40 and later.

Owns the connection and the few requests that are needed. Which container is wanted is `container`'s. Engines that
speak the same (Podman) do as well. Blocks.
"""

from __future__ import annotations

import io
import json
import os
import socket
from collections.abc import Mapping
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode

VERSION = "v1.40"
SOCKETS = ("/var/run/docker.sock", "/run/podman/podman.sock")
_ASK_S, _IMPORT_S, _PATIENCE_S = 30.0, 900.0, 2.0


class EngineFailed(Exception):
    """The engine does not answer, or says no."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def socket_path(environ: Mapping[str, str]) -> str:
    """Where the engine listens: DOCKER_HOST, else the usual places. Raises EngineFailed."""
    host = environ.get("DOCKER_HOST", "")
    if host:
        if not host.startswith("unix://"):
            raise EngineFailed(
                f"DOCKER_HOST is {host}; directories are mounted, so only an engine of this machine will do"
            )
        return host.removeprefix("unix://")
    own = f"{environ.get('XDG_RUNTIME_DIR', '')}/docker.sock"
    for path in (*SOCKETS, own):
        if os.path.exists(path):  # noqa: PTH110
            return path
    raise EngineFailed("no container engine listens on this machine; install Docker (Debian: docker.io)")


class Engine:
    """One engine."""

    def __init__(self, path: str) -> None:
        self._path = path

    @classmethod
    def find(cls, environ: Mapping[str, str]) -> Engine:
        """That of this machine. Raises EngineFailed."""
        return cls(socket_path(environ))

    def version(self) -> str:
        """ "Docker 20.10.24". Raises EngineFailed."""
        said = self._ask("GET", "/version", timeout_s=_PATIENCE_S)
        names = [part.get("Name", "") for part in said.get("Components") or ()]
        return f"{'Podman' if 'Podman Engine' in names else 'Docker'} {said.get('Version', '')}"

    def image_id(self, image: str) -> str:
        """Its digest here; empty: it is not here. Raises EngineFailed."""
        try:
            return str(self._ask("GET", f"/images/{quote(image)}/json").get("Id", ""))
        except EngineFailed as error:
            if error.status in (400, 404):
                # Not here, or no name of an image; registries say the latter better.
                return ""
            raise

    def image_sources(self, image: str) -> list[str]:
        """NAME@sha256:… under which registries have it; none where it is not here. Raises EngineFailed."""
        try:
            return list(self._ask("GET", f"/images/{quote(image)}/json").get("RepoDigests") or ())
        except EngineFailed as error:
            if error.status == 404:
                return []
            raise

    def pulling(self, image: str, auth: str, timeout_s: float) -> socket.socket:
        """Where it is told how an image comes from its registry, after `answered`: lines of JSON. Who closes it ends
        that. ``auth``: X-Registry-Auth, or nothing. Raises EngineFailed."""
        name, tag = split_image(image)
        query = urlencode({"fromImage": name, "tag": tag})
        shown = f"X-Registry-Auth: {auth}\r\n" if auth else ""
        try:
            return self._opened(
                "POST", f"/images/create?{query}", "1.0", f"Content-Length: 0\r\n{shown}", timeout_s
            )
        except OSError as error:
            raise EngineFailed(f"the container engine at {self._path} does not answer: {error}") from error

    def answered(self, sock: socket.socket) -> None:
        """Waits for the head of an answer. Raises EngineFailed, OSError (TimeoutError)."""
        if (status := _status(sock)) >= 400:
            raise EngineFailed(_message(b"".join(iter(lambda: sock.recv(65_536), b""))), status)

    def import_image(self, image: str, archive: BinaryIO, changes: tuple[str, ...] = ()) -> None:
        """Makes an image of one layer from a tar archive that can be read. Raises EngineFailed."""
        # Both in one: Podman does not look at a tag that is apart.
        repo = ":".join(split_image(image))
        query = urlencode([("fromSrc", "-"), ("repo", repo), *(("changes", change) for change in changes)])
        said = self._request("POST", f"/images/create?{query}", archive, "application/x-tar", _IMPORT_S)
        for line in said.splitlines():
            if error := json.loads(line).get("error"):
                raise EngineFailed(error)

    def create(self, name: str, config: Mapping[str, Any]) -> str:
        """A container's id. Raises EngineFailed."""
        query = f"?name={quote(name)}" if name else ""
        return str(self._ask("POST", f"/containers/create{query}", config)["Id"])

    def start(self, container: str) -> None:
        """Raises EngineFailed."""
        self._ask("POST", f"/containers/{container}/start")

    def signal(self, container: str, name: str) -> None:
        """To its first process; nothing if it has ended. Raises EngineFailed."""
        try:
            self._ask("POST", f"/containers/{container}/kill?signal={name}")
        except EngineFailed as error:
            if error.status not in (404, 409):
                raise

    def pause(self, container: str) -> None:
        """Stops all that runs in it where it is; nothing if it is stopped, or has ended. Raises EngineFailed."""
        self._change(container, "pause")

    def proceed(self, container: str) -> None:
        """Lets it go on; nothing if it does, or has ended. Raises EngineFailed."""
        self._change(container, "unpause")

    def _change(self, container: str, what: str) -> None:
        try:
            self._ask("POST", f"/containers/{container}/{what}")
        except EngineFailed as error:
            if error.status not in (404, 409):
                raise

    def state(self, container: str) -> Mapping[str, Any]:
        """Whether it runs, and how it has ended: State of the engine's own words. Raises EngineFailed."""
        state: Mapping[str, Any] = self._ask("GET", f"/containers/{container}/json")["State"]
        return state

    def remove(self, container: str) -> None:
        """Ends and removes it; nothing if it is gone, or on its way. Raises EngineFailed."""
        try:
            self._ask("DELETE", f"/containers/{container}?force=true&v=true")
        except EngineFailed as error:
            if error.status not in (404, 409):
                raise

    def labelled(self, label: str) -> dict[str, str]:
        """Containers with this label, running or not: id → the label's text. Raises EngineFailed."""
        query = urlencode({"all": "true", "filters": json.dumps({"label": [label]})})
        return {
            found["Id"]: found["Labels"][label] for found in self._ask("GET", f"/containers/json?{query}")
        }

    def attach(self, container: str) -> socket.socket:
        """Its stdin, and its output in pieces with a head of eight bytes each. Raises EngineFailed."""
        query = "stream=1&stdin=1&stdout=1&stderr=1"
        upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n"
        return self._stream(f"/containers/{container}/attach?{query}", upgrade, (101, 200))

    def wait(self, container: str) -> socket.socket:
        """What can be read from when it has ended next. Raises EngineFailed."""
        return self._stream(f"/containers/{container}/wait?condition=next-exit", "", (200,))

    def stats(self, container: str) -> socket.socket:
        """A line of JSON a second about what it uses, between others that are none. Raises EngineFailed."""
        return self._stream(f"/containers/{container}/stats?stream=true", "", (200,), "GET")

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, timeout_s: float = _ASK_S
    ) -> Any:
        content = json.dumps(body).encode() if body is not None else b""
        said = self._request(method, path, io.BytesIO(content), "application/json", timeout_s)
        return json.loads(said) if said.strip() else {}

    def _request(
        self,
        method: str,
        path: str,
        body: BinaryIO,
        kind: str = "application/json",
        timeout_s: float = _ASK_S,
    ) -> bytes:
        """The answer's body. Version 1.0 of HTTP: the answer ends where the connection does."""
        size = body.seek(0, io.SEEK_END)
        body.seek(0)
        head = f"Content-Type: {kind}\r\nContent-Length: {size}\r\n"
        try:
            with self._opened(method, path, "1.0", head, timeout_s) as sock:
                sock.sendfile(body)
                status = _status(sock)
                said = b"".join(iter(lambda: sock.recv(65_536), b""))
        except OSError as error:
            raise EngineFailed(f"the container engine at {self._path} does not answer: {error}") from error
        if status >= 400:
            raise EngineFailed(_message(said), status)
        return said

    def _stream(
        self, path: str, headers: str, expected: tuple[int, ...], method: str = "POST"
    ) -> socket.socket:
        """A connection on which nothing but the answer's body is still to come."""
        sock = None
        try:
            sock = self._opened(method, path, "1.1", f"Content-Length: 0\r\n{headers}", _ASK_S)
            status = _status(sock)
            if status not in expected:
                raise EngineFailed(_message(sock.recv(65_536)), status)
        except OSError as error:
            if sock is not None:
                sock.close()
            raise EngineFailed(f"the container engine at {self._path} does not answer: {error}") from error
        except EngineFailed:
            assert sock is not None
            sock.close()
            raise
        return sock

    def _opened(self, method: str, path: str, version: str, head: str, timeout_s: float) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(timeout_s)
            sock.connect(self._path)
            sock.sendall(f"{method} /{VERSION}{path} HTTP/{version}\r\nHost: engine\r\n{head}\r\n".encode())
        except OSError:
            sock.close()
            raise
        return sock


def _status(sock: socket.socket) -> int:
    """Reads the head of an answer, and not a byte more: what follows belongs to who asked. Raises OSError."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            raise ConnectionResetError("it has hung up")
        head += byte
    return int(head.split(b" ", 2)[1])


def split_image(image: str) -> tuple[str, str]:
    """Name, and tag or digest: of "host:5000/a:1" "host:5000/a" and "1"."""
    if "@" in image:
        name, _, digest = image.partition("@")
        return name, digest
    head, slash, last = image.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{head}{slash}{name}", tag or "latest"


def _message(said: bytes) -> str:
    try:
        return str(json.loads(said)["message"])
    except (ValueError, KeyError, TypeError):
        return said.decode(errors="replace").strip()[:500]
