"""Ports that a seat has leased on this machine.

Owns the sockets that hold them, and the locks that say so to every other seat of this user, whichever agent's it is.
A port is bound and does not listen until the processes start, so that nobody else gets it; its number stays taken
until the seat is closed: it is a locked byte of one file. The lock ends with this process, however that ends.

Numbers are taken from below the range that the kernel gives out by itself: no outgoing connection of anybody can
have got one in the moment between its release and the program's own bind.
"""

import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from modelyard.worker.frames import Message

_LEAST, _WIDTH = 10_000, 12_000
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
# struct flock: type, whence, start, length, pid.
_FLOCK = struct.Struct("@hhqqi4x")


class NoPortFree(OSError):
    """Every port that may be leased is taken."""


class Leases:
    """The ports of one seat. Used on one thread."""

    def __init__(self, path: str) -> None:
        """``path``: the file of locks."""
        self._path = Path(path)
        self._fd = -1
        # By number.
        self._sockets: dict[int, socket.socket] = {}
        # Of the number at which local addresses are: beside it others of this seat may listen.
        self._kept: socket.socket | None = None
        self.numbers: dict[str, int] = {}
        self.forward = 0

    def lease(self, ports: list[Message]) -> None:
        """Takes a port for each name. Raises NoPortFree, OSError; what was taken before stays until `close`."""
        for port in ports:
            low, high = int(port.get("low", 0)), int(port.get("high", 0))
            number, held = self._take(port["name"], low, high)
            self.numbers[port["name"]] = number
            self._sockets[number] = held

    def lease_forward(self) -> int:
        """Takes a port for local addresses, which is held until `close`. Raises NoPortFree, OSError."""
        self.forward, self._kept = self._take("forward", 0, 0)
        return self.forward

    def let_go(self) -> None:
        """Frees the ports for the processes that start now; the numbers stay taken."""
        for held in self._sockets.values():
            held.close()
        self._sockets.clear()

    def hold_again(self) -> None:
        """Binds them again after the processes have ended, as far as nobody else has done so."""
        self.let_go()
        for number in self.numbers.values():
            try:
                self._sockets[number] = _bound(number)
            except OSError:
                continue

    def held(self) -> socket.socket | None:
        """What holds the first port; None: it is let go, or there is none."""
        first = next(iter(self.numbers.values()), 0)
        return self._sockets.get(first)

    def close(self) -> None:
        """Gives everything back."""
        self.let_go()
        if self._kept is not None:
            self._kept.close()
            self._kept = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self.numbers.clear()

    def _take(self, name: str, low: int, high: int) -> tuple[int, socket.socket]:
        if self._fd < 0:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        own = (*self.numbers.values(), self.forward)
        for number in _candidates(low, high):
            if number in own or not self._lock(number, fcntl.F_WRLCK):
                continue
            try:
                return number, _bound(number)
            except OSError:
                self._lock(number, fcntl.F_UNLCK)
        where = f"from {low} to {high}" if low else "of this machine"
        raise NoPortFree(f"port {name!r}: every port {where} is taken")

    def _lock(self, number: int, kind: int) -> bool:
        """Locks or unlocks the number's byte; False: another seat has it."""
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, number, 1, 0))
        except (BlockingIOError, PermissionError):
            return False
        return True


def _candidates(low: int, high: int) -> Iterator[int]:
    """All of them from one by chance on, so that seats that open together do not meet at each number."""
    if not low:
        first = _first_given_out()
        low, high = (max(_LEAST, first - _WIDTH), first - 1) if first > _LEAST + 100 else (_LEAST, 32_767)
    count = high - low + 1
    begin = int.from_bytes(os.urandom(4), "big") % count
    for step in range(count):
        yield low + (begin + step) % count


def _first_given_out() -> int:
    """From where on the kernel gives ports out by itself."""
    try:
        return int(_RANGE_FILE.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768


def _bound(number: int) -> socket.socket:
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("0.0.0.0", number))
    except OSError:
        held.close()
        raise
    return held


def listening() -> set[int]:
    """Ports of this machine that take connections, without trying one."""
    found: set[int] = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{name}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split(None, 4)
            if len(fields) > 3 and fields[3] == "0A":
                found.add(int(fields[1].rpartition(":")[2], 16))
    return found
