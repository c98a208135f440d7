"""By which name and number other machines reach this one.

Owns the choice: what the configuration says, else the address from which this machine would speak to a peer.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import NamedTuple


class Own(NamedTuple):
    """``host`` is a name that stands for ``ip``, or the same as it."""

    host: str
    ip: str


def reached_by(advertise: str, peer: str) -> Own:
    """``advertise``: a name or a number, empty: find out; ``peer``: host:port of who is to be spoken to. Blocks for the
    names. Raises OSError where a name is not known."""
    if advertise:
        found = socket.getaddrinfo(advertise, None, type=socket.SOCK_STREAM)
        return Own(advertise, str(found[0][4][0]))
    ip = _towards(peer)
    return Own(_name_of(ip), ip)


def _towards(peer: str) -> str:
    """The address of the interface behind which the peer is. Nothing is sent."""
    host, _, port = peer.rpartition(":")
    family, kind, protocol, _, address = socket.getaddrinfo(
        host.strip("[]"), int(port), type=socket.SOCK_DGRAM
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])


def _name_of(ip: str) -> str:
    """The machine's own name where it stands for just this address."""
    name = socket.gethostname()
    try:
        known = {str(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except OSError:
        return ip
    return name if known == {ip} else ip


def own_network() -> str:
    """The same for all processes that share this machine's network, and for no others; empty: it cannot be known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/net').readlink()}"
    except OSError:
        return ""
