"""What a sender may reach, enforced by the interpreter: every connection, file and process of it passes here.

An audit hook sees the very address that a socket is about to connect to, after the name was resolved: what a name
server says later changes nothing (S0.8). Nothing that runs in the process can take the hook away. Standard library
only. Must not be installed in a service.
"""

import ipaddress
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_PROCESSES = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "pty.spawn",
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Refused(OSError):
    """The guard does not let this happen."""


def parse_networks(text: str) -> tuple[Network, ...]:
    """``10.0.0.0/8, 192.168.1.7``. Raises ValueError."""
    return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())


def wrong_with(address: Address, allowed: Sequence[Network] = ()) -> str:
    """Why an address may not be reached; empty: it may. Addresses that stand for others are judged by those."""
    if any(address in network for network in allowed if network.version == address.version):
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return wrong_with(inner, allowed)
    for kind in ("unspecified", "loopback", "link_local", "multicast", "private", "reserved"):
        if getattr(address, f"is_{kind}"):
            return f"{address} is a {kind.replace('_', '-')} address"
    return "" if address.is_global else f"{address} is not an address of the public internet"


class Guard:
    """Refuses from `install` on. ``refusals`` collects why, because libraries hide it in errors of their own."""

    def __init__(self, allowed: Sequence[Network], roots: Sequence[str]) -> None:
        self._allowed = allowed
        self._files = {os.path.realpath(root) for root in roots}
        self._roots = tuple(root + os.sep for root in self._files)
        self.refusals: list[str] = []

    def install(self) -> None:
        """For the rest of the process."""
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            self._check_address(arguments[1])
        elif event in _PROCESSES:
            self._refuse("a contact must not start programs")
        elif event == "open":
            self._check_file(*arguments)

    def _check_address(self, address: Any) -> None:
        if address is None:
            # A datagram to where the socket is connected already.
            return
        try:
            found = ipaddress.ip_address(address[0])
        except (ValueError, TypeError, IndexError):
            self._refuse(f"{address!r} is not an internet address")
        why = wrong_with(found, self._allowed)
        if why:
            self._refuse(f"{why}; an administrator may allow it with the scheduler's option --notify-allow")

    def _check_file(self, path: Any, mode: Any, flags: Any) -> None:
        if isinstance(path, int):
            return
        if isinstance(flags, int) and flags & _WRITES:
            self._refuse("a contact must not write files")
        text = os.path.realpath(os.fsdecode(path))
        if text not in self._files and not text.startswith(self._roots):
            self._refuse(f"a contact must not read {Path(text).name}")

    def _refuse(self, why: str) -> Any:
        self.refusals.append(why)
        raise Refused(why)


def readable_roots() -> list[str]:
    """Where Python, its packages, this suite's code and the certificates of public authorities are."""
    roots = [sys.prefix, sys.base_prefix, *_SYSTEM]
    roots += [f"{path}/{name}" for path in sys.path if path for name in ("services", "modelyard")]
    # An administrator may name further authorities.
    return roots + [os.environ[name] for name in CERTIFICATE_VARIABLES if os.environ.get(name)]


CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_SYSTEM = (
    "/etc/ssl", "/etc/pki", "/usr/lib/ssl", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
    "/usr/share/zoneinfo", "/usr/share/locale", "/etc/mime.types", "/etc/os-release", "/usr/lib/os-release",
    "/dev/null", "/dev/urandom",
)  # fmt: skip
