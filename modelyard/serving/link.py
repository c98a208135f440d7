"""One connection of a frame's, and the socket on which it waits for them. Blocking: threads read and write."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from modelyard.serving.wire import GREETING_BYTES_MOST, Buffer, Decoder, Header, Message, encode

_PIECES_MOST = 512


class Link:
    """One connection. Any thread sends; one receives."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._sending = threading.Lock()
        self._owed: deque[Sequence[Buffer]] = deque()
        self.decoder = Decoder(GREETING_BYTES_MOST, _memory)

    def send(self, header: Header, buffers: Sequence[Buffer] = ()) -> None:
        """See `send_all`. Raises ValueError: it is no message."""
        self.send_all([encode(header, buffers)])

    def send_all(self, messages: Sequence[Sequence[Buffer]]) -> None:
        """Encoded ones, in one write, with what others have for it at that moment; on return they are sent.

        Each whole, or not at all as far as the other end can tell; one that is gone is found by its reader.
        """
        self._owed.extend(messages)
        with self._sending, suppress(OSError):
            # Whoever was here before may have taken it along.
            pieces = [self._owed.popleft() for _ in range(len(self._owed))]
            if len(pieces) == 1 and len(pieces[0]) == 1:
                self._socket.sendall(pieces[0][0])
            elif pieces:
                _send_all(self._socket, [piece for message in pieces for piece in message])

    def receive(self) -> list[Message] | None:
        """The next messages, perhaps none yet; None: it has ended. Raises BadMessage, OSError."""
        count = self._socket.recv_into(self.decoder.room())
        return self.decoder.received(count) if count else None

    def shut(self) -> None:
        """Whoever waits on it wakes."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.shut()
        self._socket.close()


def _memory(size: int) -> Buffer:
    """Of a large message; not written over with zeros first."""
    return np.empty(size, np.uint8).data


def _send_all(opened: socket.socket, pieces: Sequence[Buffer]) -> None:
    waiting = [memoryview(one).cast("B") for one in pieces]
    while waiting:
        sent = opened.sendmsg(waiting[:_PIECES_MOST])
        while waiting and sent >= len(waiting[0]):
            sent -= len(waiting.pop(0))
        if sent:
            waiting[0] = waiting[0][sent:]


def listener(address: str) -> socket.socket:
    """Takes connections: tcp://host:port, unix:///path, or fd://number. Raises OSError, ValueError."""
    if address.startswith("fd://"):
        # Who has started this process listens already.
        return socket.socket(fileno=int(address.removeprefix("fd://")))
    if address.startswith("unix://"):
        path = address.removeprefix("unix://")
        Path(path).unlink(missing_ok=True)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.bind(path)
    elif address.startswith("tcp://"):
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        host = host.strip("[]")
        made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, int(port)))
    else:
        raise ValueError(f"listen: {address!r} is neither tcp://host:port nor unix:///path nor fd://NUMBER")
    made.listen(64)
    return made
