"""The process that keeps local addresses of peers: what connects to one is passed on to where the peer is by now.

A process of its own, child of the one that keeps a seat (`forwards`).
Owns the listening sockets. Books come as lines of JSON on stdin and are answered by
a line each; the end of stdin is the end of this process, so that it never outlasts its seat.

A peer that has moved breaks its connections at once, by a reset. A connection to a peer that is nowhere, or does not
listen yet, waits; what cannot be passed on after a while is reset. Only this user's processes are let in.
"""

import json
import os
import resource
import select
from collections.abc import Callable

from modelyard.worker.forwards.connections import AGAIN_S, Connections, Route
from modelyard.worker.forwards.owners import Owners, Target
from modelyard.worker.forwards.passing import break_off

CONNECTIONS_MOST = 4_000


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
        self._connections = Connections(self._poll, self._handlers, self._on_end)
        self._is_full = False
        self._is_over = False

    def run(self) -> None:
        """Until stdin ends."""
        os.set_blocking(self._orders, False)
        self._handlers[self._orders] = self._on_orders
        self._poll.register(self._orders, select.EPOLLIN)
        while not self._is_over:
            timeout_s = AGAIN_S if self._connections.waiting else None
            for fd, events in self._poll.poll(timeout_s):
                handler = self._handlers.get(fd)
                if handler is not None:
                    handler(events)
            if self._connections.waiting:
                self._connections.look()

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
                self._connections.point(route, target)
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
            self._connections.reset(connection)

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
        self._connections.begin(route, client)
        if self._connections.count >= CONNECTIONS_MOST:
            self._set_full(True)

    def _on_end(self) -> None:
        if self._is_full and self._connections.count < CONNECTIONS_MOST:
            self._set_full(False)

    def _set_full(self, is_full: bool) -> None:
        """While it is full new connections stay in the kernel's queue."""
        if is_full is self._is_full or (is_full and not self._connections.count):
            return
        self._is_full = is_full
        for route in self._routes.values():
            if is_full:
                self._poll.unregister(route.listener.fileno())
            else:
                self._poll.register(route.listener.fileno(), select.EPOLLIN)


def main() -> None:
    """Serves until stdin ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    Forwarder(0, 1).run()
