"""Bytes from one socket to another: without waiting, in bounded memory, each half to its own end.

Owns what is held for receivers that are slow. Connections and where they go are `forwarder`'s.
"""

import socket
import struct

_READ_BYTES, _CAREFUL_BYTES = 256 * 1024, 4 * 1024
# Beyond so much that is held for receivers that are slow, reading goes on in small pieces only.
_HELD_MOST = 32 * 1024 * 1024
_RESET = struct.pack("ii", 1, 0)
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))


class End:
    """One of the two sockets of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        # What is still to be sent here.
        self.pending = bytearray()
        # Nothing more comes from here.
        self.is_over = False
        self.is_shut = False
        # It is not looked at any more.
        self.is_quiet = False
        self.mask = -1


class Passing:
    """Of all connections of a process: what it reads into, and how much it holds."""

    def __init__(self) -> None:
        self._held = 0
        self._scratch = bytearray(_READ_BYTES)
        self._view = memoryview(self._scratch)

    def pass_on(self, source: End, sink: End) -> None:
        """What has come, unless something is still to be sent before it. Raises OSError."""
        if source.is_over or sink.pending:
            return
        most = _READ_BYTES if self._held < _HELD_MOST else _CAREFUL_BYTES
        try:
            count = source.sock.recv_into(self._scratch, most)
        except BlockingIOError:
            return
        if not count:
            source.is_over = True
            return
        try:
            sent = sink.sock.send(self._view[:count])
        except BlockingIOError:
            sent = 0
        if sent < count:
            sink.pending += self._view[sent:count]
            self._held += count - sent

    def send_pending(self, end: End) -> None:
        """Raises OSError."""
        if not end.pending:
            return
        try:
            sent = end.sock.send(end.pending)
        except BlockingIOError:
            return
        del end.pending[:sent]
        self._held -= sent

    def forget(self, end: End) -> None:
        """It is closed."""
        self._held -= len(end.pending)
        end.sock.close()


def prepare(sock: socket.socket) -> None:
    """Nothing is held back, and an end that is gone without a word is found out."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def break_off(sock: socket.socket) -> None:
    """When it is closed the other side learns that it is broken, not over."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
