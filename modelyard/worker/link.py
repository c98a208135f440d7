"""The worker's end of the socket.

Owns connections, incoming frames, and the clock that sends what the main thread has no time to send. Must
not run work.

One thread at a time serves the socket. While work is short that is the main thread itself, which saves two
changes of thread a call. Once something has run for 2 ms the helper thread takes over, so that a
cancellation is heard and "started" is said; it gives back when nothing is left to run.
"""

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from queue import Empty

from modelyard.worker.frames import BadFrame, FrameBuffer, Message
from modelyard.worker.ledger import Ledger
from modelyard.worker.processes.capture import Capture
from modelyard.worker.timer import Timer

# Between two looks of the helper: the first says "started" for what does not end at once.
_FIRST_TICK_MS, _LAST_TICK_MS, _WAITING_TICK_MS = 2, 100, 20
# While a command or a seat has it, which write and tell for themselves.
_IDLE_TICK_MS = 1000
# Not more: from 128 KiB on the C library maps and unmaps the buffer at every read.
_READ_BYTES = 96 * 1024


class Link:
    def __init__(
        self,
        listener: socket.socket,
        ledger: Ledger,
        capture: Capture,
        on_request: Callable[[Message], None],
        on_tick: Callable[[], None],
        orphan_timeout_s: float,
    ) -> None:
        self._listener = listener
        self._ledger = ledger
        self._capture = capture
        self._on_request = on_request
        self._on_tick = on_tick
        self._orphan_timeout_s = orphan_timeout_s
        self._connection: socket.socket | None = None
        self._frames = FrameBuffer()
        self._poll = select.poll()
        self._poll.register(listener, select.POLLIN)
        self._alone_since = time.monotonic()
        self._serving = threading.Lock()
        self._timer = Timer(_FIRST_TICK_MS)

    # On the main thread

    def next_key(self) -> str | None:
        """The next work to run, waited for; None: look whether the worker should end."""
        queue = self._ledger.queue
        while True:
            try:
                key = queue.get_nowait()
            except Empty:
                if not self._serving.acquire(blocking=False):
                    return queue.get()
                try:
                    self._serve(self._orphan_timeout_s * 1000)
                    self._end_if_forsaken()
                    if self._ledger.has_unsent and queue.empty():
                        self._ledger.flush()
                finally:
                    self._serving.release()
            else:
                if not self._serving.locked():
                    self._timer.arm()
                return key

    # On the helper thread

    def help(self) -> None:
        """Serves the socket whenever the main thread is busy for long; until the process ends."""
        while True:
            self._timer.wait()
            if not self._ledger.is_idle and self._serving.acquire(blocking=False):
                self._stand_in()
                self._serving.release()
                # The main thread may be waiting for what only it can fetch now.
                self._ledger.queue.put(None)

    def _stand_in(self) -> None:
        self._tick()
        tick_ms = _FIRST_TICK_MS
        while not self._ledger.is_idle or self._ledger.has_unsent:
            if self._serve(min(tick_ms, _WAITING_TICK_MS) if self._ledger.waiting else tick_ms):
                tick_ms = _FIRST_TICK_MS
                if self._ledger.has_answers:
                    # Somebody waits for them.
                    self._ledger.flush()
            else:
                self._tick()
                tick_ms = min(tick_ms * 2, _LAST_TICK_MS if self._ledger.is_call else _IDLE_TICK_MS)

    def _tick(self) -> None:
        self._capture.drain()
        self._on_tick()
        if self._ledger.has_unsent:
            self._ledger.flush()

    # On the thread that serves

    def _serve(self, timeout_ms: float) -> bool:
        """One look at the socket; whether there was anything."""
        ready = self._poll.poll(timeout_ms)
        for fd, _ in ready:
            if fd == self._listener.fileno():
                self._accept()
            elif self._connection is not None and fd == self._connection.fileno():
                self._read(self._connection)
        return bool(ready)

    def _end_if_forsaken(self) -> None:
        if self._connection is not None or not self._ledger.is_idle:
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since >= self._orphan_timeout_s:
            os._exit(0)

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
