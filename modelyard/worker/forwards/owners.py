"""Whose process is at the other end of a connection within this machine.

Owns one socket to the kernel. Loopback addresses are open to every user of a machine; who passes something on there
must know for whom.
"""

import os
import socket
import struct
from pathlib import Path

# Of the kernel's tables of sockets, by netlink.
_SOCK_DIAG, _BY_FAMILY, _REQUEST, _ESTABLISHED = 4, 20, 1, 1
_IN_DIAG = struct.Struct("!HH4s12x4s12x")
# The header, four bytes, the addresses (48), three numbers.
_USER_AT = 16 + 4 + 48 + 12


Target = tuple[str, int]


class Owners:
    """Whose process is at the other end of a connection within this machine."""

    def __init__(self) -> None:
        self._kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG)

    def is_own(self, theirs: Target, ours: Target) -> bool:
        """Whether it is one of this user, or of root."""
        try:
            state, user = self._asked(theirs, ours)
        except OSError:
            state, user = _read(theirs, ours)
        # What has no process any more is shown as root's.
        return user == os.getuid() or (user == 0 and state == _ESTABLISHED)

    def _asked(self, theirs: Target, ours: Target) -> tuple[int, int]:
        """State and user of the socket. Raises OSError where the kernel does not say it so."""
        addresses = _IN_DIAG.pack(theirs[1], ours[1], socket.inet_aton(theirs[0]), socket.inet_aton(ours[0]))
        request = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + addresses
        request += struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
        self._kernel.send(struct.pack("=IHHII", 16 + len(request), _BY_FAMILY, _REQUEST, 0, 0) + request)
        answer = self._kernel.recv(8_192)
        if struct.unpack_from("=H", answer, 4)[0] != _BY_FAMILY:
            raise OSError("there is no such socket, or the kernel does not tell")
        state: int = answer[17]
        user: int = struct.unpack_from("=I", answer, _USER_AT)[0]
        return state, user


def _read(theirs: Target, ours: Target) -> tuple[int, int]:
    """The same from a table, which takes milliseconds; −1: it is not there."""
    wanted = [_in_hex(theirs), _in_hex(ours)]
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split(None, 8)
        if fields[1:3] == wanted:
            return int(fields[3], 16), int(fields[7])
    return 0, -1


def _in_hex(address: Target) -> str:
    return f"{struct.unpack('=I', socket.inet_aton(address[0]))[0]:08X}:{address[1]:04X}"
