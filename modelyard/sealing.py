"""TLS between the models service and the process beside a frame, on sockets that do not block.

Owns who is believed: the process shows its node's certificate, of the yard's authority and with that node's name; the
service shows the frame's secret inside. Standard library only. Who connects, and when, is others'.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any


class NodeUnproven(OSError):
    """Whoever answers is not the node that was expected."""


def node_uri(node: str) -> str:
    """How a certificate names a node."""
    return f"modelyard:node:{node}"


class Sealed(ssl.SSLSocket):
    """As a plain socket that does not block: BlockingIOError where it would have to wait, and less than was asked for
    only where nothing more is there."""

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """0: it is over. Raises BlockingIOError, OSError."""
        view = memoryview(buffer)
        count, most = 0, nbytes or len(view)
        try:
            while count < most:
                got = self.read(most - count, view[count:])
                if not got:
                    break
                count += int(got)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not count:
                raise BlockingIOError from None
        return count

    def send(self, data: Any, flags: int = 0) -> int:
        """What was not taken has to be sent again from where it was left. Raises BlockingIOError, OSError."""
        view = memoryview(data)
        count = 0
        try:
            while count < len(view):
                count += self.write(view[count : count + _PIECE_BYTES])
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not count:
                raise BlockingIOError from None
        return count

    def shutdown(self, how: int) -> None:
        """Of the connection below; what still comes is not taken for plain bytes."""
        super(ssl.SSLSocket, self).shutdown(how)


_PIECE_BYTES = 16 << 10
"""What one record of TLS has."""


def listening(identity: Path) -> ssl.SSLContext:
    """For who is dialled: `identity` has the node's key and certificate. Raises OSError."""
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity)
    # Nobody comes back with one, and a peer that never reads is not to be written to.
    context.num_tickets = 0
    return context


def dialling(authority: Path) -> ssl.SSLContext:
    """For who dials; `check_node` has to follow. Raises OSError."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    # Certificates name nodes, which are reached by whatever address.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority)
    return context


def check_node(sealed: ssl.SSLSocket, node: str) -> None:
    """Raises NodeUnproven."""
    shown: Any = (sealed.getpeercert() or {}).get("subjectAltName", ())
    names = [str(value) for kind, value in shown if kind == "URI"]
    if names != [node_uri(node)]:
        raise NodeUnproven(f"its certificate is of {', '.join(names) or 'no node'}, not of {node_uri(node)}")


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.sslsocket_class = Sealed
    return context
