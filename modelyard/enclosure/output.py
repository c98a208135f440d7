"""What a container writes, as this process's own output, up to a limit.

Owns the attached connection, which is the container's life as well: its end is the end of the container's stdin.
"""

from __future__ import annotations

import os
import select
import socket

from modelyard.enclosure.watching import Watch

_HEAD_BYTES, _READ_BYTES = 8, 65_536


class Output:
    """Of one container."""

    def __init__(self, attached: socket.socket, watch: Watch, most_bytes: int) -> None:
        """``most_bytes`` of it are kept."""
        self._socket = attached
        self._watch = watch
        self._unread = bytearray()
        self._left = most_bytes
        # Of the piece that is being read: where it goes, and how much of it is to come.
        self._target, self._due = 1, 0
        attached.setblocking(False)
        watch(attached.fileno(), select.EPOLLIN, self._on_data)

    def _on_data(self, _: int) -> None:
        if not self._read():
            self._watch(self._socket.fileno(), 0, None)

    def _read(self) -> bool:
        """Whether more may come."""
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._unread += data
        self._take()
        return bool(data)

    def _take(self) -> None:
        while self._unread:
            if not self._due:
                if len(self._unread) < _HEAD_BYTES:
                    return
                self._target = 2 if self._unread[0] == 2 else 1
                self._due = int.from_bytes(self._unread[4:_HEAD_BYTES], "big")
                del self._unread[:_HEAD_BYTES]
                continue
            piece = bytes(self._unread[: self._due])
            del self._unread[: len(piece)]
            self._due -= len(piece)
            self._write(piece)

    def _write(self, piece: bytes) -> None:
        if self._left <= 0:
            return
        piece = piece[: self._left]
        self._left -= len(piece)
        os.write(self._target, piece)
        if self._left <= 0:
            os.write(2, b"its output is longer than is kept; the rest is left out\n")

    def finish(self) -> None:
        """Takes what has come by now; the container has ended, so its end comes soon."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while poll.poll(500) and self._read():
            pass
        self._watch(self._socket.fileno(), 0, None)

    def close(self) -> None:
        """The end of the container's stdin."""
        self._socket.close()
