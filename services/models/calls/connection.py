"""Bytes between the service and one frame, on asyncio without a stream's copies.

Owns a socket that does not block. Large tensors are sent from where they lie and received where they stay.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence

from modelyard.sealing import Sealed
from modelyard.serving.wire import BadMessage, Buffer, Decoder, Message

# Of one turn of the loop, so that other frames have theirs.
_READS_MOST = 64
_PIECES_MOST = 64


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
                count = self._send_some()
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

    def _send_some(self) -> int:
        """How many bytes of what is owed were taken. Raises BlockingIOError, OSError."""
        return self._socket.sendmsg([self._owed[at] for at in range(min(len(self._owed), _PIECES_MOST))])

    def _readable(self) -> None:
        if not self._is_open:
            return
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


class SealedConnection(Connection):
    """The same over TLS."""

    _socket: Sealed

    def _send_some(self) -> int:
        return self._socket.send(self._owed[0])

    def _readable(self) -> None:
        super()._readable()
        if self._is_open and self._socket.pending():
            # Received and unsealed, so it wakes nobody; others have their turn first.
            self._loop.call_soon(self._readable)


def connection(
    connected: socket.socket, on_message: Callable[[Message], None], on_lost: Callable[[str], None]
) -> Connection:
    """Over what was dialled."""
    made = SealedConnection if isinstance(connected, Sealed) else Connection
    return made(connected, on_message, on_lost)
