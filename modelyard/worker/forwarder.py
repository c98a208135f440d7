"""The process that keeps local addresses of peers: what connects to one is passed on to where the peer is by now.

A process of its own, child of the one that keeps a seat (`forwards`).
Owns the listening sockets and every connection through them. Books come as lines of JSON on stdin and are answered by
a line each; the end of stdin is the end of this process, so that it never outlasts its seat.

A peer that has moved breaks its connections at once, by a reset. A connection to a peer that is nowhere, or does not
listen yet, waits; what cannot be passed on after a while is reset. Only this user's processes are let in.
"""

import errno
import json
import os
import resource
import select
import socket
import time
from collections.abc import Callable

from modelyard.worker.owners import Owners, Target
from modelyard.worker.passing import End, Passing, break_off, prepare

WAIT_S = 60.0
CONNECTIONS_MOST = 4_000
_DIAL_S, _AGAIN_S = 5.0, 0.05
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


class Forwarder:
    """All of one seat."""

    def __init__(self, orders: int, answers: int) -> None:
        self._orders = orders
        self._answers = answers
        self._unread = bytearray()
        self._poll = select.epoll()
        self._owners = Owners()
        self._routes: dict[Target, Route] = {}
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._waiting: set[Connection] = set()
        self._count = 0
        self._passing = Passing()
        self._is_full = False
        self._is_over = False

    def run(self) -> None:
        """Until stdin ends."""
        os.set_blocking(self._orders, False)
        self._handlers[self._orders] = self._on_orders
        self._poll.register(self._orders, select.EPOLLIN)
        while not self._is_over:
            timeout_s = _AGAIN_S if self._waiting else None
            for fd, events in self._poll.poll(timeout_s):
                handler = self._handlers.get(fd)
                if handler is not None:
                    handler(events)
            if self._waiting:
                self._look()

    # --- orders

    def _on_orders(self, events: int) -> None:
        """Books, or their end."""
        data = os.read(self._orders, 1 << 20)
        self._is_over = not data
        self._unread += data
        while b"\n" in self._unread:
            line, _, rest = bytes(self._unread).partition(b"\n")
            self._unread = bytearray(rest)
            error = self._take(json.loads(line))
            os.write(self._answers, json.dumps({"error": error}).encode() + b"\n")

    def _take(self, book: dict[str, object]) -> str:
        """Follows a book of local addresses and where their peers are; what went wrong."""
        routes = book["routes"]
        assert isinstance(routes, list)
        wanted = {(ip, port): (to_ip, to_port) if to_port else None for ip, port, to_ip, to_port in routes}
        for local in [local for local in self._routes if local not in wanted]:
            self._drop_route(self._routes.pop(local))
        for local, target in wanted.items():
            route = self._routes.get(local)
            if route is not None:
                self._point(route, target)
                continue
            try:
                self._add_route(Route(local, target))
            except OSError as error:
                return f"nothing can listen at {local[0]}:{local[1]}: {error.strerror}"
        return ""

    def _add_route(self, route: Route) -> None:
        self._routes[route.local] = route
        self._handlers[route.listener.fileno()] = lambda _: self._on_connect(route)
        if not self._is_full:
            self._poll.register(route.listener.fileno(), select.EPOLLIN)

    def _drop_route(self, route: Route) -> None:
        fd = route.listener.fileno()
        del self._handlers[fd]
        if not self._is_full:
            self._poll.unregister(fd)
        route.listener.close()
        for connection in [*route.connections]:
            self._reset(connection)

    def _point(self, route: Route, target: Target | None) -> None:
        """The peer is there from now on."""
        if route.target == target:
            return
        route.target = target
        for connection in [*route.connections]:
            if connection.is_open:
                self._reset(connection)
            else:
                self._hang_up(connection)
                connection.due = 0.0

    # --- how a connection begins

    def _on_connect(self, route: Route) -> None:
        try:
            client, _ = route.listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:
            # Out of descriptors or memory: others have to end first.
            self._set_full(True)
            return
        client.setblocking(False)
        try:
            is_own = self._owners.is_own(client.getpeername(), client.getsockname())
        except OSError:
            # It has gone by now.
            is_own = False
        if not is_own:
            break_off(client)
            client.close()
            return
        prepare(client)
        connection = Connection(route, client)
        route.connections.add(connection)
        self._count += 1
        self._handlers[connection.client.fd] = lambda events: self._on_events(
            connection, connection.client, events
        )
        self._interest(connection.client, 0)
        self._waiting.add(connection)
        self._dial(connection)
        if self._count >= CONNECTIONS_MOST:
            self._set_full(True)

    def _dial(self, connection: Connection) -> None:
        target, now = connection.route.target, time.monotonic()
        connection.due = now + _AGAIN_S
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

    def _look(self) -> None:
        """What waits is tried again, or given up."""
        now = time.monotonic()
        for connection in [*self._waiting]:
            if now >= connection.until:
                self._reset(connection)
            elif now >= connection.due:
                self._hang_up(connection)
                self._dial(connection)

    def _on_dialled(self, connection: Connection, server: End) -> None:
        error = server.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error in _NOT_THERE:
            self._hang_up(connection)
            connection.due = time.monotonic() + _AGAIN_S
            return
        if error:
            self._reset(connection)
            return
        self._waiting.discard(connection)
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
        if not connection.is_open:
            if end is connection.server:
                self._on_dialled(connection, end)
            elif events & (select.EPOLLERR | select.EPOLLHUP):
                self._reset(connection)
            return
        try:
            if events & select.EPOLLOUT:
                self._passing.send_pending(end)
            if events & select.EPOLLIN:
                self._passing.pass_on(end, connection.other(end))
            elif events & (select.EPOLLERR | select.EPOLLHUP) and not end.is_over:
                # The reason comes by reading.
                self._passing.pass_on(end, connection.other(end))
        except OSError:
            self._reset(connection)
            return
        self._settle(connection)

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
            self._reset(connection)
            return
        if client.is_shut and server.is_shut:
            self._end(connection)
            return
        for source, sink in ((client, server), (server, client)):
            reads = 0 if source.is_over or sink.pending else select.EPOLLIN
            self._interest(source, reads | (select.EPOLLOUT if source.pending else 0))

    # --- how it ends

    def _reset(self, connection: Connection) -> None:
        """Both sides learn that it is broken, not over."""
        for end in (connection.client, connection.server):
            if end is not None:
                break_off(end.sock)
        self._end(connection)

    def _end(self, connection: Connection) -> None:
        self._waiting.discard(connection)
        connection.route.connections.discard(connection)
        for end in (connection.client, connection.server):
            if end is not None:
                self._forget(end)
                self._passing.forget(end)
        self._count -= 1
        if self._is_full and self._count < CONNECTIONS_MOST:
            self._set_full(False)

    def _set_full(self, is_full: bool) -> None:
        """While it is full new connections stay in the kernel's queue."""
        if is_full is self._is_full or (is_full and not self._count):
            return
        self._is_full = is_full
        for route in self._routes.values():
            if is_full:
                self._poll.unregister(route.listener.fileno())
            else:
                self._poll.register(route.listener.fileno(), select.EPOLLIN)

    def _interest(self, end: End, mask: int) -> None:
        if end.mask == mask:
            return
        if end.mask < 0:
            self._poll.register(end.fd, mask)
        else:
            self._poll.modify(end.fd, mask)
        end.mask = mask

    def _forget(self, end: End) -> None:
        if self._handlers.pop(end.fd, None) is not None and end.mask >= 0:
            self._poll.unregister(end.fd)


def main() -> None:
    """Serves until stdin ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    Forwarder(0, 1).run()
