"""Where the processes of a seat tell their progress: HTTP on a loopback port, with a secret that only they can read.

Owns the listening socket, the file with the secret, and requests that are under way. All on the main thread, none of it
blocks: a request is small, or refused. It speaks its own form (a JSON object, as a line of a progress file) and that of
Kubeflow's trainer status, so that Hugging Face's Trainer reports by itself.
"""

import hmac
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.worker.frames import Message
from modelyard.worker.seats.progress import of_trainer_status, progress_of

TOKEN_FILE = "report.token"
_HEAD_MOST, _BODY_MOST = 8 << 10, 64 << 10
_CONNECTIONS_MOST, _REQUEST_S = 8, 5.0
# Reports: so many at once, so many a second in the long run.
_BURST, _PER_S = 200.0, 50.0
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 405: "Method Not Allowed", 409: "Conflict",
            411: "Length Required", 413: "Content Too Large", 429: "Too Many Requests"}  # fmt: skip
_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


class Refused(Exception):
    """A request that is not taken; the status says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Request(NamedTuple):
    """As far as it matters."""

    method: str
    token: str
    body: bytes


class _Connection:
    """One request, until it is answered."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.until = time.monotonic() + _REQUEST_S
        self.data = b""


class Mailbox:
    """Of one seat. ``take`` gets a JobProgress and says whether the program is to stop; it raises Refused."""

    def __init__(self, directory: str, take: Callable[[Message], bool]) -> None:
        self._token_path = Path(directory, TOKEN_FILE)
        self._take = take
        self._listener: socket.socket | None = None
        self._token = ""
        self._connections: dict[int, _Connection] = {}
        self._tokens, self._filled_at = _BURST, 0.0

    def open(self) -> None:
        """Listens, if it does not yet. Raises OSError."""
        if self._listener is not None:
            return
        self._token = secrets.token_urlsafe(32)
        self._token_path.unlink(missing_ok=True)
        fd = os.open(self._token_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(self._token)
        listener = socket.create_server(("127.0.0.1", 0), backlog=_CONNECTIONS_MOST)
        listener.setblocking(False)
        self._listener = listener

    def with_address(self, work: Message, whole: Callable[[Mapping[str, str]], Mapping[str, str]]) -> Message:
        """The work, whose processes know where to tell their progress; what the work says of that itself counts.

        Listens from now on. ``whole``: the environment that processes have of these variables.
        """
        env = work.get("env", {})
        try:
            self.open()
        except OSError as error:
            # They can train without.
            os.write(2, f"{self._token_path.parent}: reports cannot be heard: {error}\n".encode())
        found = self.env(whole(env))
        proxies = {name: value for name, value in found.items() if name.lower() == "no_proxy"}
        return {**work, "env": {**found, **env, **proxies}}

    def env(self, base: Mapping[str, str]) -> dict[str, str]:
        """What programs are told; ``base`` is the environment that they have otherwise."""
        if self._listener is None:
            return {}
        url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/report"
        found = {
            "YARD_REPORT_URL": url,
            "YARD_REPORT_TOKEN": str(self._token_path),
            "KUBEFLOW_TRAINER_SERVER_URL": url,
            "KUBEFLOW_TRAINER_SERVER_TOKEN": str(self._token_path),
        }
        if any(base.get(name) for name in _PROXIES):
            # Programs would ask the proxy for this machine's own address.
            for name in ("no_proxy", "NO_PROXY"):
                found[name] = ",".join(filter(None, (base.get(name), "127.0.0.1")))
        return found

    @property
    def fds(self) -> tuple[int, ...]:
        """Readable when there is something to do."""
        if self._listener is None:
            return ()
        is_full = len(self._connections) >= _CONNECTIONS_MOST
        return (*self._connections, *(() if is_full else (self._listener.fileno(),)))

    def on_readable(self, fd: int) -> bool:
        """Goes on with what came there; False: it is nothing of its own."""
        if self._listener is not None and fd == self._listener.fileno():
            self._accept()
        elif fd in self._connections:
            self._read(fd, self._connections[fd])
        else:
            return False
        return True

    def look(self) -> None:
        """Who has not said everything in time is hung up on."""
        now = time.monotonic()
        for fd, connection in list(self._connections.items()):
            if now > connection.until:
                self._end(fd)

    def close(self) -> None:
        """Nobody is heard any more."""
        for fd in list(self._connections):
            self._end(fd)
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self._token_path.unlink(missing_ok=True)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            link, _ = self._listener.accept()
        except OSError:
            return
        link.setblocking(False)
        self._connections[link.fileno()] = _Connection(link)

    def _read(self, fd: int, connection: _Connection) -> None:
        try:
            data = connection.link.recv(_BODY_MOST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        connection.data += data
        try:
            request = parsed(connection.data)
            if request is None:
                if not data:
                    self._end(fd)
                return
            answer = _answer(200, {"should_stop": self._taken(request)})
        except Refused as refused:
            answer = _answer(refused.status, {"message": str(refused), "code": refused.status})
        try:
            connection.link.send(answer)
            connection.link.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # It has gone without waiting for the answer.
        self._end(fd)

    def _end(self, fd: int) -> None:
        self._connections.pop(fd).link.close()

    def _taken(self, request: Request) -> bool:
        if not hmac.compare_digest(request.token.encode(), self._token.encode()):
            raise Refused(401, "send the token that lies in the file YARD_REPORT_TOKEN")
        if request.method != "POST":
            raise Refused(405, "reports are sent by POST")
        now = time.monotonic()
        self._tokens = min(_BURST, self._tokens + (now - self._filled_at) * _PER_S)
        self._filled_at = now
        if self._tokens < 1:
            raise Refused(429, f"more than {_PER_S:g} reports a second")
        self._tokens -= 1
        progress = progress_of(_values(request.body))
        if progress is None:
            raise Refused(400, "it says nothing of step, total, epoch, ratio, remaining, message or a metric")
        return self._take(progress)


def parsed(data: bytes) -> Request | None:
    """None: there is more to come. Raises Refused."""
    head, between, body = data.partition(b"\r\n\r\n")
    if len(head) > _HEAD_MOST:
        raise Refused(413, "its headers are too long")
    if not between:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split()
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise Refused(400, "it is no HTTP request")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    length = headers.get("content-length", "0" if words[0] != "POST" else "")
    if not (length.isascii() and length.isdecimal()):
        raise Refused(411, "it does not say how long it is")
    if len(length) > 9 or int(length) > _BODY_MOST:
        raise Refused(413, f"a report has at most {_BODY_MOST} bytes")
    if len(body) < int(length):
        return None
    kind, _, token = headers.get("authorization", "").partition(" ")
    return Request(words[0], token.strip() if kind.lower() == "bearer" else "", body[: int(length)])


def _values(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"it is no JSON: {error}") from error
    status = document.get("trainerStatus") if isinstance(document, dict) else None
    if isinstance(status, dict):
        return of_trainer_status(status)
    if not isinstance(document, dict):
        raise Refused(400, "a report is a JSON object")
    return document


def _answer(status: int, document: Mapping[str, object]) -> bytes:
    body = json.dumps(document).encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
