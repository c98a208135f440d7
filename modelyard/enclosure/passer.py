"""From the leased port to the frame's Unix socket: connections, passed on byte by byte until either side ends.

Owns the listening socket and what is connected. The frame has no network; who talks to it is checked by the frame
itself, by its secret. What other machines can reach is sealed with the node's certificate; nothing else is taken
there.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelyard.addresses import is_loopback
from modelyard.enclosure.order import Order, Trouble
from modelyard.enclosure.watching import Watch
from modelyard.worker.forwards.passing import End, Passing, prepare

if TYPE_CHECKING:
    # Where all is loopback it is not loaded.
    from modelyard.sealing import Sealed

_BACKLOG, _CONNECTIONS_MOST = 16, 64
_GREETINGS_MOST, _GREETING_S = 16, 10.0


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

    def __init__(self, order: Order, watch: Watch) -> None:
        self._order = order
        self._watch = watch
        self._passing = Passing()
        self._listener: socket.socket | None = None
        self._is_sealed = False
        self._greetings: dict[_Greeting, None] = {}
        self._count = 0

    def listen(self, url: str) -> None:
        """Takes connections at "tcp://host:port". Raises Trouble."""
        parts = urlsplit(url)
        if parts.scheme != "tcp" or not parts.port:
            raise Trouble("INVALID_ARGUMENT", "", f"{url!r} is not tcp://host:port")
        self._is_sealed = not is_loopback(parts.hostname or "127.0.0.1")
        if self._is_sealed and self._order.identity is None:
            message = (
                f"{url} can be reached from other machines, and this node has no certificate to encrypt what goes "
                "there: serve the yard with TLS (--tls), and let the node join it"
            )
            raise Trouble("FAILED_PRECONDITION", "", message)
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

    def look(self) -> None:
        """A few times a second: who does not come to an end with greeting is let go."""
        until = time.monotonic() - _GREETING_S
        while self._greetings and (oldest := next(iter(self._greetings))).since < until:
            oldest.close()

    def _on_connect(self, _: int) -> None:
        assert self._listener is not None
        try:
            outer, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        outer.setblocking(False)
        try:
            prepare(outer)
            if self._is_sealed:
                self._greet(outer)
            else:
                self._join(outer)
        except OSError:
            outer.close()

    def _greet(self, outer: socket.socket) -> None:
        """Raises OSError."""
        from modelyard.sealing import Sealed, listening

        assert self._order.identity is not None
        # Read anew, as the agent renews it.
        sealed = listening(self._order.identity).wrap_socket(
            outer, server_side=True, do_handshake_on_connect=False
        )
        assert isinstance(sealed, Sealed)
        if len(self._greetings) >= _GREETINGS_MOST:
            next(iter(self._greetings)).close()
        self._greetings[_Greeting(sealed, self._watch, self._on_greeted)] = None

    def _on_greeted(self, greeting: _Greeting, sealed: Sealed | None) -> None:
        self._greetings.pop(greeting, None)
        if sealed is None:
            return
        try:
            self._join(sealed)
        except OSError:
            sealed.close()

    def _join(self, outer: socket.socket) -> None:
        """Raises OSError: it has ended, or takes no more; who has dialled sees that."""
        if self._count >= _CONNECTIONS_MOST:
            raise ConnectionRefusedError
        inner = dial(self._order.socket)
        self._count += 1
        _Pair(End(outer), End(inner), self._passing, self._watch, self._on_end)

    def _on_end(self) -> None:
        self._count -= 1


class _Greeting:
    """A connection on which nothing was said but what TLS says first."""

    def __init__(
        self, sealed: Sealed, watch: Watch, on_end: Callable[[_Greeting, Sealed | None], None]
    ) -> None:
        self.since = time.monotonic()
        self._sealed = sealed
        self._watch = watch
        self._on_end = on_end
        watch(sealed.fileno(), select.EPOLLIN, self._on_event)

    def _on_event(self, _: int) -> None:
        import ssl

        fd = self._sealed.fileno()
        try:
            self._sealed.do_handshake()
        except ssl.SSLWantReadError:
            self._watch(fd, select.EPOLLIN, self._on_event)
        except ssl.SSLWantWriteError:
            self._watch(fd, select.EPOLLOUT, self._on_event)
        except OSError:
            # It speaks no TLS, or does not believe this node: nothing that it says is read.
            self.close()
        else:
            self._watch(fd, 0, None)
            self._on_end(self, self._sealed)

    def close(self) -> None:
        self._watch(self._sealed.fileno(), 0, None)
        self._sealed.close()
        self._on_end(self, None)


class _Pair:
    """Both ends of one connection."""

    def __init__(
        self, outer: End, inner: End, passing: Passing, watch: Watch, on_end: Callable[[], None]
    ) -> None:
        self._ends = (outer, inner)
        self._unread: Callable[[], int] | None = getattr(outer.sock, "pending", None)
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
            if self._unread is not None:
                self._pass_opened(self._unread)
        except OSError:
            self._close()
            return
        self._look()

    def _pass_opened(self, unread: Callable[[], int]) -> None:
        """What was received and unsealed already wakes nobody. Raises OSError."""
        outer, inner = self._ends
        while not inner.pending and not outer.is_over and unread():
            self._passing.pass_on(outer, inner)

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
