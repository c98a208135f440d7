"""From the leased port to the frame's Unix socket: connections, passed on byte by byte until either side ends.

Owns the listening socket and what is connected. The frame has no network; who talks to it is checked by the frame
itself, by its secret.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from modelyard.enclosure.order import Trouble
from modelyard.worker.passing import End, Passing, prepare

_BACKLOG, _CONNECTIONS_MOST = 16, 64

Watch = Callable[[int, int, Callable[[int], None] | None], None]
"""Descriptor, events (0: none any more), who is told of them."""


def _reach(path: Path, call: Callable[[str], None]) -> None:
    """Does something with a Unix socket's path, however long that is. Raises OSError."""
    directory = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        call(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)


def listen_at(path: Path) -> socket.socket:
    """A new Unix socket, for this user only. Raises OSError."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    try:
        _reach(path, sock.bind)
        path.chmod(0o600)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def dial(path: Path) -> socket.socket:
    """A connection to a Unix socket. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    try:
        _reach(path, sock.connect)
    except OSError:
        sock.close()
        raise
    return sock


class Passer:
    """All connections of one frame."""

    def __init__(self, path: Path, watch: Watch) -> None:
        self._path = path
        self._watch = watch
        self._passing = Passing()
        self._listener: socket.socket | None = None
        self._count = 0

    def listen(self, url: str) -> None:
        """Takes connections at "tcp://host:port". Raises Trouble."""
        parts = urlsplit(url)
        if parts.scheme != "tcp" or not parts.port:
            raise Trouble("INVALID_ARGUMENT", "", f"{url!r} is not tcp://host:port")
        family = socket.AF_INET6 if ":" in (parts.hostname or "") else socket.AF_INET
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((parts.hostname or "127.0.0.1", parts.port))
        except OSError as error:
            listener.close()
            raise Trouble("UNAVAILABLE", "", f"nothing can listen at {url}: {error.strerror}") from error
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        self._listener = listener
        self._watch(listener.fileno(), select.EPOLLIN, self._on_connect)

    def _on_connect(self, _: int) -> None:
        assert self._listener is not None
        try:
            outer, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        try:
            if self._count >= _CONNECTIONS_MOST:
                raise ConnectionRefusedError
            inner = dial(self._path)
        except OSError:
            # It has ended, or takes no more: who has dialled sees that.
            outer.close()
            return
        prepare(outer)
        outer.setblocking(False)
        self._count += 1
        _Pair(End(outer), End(inner), self._passing, self._watch, self._on_end)

    def _on_end(self) -> None:
        self._count -= 1


class _Pair:
    """Both ends of one connection."""

    def __init__(
        self, outer: End, inner: End, passing: Passing, watch: Watch, on_end: Callable[[], None]
    ) -> None:
        self._ends = (outer, inner)
        self._passing = passing
        self._watch = watch
        self._on_end = on_end
        self._look()

    def _on_event(self, end: End, other: End, events: int) -> None:
        try:
            if events & select.EPOLLOUT:
                self._passing.send_pending(end)
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._passing.pass_on(end, other)
        except OSError:
            self._close()
            return
        self._look()

    def _look(self) -> None:
        """What each end is to be told of next."""
        outer, inner = self._ends
        for end, other in ((outer, inner), (inner, outer)):
            if end.is_over and not other.pending and not other.is_shut:
                other.is_shut = True
                try:
                    other.sock.shutdown(socket.SHUT_WR)
                except OSError:
                    self._close()
                    return
        if outer.is_over and inner.is_over and not outer.pending and not inner.pending:
            self._close()
            return
        for end, other in ((outer, inner), (inner, outer)):
            mask = 0 if end.is_over or other.pending else select.EPOLLIN
            mask |= select.EPOLLOUT if end.pending else 0
            if mask != end.mask:
                end.mask = mask
                self._watch(end.fd, mask, partial(self._on_event, end, other))

    def _close(self) -> None:
        for end in self._ends:
            self._watch(end.fd, 0, None)
            self._passing.forget(end)
        self._on_end()
