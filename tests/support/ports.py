"""Ports for tests: of this machine, and free when they were asked for."""

from __future__ import annotations

import socket


def free_port() -> int:
    """One that nobody listens at now."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many, all different."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
