"""Bytes between the service and one frame, on asyncio without a stream's copies.

Owns a socket that does not block. Large tensors are sent from where they lie and received where they stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable, Sequence

from modelyard.serving.wire import BadMessage, Buffer, Decoder, Message

# Of one turn of the loop, so that other frames have theirs.
_READS_MOST = 64
_PIECES_MOST = 64
_BUFFER_BYTES = 1 << 20


class Connection:
    """`on_lost` is called once, unless it was closed here."""

    def __init__(
        self, connected: socket.socket, on_message: Callable[[Message], None], on_lost: Callable[[str], None]
    ) -> None:
        """Takes the socket over, which must not block."""
        self._loop = asyncio.get_running_loop()
        self._socket = connected
        self._on_message = on_message
        self._on_lost = on_lost
        self._decoder = Decoder()
        self._owed: deque[memoryview] = deque()
        self._is_open = True
        self._loop.add_reader(connected.fileno(), self._readable)

    def send(self, pieces: Sequence[Buffer]) -> None:
        """In order, now or as soon as they can be taken; the pieces must not change meanwhile."""
        if not self._is_open:
            return
        was_idle = not self._owed
        self._owed.extend(memoryview(piece) for piece in pieces)
        if was_idle:
            self._writable()
            if self._owed and self._is_open:
                self._loop.add_writer(self._socket.fileno(), self._writable)

    def close(self) -> None:
        """What is owed is not sent any more. Idempotent."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self._owed.clear()

    def _lose(self, why: str) -> None:
        if self._is_open:
            self.close()
            self._on_lost(why)

    def _writable(self) -> None:
        owed = self._owed
        try:
            while owed:
                count = self._socket.sendmsg([owed[at] for at in range(min(len(owed), _PIECES_MOST))])
                while owed and count >= len(owed[0]):
                    count -= len(owed.popleft())
                if count:
                    owed[0] = owed[0][count:]
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error.strerror or str(error))
            return
        self._loop.remove_writer(self._socket.fileno())

    def _readable(self) -> None:
        decoder = self._decoder
        try:
            for _ in range(_READS_MOST):
                room = decoder.room()
                count = self._socket.recv_into(room)
                if not count:
                    self._lose("it closed the connection")
                    return
                is_full = count == len(room)
                for message in decoder.received(count):
                    self._on_message(message)
                if not self._is_open or not is_full:
                    return
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error.strerror or str(error))
        except BadMessage as error:
            self._lose(f"it sent what is no message: {error}")


async def dial(address: str) -> socket.socket:
    """A socket to `tcp://host:port` or `unix:///path`. Raises OSError, ValueError."""
    scheme, _, rest = address.partition("://")
    loop = asyncio.get_running_loop()
    target: str | tuple[str, int]
    if scheme == "unix":
        made, target = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), rest
    elif scheme == "tcp":
        host, _, port = rest.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made, target = socket.socket(family, socket.SOCK_STREAM), (host.strip("[]"), int(port))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        raise ValueError(f"{address!r} is neither tcp:// nor unix://")
    try:
        made.setblocking(False)
        with contextlib.suppress(OSError):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        await loop.sock_connect(made, target)
    except BaseException:
        made.close()
        raise
    return made
