"""Free ports in a row, for a yard that nobody has chosen ports for."""

from __future__ import annotations

import socket
from collections.abc import Sequence

STEP = 10


def free_base(bases: Sequence[int], count: int, *, host: str = "127.0.0.1", start: int = 0) -> int | None:
    """The first of the bases, from the place ``start`` on, of which nobody has the ``count`` ports; None: there is
    none. Somebody else may take a port between this look and the yard's start."""
    for place in range(len(bases)):
        base = bases[(start + place) % len(bases)]
        if all(_is_free(host, port) for port in range(base, base + count)):
            return base
    return None


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
