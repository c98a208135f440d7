"""Local addresses: under which instances of a job reach each other however those move (S3.7). Pure.

An instance of a role that is forwarded has, by port, an IP address of 127.64.0.0/10 in its job: the same on every
machine. The port number with it is leased by the seat that connects, so that no two seats of a machine get in each
other's way. Who is behind which IP address follows from the plan alone: counts that change within their bounds move
nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

FORWARDS_MOST = 1_000
"""Local addresses of a job."""
_FIRST = (127 << 24) + (64 << 16) + 1


class Forwarded(msgspec.Struct, frozen=True):
    """The local addresses of one role's instances."""

    ports: tuple[str, ...]
    first: int
    """Number of the first port of the instance 0."""

    def ip(self, index: int, port: str) -> str:
        """Raises ValueError: it has no such port."""
        return local_ip(self.first + index * len(self.ports) + self.ports.index(port))


def numbered(roles: Iterable[tuple[str, tuple[str, ...], int]]) -> dict[str, Forwarded]:
    """By role; from name, ports and the most instances of each role that is forwarded."""
    found, first = {}, 0
    for name, ports, most in roles:
        found[name] = Forwarded(ports, first)
        first += most * len(ports)
    return found


def local_ip(number: int) -> str:
    """127.64.0.1 and what follows."""
    return ".".join(str(part) for part in (_FIRST + number).to_bytes(4, "big"))


def locals_of(forwarded: Mapping[str, Forwarded], role: str, index: int, forward_port: int) -> dict[str, str]:
    """Under which the seat with this port reaches an instance, by port name."""
    found = forwarded.get(role)
    if found is None or not forward_port:
        return {}
    return {port: f"{found.ip(index, port)}:{forward_port}" for port in found.ports}
