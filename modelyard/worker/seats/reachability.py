"""Whether peers can be reached from here, and this seat by them, before anything runs (a CheckPeers).

Owns the sockets of one check. Who dials says whose seat it is and hears whose seat has answered: so an address that
leads elsewhere is found out too. Nobody waits here: what is to be done is done when a descriptor is ready, or at the
next look. Connections end by a reset of the dialling side, so that nothing of them is left at a port that a program
will want.
"""

import contextlib
import hashlib
import re
import socket
import threading
import time
from typing import Any

from modelyard.worker.forwards.passing import break_off
from modelyard.worker.frames import Message

TICK_S = 0.02
_AGAIN_S = 0.05
_LINE_BYTES, _NAME_BYTES = 64, 38
_NAME = re.compile(rb"yard [0-9a-f]{32}\n")


def name_of(task_id: str) -> bytes:
    """What the seat of a task says of itself."""
    return f"yard {hashlib.sha256(task_id.encode()).hexdigest()[:32]}\n".encode()


class Target:
    """One peer, from the first attempt to its answer."""

    def __init__(self, asked: Message) -> None:
        self.role, self.index = str(asked.get("role", "")), int(asked.get("index", 0))
        self.host, self.port = str(asked.get("host", "")), int(asked.get("port", 0))
        self.wanted = name_of(str(asked.get("task_id", "")))
        self.error = "nobody answered"
        self.is_settled = False
        self.sock: socket.socket | None = None
        self._heard = b""
        self._is_greeted = False
        self._again_at = 0.0
        # What the name stands for, as soon as it is known: another thread asks, because that may take its time.
        self._found: list[Any] = []
        self._unknown: list[str] = []
        threading.Thread(target=self._resolve, name="names", daemon=True).start()

    def _resolve(self) -> None:
        try:
            self._found += socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[:1]
        except (OSError, UnicodeError) as error:
            self._unknown.append(f"the name is not known here: {error}")

    def look(self, own: bytes) -> None:
        """Begins an attempt, where it is time for one."""
        if self.is_settled or self.sock is not None or time.monotonic() < self._again_at:
            return
        if self._unknown:
            self.error = self._unknown[0]
            self.is_settled = True
        elif self._found:
            family, kind, protocol, _, address = self._found[0]
            self.sock = socket.socket(family, kind, protocol)
            self.sock.setblocking(False)
            self._heard, self._is_greeted = b"", False
            try:
                self.sock.connect(address)
            except BlockingIOError:
                return
            except OSError as error:
                self._fail(error)

    def greet(self, own: bytes) -> None:
        """Says who dials, once the connection is there."""
        if self.sock is None or self._is_greeted:
            return
        try:
            self.sock.send(own)
            self._is_greeted = True
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)

    def on_ready(self, own: bytes) -> None:
        """An answer, or the end of the attempt."""
        assert self.sock is not None
        self.greet(own)
        if self.sock is None:
            return
        try:
            data = self.sock.recv(_LINE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)
            return
        self._heard += data
        if self._heard == self.wanted:
            self.error, self.is_settled = "", True
            self.close()
        elif not data:
            self._fail(ConnectionResetError(0, "it closed the connection without a word"))
        elif not self.wanted.startswith(self._heard):
            self.error, self.is_settled = "somebody else answers there: it is not the peer's address", True
            self.close()

    def _fail(self, error: OSError) -> None:
        self.error = error.strerror or str(error)
        self._again_at = time.monotonic() + _AGAIN_S
        self.close()

    def close(self) -> None:
        """Nothing of the connection is left on either side."""
        if self.sock is not None:
            break_off(self.sock)
            self.sock.close()
            self.sock = None


class Caller:
    """Who dials here."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.heard = b""


class PeerCheck:
    """One check of one seat. ``listener``: bound to its first port; None: it cannot answer now."""

    def __init__(self, asked: Message, task_id: str, listener: socket.socket | None) -> None:
        self.number = int(asked.get("number", 0))
        self._own = name_of(task_id)
        self._until = time.monotonic() + int(asked.get("timeout_ms", 0)) / 1000
        self._targets = [Target(one) for one in asked.get("targets", ())]
        self._callers: dict[int, Caller] = {}
        self._answered: set[bytes] = set()
        self._expected = int(asked.get("callers", 0)) if listener is not None else 0
        self._listener = listener
        if self._expected and listener is not None:
            listener.listen(512)
            listener.setblocking(False)

    @property
    def fds(self) -> tuple[int, ...]:
        """Readable when something is to be done."""
        listening = (self._listener.fileno(),) if self._expected and self._listener is not None else ()
        dialled = (one.sock.fileno() for one in self._targets if one.sock is not None)
        return (*listening, *self._callers, *dialled)

    @property
    def is_over(self) -> bool:
        """Everybody has answered and was answered, or the time is over."""
        if time.monotonic() >= self._until:
            return True
        is_answered = len(self._answered) >= self._expected
        return is_answered and all(one.is_settled for one in self._targets)

    def on_ready(self, fd: int) -> None:
        """Something has come."""
        if self._listener is not None and fd == self._listener.fileno():
            self._accept()
        elif fd in self._callers:
            self._on_caller(fd, self._callers[fd])
        else:
            for one in self._targets:
                if one.sock is not None and one.sock.fileno() == fd:
                    one.on_ready(self._own)

    def look(self) -> None:
        """Attempts begin."""
        for one in self._targets:
            one.look(self._own)
            if one.sock is not None:
                one.greet(self._own)

    def _accept(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(OSError):
            sock, _ = self._listener.accept()
            sock.setblocking(False)
            self._callers[sock.fileno()] = Caller(sock)

    def _on_caller(self, fd: int, caller: Caller) -> None:
        try:
            data = caller.sock.recv(_LINE_BYTES)
            caller.heard += data
            is_whole = _NAME.fullmatch(caller.heard) is not None
            if data and is_whole:
                caller.sock.send(self._own)
            if data and (is_whole or len(caller.heard) < _NAME_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            # It has heard, and is gone.
            is_whole = _NAME.fullmatch(caller.heard) is not None
        if is_whole:
            self._answered.add(caller.heard)
        break_off(caller.sock)
        caller.sock.close()
        del self._callers[fd]

    def close(self) -> Message:
        """Stops answering; the PeersChecked."""
        for caller in self._callers.values():
            break_off(caller.sock)
            caller.sock.close()
        self._callers.clear()
        for one in self._targets:
            one.close()
        if self._expected and self._listener is not None:
            # It stays bound.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RD)
        unreached = [
            {"role": one.role, "index": one.index, "address": f"{one.host}:{one.port}", "error": one.error}
            for one in self._targets
            if not one.is_settled or one.error
        ]
        return {"number": self.number, "unreached": unreached}


class Checks:
    """The checks of one seat, one at a time."""

    def __init__(self, task_id: str) -> None:
        self._task_id = task_id
        self._check: PeerCheck | None = None

    @property
    def fds(self) -> tuple[int, ...]:
        """Readable when something is to be done."""
        return self._check.fds if self._check is not None else ()

    @property
    def tick_s(self) -> float | None:
        """Until the next look; None: there is no check."""
        return TICK_S if self._check is not None else None

    def begin(self, asked: Message, listener: socket.socket | None) -> None:
        """In the place of one that is under way."""
        self.end()
        self._check = PeerCheck(asked, self._task_id, listener)
        self._check.look()

    def on_ready(self, fd: int) -> None:
        """Something has come."""
        assert self._check is not None
        self._check.on_ready(fd)

    def look(self) -> Message | None:
        """What has come out, once it is known."""
        if self._check is None:
            return None
        self._check.look()
        return self.end() if self._check.is_over else None

    def end(self) -> Message | None:
        """Nothing answers any more."""
        check, self._check = self._check, None
        return check.close() if check is not None else None
