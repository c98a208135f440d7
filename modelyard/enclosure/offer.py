"""How a container comes by its listening socket: its first process asks for it, once, before there is a frame.

Nothing that a container can write to lies on this machine's disk, so it makes no socket of its own; and one that
was made here leads nowhere but to here.
"""

from __future__ import annotations

import select
import socket
from pathlib import Path

from modelyard.enclosure.passer import listen_at
from modelyard.enclosure.watching import Watch

OFFER = "offer.socket"


class Offer:
    """To the first who connects."""

    def __init__(self, path: Path, offered: socket.socket, watch: Watch) -> None:
        """Keeps a descriptor of its own. Raises OSError."""
        self._path = path
        self._watch = watch
        self._offered = offered.dup()
        self._listener = listen_at(path)
        path.chmod(0o666)
        watch(self._listener.fileno(), select.EPOLLIN, self._on_connect)

    def _on_connect(self, _: int) -> None:
        taker, _address = self._listener.accept()
        with taker:
            socket.send_fds(taker, [b"."], [self._offered.fileno()])
        self.close()

    def close(self) -> None:
        """Nobody gets it any more."""
        if self._listener.fileno() >= 0:
            self._watch(self._listener.fileno(), 0, None)
            self._path.unlink(missing_ok=True)
            self._listener.close()
            self._offered.close()
