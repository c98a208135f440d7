"""Free ports for a yard of its own."""

from __future__ import annotations

import socket

FIRST, LAST = 17070, 19070
STEP = 10
SERVICES = 6


def free_port_base(host: str = "127.0.0.1") -> int:
    """A base whose ports nobody has, one for each service. Raises OSError when there is none."""
    for base in range(FIRST, LAST, STEP):
        if all(_is_free(host, port) for port in range(base, base + SERVICES)):
            return base
    raise OSError(f"no {SERVICES} free ports in a row between {FIRST} and {LAST}")


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
