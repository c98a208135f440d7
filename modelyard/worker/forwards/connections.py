"""Connections through local addresses: from the program that connects to wherever the peer is by now.

Owns every connection from its begin to its end; who may connect, and where, is `forwarder`'s, bytes are `passing`'s.
"""

import errno
import select
import socket
import time
from collections.abc import Callable

from modelyard.worker.forwards.owners import Target
from modelyard.worker.forwards.passing import End, Passing, break_off, prepare

WAIT_S, AGAIN_S = 60.0, 0.05
_DIAL_S = 5.0
# Nobody has taken the connection: somebody may later.
_NOT_THERE = {errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH}


class Route:
    """One local address."""

    def __init__(self, local: Target, target: Target | None) -> None:
        """Raises OSError where somebody else listens there."""
        self.local = local
        self.target = target
        self.connections: set[Connection] = set()
        self.listener = socket.socket()
        try:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind(local)
            self.listener.listen(512)
            self.listener.setblocking(False)
        except OSError:
            self.listener.close()
            raise


class Connection:
    """From the program to the peer."""

    def __init__(self, route: Route, client: socket.socket) -> None:
        self.route = route
        self.client = End(client)
        self.server: End | None = None
        self.is_open = False
        self.until = time.monotonic() + WAIT_S
        # When the present attempt is given up, or the next one begins.
        self.due = 0.0

    def other(self, end: End) -> End:
        assert self.server is not None
        return self.server if end is self.client else self.client


class Connections:
    """All of a process. ``handlers``: what is done when a descriptor is ready; ``on_end`` comes after each."""

    def __init__(
        self, poll: select.epoll, handlers: dict[int, Callable[[int], None]], on_end: Callable[[], None]
    ) -> None:
        self._poll = poll
        self._handlers = handlers
        self._on_end = on_end
        self._passing = Passing()
        self.waiting: set[Connection] = set()
        self.count = 0

    def begin(self, route: Route, client: socket.socket) -> None:
        """A program has connected, and may."""
        prepare(client)
        connection = Connection(route, client)
        route.connections.add(connection)
        self.count += 1
        end = connection.client
        self._handlers[end.fd] = lambda events: self._on_events(connection, end, events)
        # Only that it is gone is of interest now.
        self._interest(end, 0)
        self.waiting.add(connection)
        self._dial(connection)

    def point(self, route: Route, target: Target | None) -> None:
        """The peer is there from now on: what was connected to where it was is broken."""
        if route.target == target:
            return
        route.target = target
        for connection in [*route.connections]:
            if connection.is_open:
                self.reset(connection)
            else:
                self._hang_up(connection)
                connection.due = 0.0

    def _dial(self, connection: Connection) -> None:
        target, now = connection.route.target, time.monotonic()
        connection.due = now + AGAIN_S
        if target is None:
            return
        try:
            server = socket.socket()
        except OSError:
            return
        server.setblocking(False)
        prepare(server)
        try:
            server.connect(target)
        except BlockingIOError:
            connection.due = now + _DIAL_S
        except OSError:
            server.close()
            return
        end = connection.server = End(server)
        self._handlers[end.fd] = lambda events: self._on_events(connection, end, events)
        self._interest(end, select.EPOLLOUT)

    def look(self) -> None:
        """What waits is tried again, or given up."""
        now = time.monotonic()
        for connection in [*self.waiting]:
            if now >= connection.until:
                self.reset(connection)
            elif now >= connection.due:
                self._hang_up(connection)
                self._dial(connection)

    def _on_dialled(self, connection: Connection, server: End) -> None:
        error = server.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error in _NOT_THERE:
            self._hang_up(connection)
            connection.due = time.monotonic() + AGAIN_S
            return
        if error:
            self.reset(connection)
            return
        self.waiting.discard(connection)
        connection.is_open = True
        self._settle(connection)

    def _hang_up(self, connection: Connection) -> None:
        """The peer's end is let go; the program's stays."""
        if connection.server is not None:
            self._forget(connection.server)
            connection.server.sock.close()
            connection.server = None

    # --- how it goes on

    def _on_events(self, connection: Connection, end: End, events: int) -> None:
        if end.fd not in self._handlers or connection not in connection.route.connections:
            return
        if end.is_over and events & (select.EPOLLERR | select.EPOLLHUP):
            self._on_gone(connection, end)
            return
        if not connection.is_open:
            if end is connection.server:
                self._on_dialled(connection, end)
            elif events & (select.EPOLLERR | select.EPOLLHUP):
                self.reset(connection)
            return
        try:
            if events & select.EPOLLOUT:
                self._passing.send_pending(end)
            if events & select.EPOLLIN:
                self._passing.pass_on(end, connection.other(end))
            elif events & (select.EPOLLERR | select.EPOLLHUP):
                # The reason comes by reading.
                self._passing.pass_on(end, connection.other(end))
        except OSError:
            self.reset(connection)
            return
        self._settle(connection)

    def _on_gone(self, connection: Connection, end: End) -> None:
        """Nothing comes from there, and nothing can be sent there any more."""
        if end.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or not end.is_shut:
            self.reset(connection)
        elif not end.is_quiet:
            # The other half goes on; the kernel would tell the same again and again.
            end.is_quiet = True
            self._poll.unregister(end.fd)

    def _settle(self, connection: Connection) -> None:
        """What is listened for follows from what is there; a half that has ended is handed on as such."""
        client, server = connection.client, connection.server
        assert server is not None
        try:
            for source, sink in ((client, server), (server, client)):
                if source.is_over and not sink.pending and not sink.is_shut:
                    sink.is_shut = True
                    sink.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.reset(connection)
            return
        if client.is_shut and server.is_shut:
            self._end(connection)
            return
        for source, sink in ((client, server), (server, client)):
            reads = 0 if source.is_over or sink.pending else select.EPOLLIN
            self._interest(source, reads | (select.EPOLLOUT if source.pending else 0))

    # --- how it ends

    def reset(self, connection: Connection) -> None:
        """Both sides learn that it is broken, not over."""
        for end in (connection.client, connection.server):
            if end is not None:
                break_off(end.sock)
        self._end(connection)

    def _end(self, connection: Connection) -> None:
        self.waiting.discard(connection)
        connection.route.connections.discard(connection)
        for end in (connection.client, connection.server):
            if end is not None:
                self._forget(end)
                self._passing.forget(end)
        self.count -= 1
        self._on_end()

    def _interest(self, end: End, mask: int) -> None:
        if end.mask == mask or end.is_quiet:
            return
        if end.mask < 0:
            self._poll.register(end.fd, mask)
        else:
            self._poll.modify(end.fd, mask)
        end.mask = mask

    def _forget(self, end: End) -> None:
        if self._handlers.pop(end.fd, None) is not None and end.mask >= 0 and not end.is_quiet:
            self._poll.unregister(end.fd)
