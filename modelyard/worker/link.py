"""The worker's end of the socket.

Owns the reader thread: connections, incoming frames, and the clock that sends what the main thread has no
time to send. Must not run work.
"""

import os
import select
import socket
import struct
import time
from collections.abc import Callable

from modelyard.worker.capture import Capture
from modelyard.worker.frames import BadFrame, FrameBuffer, Message
from modelyard.worker.ledger import Ledger

# Between two looks, while there is work: the first says "started" for what does not end at once.
_FIRST_TICK_MS, _LAST_TICK_MS, _WAITING_TICK_MS = 2, 100, 20
_READ_BYTES = 256 * 1024


class Link:
    def __init__(
        self,
        listener: socket.socket,
        ledger: Ledger,
        capture: Capture,
        on_request: Callable[[Message], None],
        orphan_timeout_s: float,
    ) -> None:
        self._listener = listener
        self._ledger = ledger
        self._capture = capture
        self._on_request = on_request
        self._orphan_timeout_s = orphan_timeout_s
        self._connection: socket.socket | None = None
        self._frames = FrameBuffer()
        self._poll = select.poll()
        self._poll.register(listener, select.POLLIN)
        self._tick_ms = _FIRST_TICK_MS
        self._alone_since = time.monotonic()

    def serve(self) -> None:
        """Until the process ends. A worker that nobody has asked for anything for too long ends itself."""
        while True:
            ready = self._poll.poll(self._timeout_ms())
            for fd, _ in ready:
                if fd == self._listener.fileno():
                    self._accept()
                elif self._connection is not None and fd == self._connection.fileno():
                    self._read(self._connection)
            if ready:
                self._tick_ms = _FIRST_TICK_MS
            else:
                self._tick()

    def _timeout_ms(self) -> float:
        if not self._ledger.is_idle:
            return min(self._tick_ms, _WAITING_TICK_MS) if self._ledger.waiting else self._tick_ms
        if self._ledger.has_unsent:
            return self._tick_ms
        return 1000.0 * self._orphan_timeout_s

    def _tick(self) -> None:
        self._tick_ms = min(self._tick_ms * 2, _LAST_TICK_MS)
        self._capture.drain()
        if self._ledger.has_unsent:
            self._ledger.flush()
        if self._connection is None and self._ledger.is_idle:
            if time.monotonic() - self._alone_since >= self._orphan_timeout_s:
                os._exit(0)
        else:
            self._alone_since = time.monotonic()

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        if not _is_own(connection):
            connection.close()
            return
        # An agent has one connection; a second one means that the first has lost its other end.
        self._drop()
        self._frames = FrameBuffer()
        self._connection = connection
        self._poll.register(connection, select.POLLIN)
        self._ledger.attach(connection)

    def _read(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(_READ_BYTES)
            messages = self._frames.feed(data)
        except (OSError, BadFrame):
            self._drop()
            return
        if not data:
            self._drop()
        for message in messages:
            self._on_request(message)

    def _drop(self) -> None:
        if self._connection is not None:
            self._poll.unregister(self._connection)
            self._ledger.detach()
            self._connection.close()
            self._connection = None
            self._alone_since = time.monotonic()


def _is_own(connection: socket.socket) -> bool:
    """Whether the other end is a process of the same user, or of root."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in (0, os.getuid())
