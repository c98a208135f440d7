"""Which nodes are this very machine, so that frames there are reached by their own sockets.

Owns what was proved. An agent names its directory and says what stands in a file there that only its user reads: what
boots as this machine does, and shows the same file, is this machine, with the same file system. Nothing is guessed.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import stat
from pathlib import Path, PurePosixPath

from modelyard.enclosure.order import SOCKET
from modelyard.v1 import seat_pb2
from services.chassis.logs import get_logger

_log = get_logger("models.homes")

HOME_FILE = "home"
PROOF_LETTERS_LEAST, _READ_BYTES = 32, 4_096
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Homes:
    """Directories of agents that are proved to be here, by node."""

    def __init__(self) -> None:
        self._known: dict[str, PurePosixPath] = {}

    async def greeted(self, hello: seat_pb2.SeatHello) -> None:
        """An agent is there: whether it is here is found out."""
        self._known.pop(hello.node, None)
        if not hello.HasField("home") or not _is_this_machine(hello.network):
            return
        why = await asyncio.to_thread(_flaw, hello.home)
        if why:
            _log.info("node_reached_by_port", node=hello.node, why=why)
        else:
            self._known[hello.node] = PurePosixPath(hello.home.directory)

    def socket_of(self, node: str, directory: str) -> str:
        """Of the frame whose seat has this directory; empty: its node is elsewhere."""
        home, path = self._known.get(node), PurePosixPath(directory)
        if home is None or ".." in path.parts or not path.is_relative_to(home):
            return ""
        return str(path / SOCKET)


def _is_this_machine(network: str) -> bool:
    """``network``: as the agent says it, its boot first."""
    try:
        own = _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return False
    return bool(own) and network.partition(" ")[0] == own


def _flaw(home: seat_pb2.SeatHome) -> str:
    """Why it proves nothing; empty: it does."""
    path = Path(home.directory) / HOME_FILE
    if len(home.proof) < PROOF_LETTERS_LEAST or not path.is_absolute():
        return "it says too little"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return f"{path}: {error.strerror}"
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return f"{path} is no file"
        found = os.read(descriptor, _READ_BYTES)
    except OSError as error:
        return f"{path}: {error.strerror}"
    finally:
        os.close(descriptor)
    return "" if hmac.compare_digest(found, home.proof.encode()) else f"{path} is another machine's"
