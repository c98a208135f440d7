"""Local addresses of a seat's peers: kept by a child of the seat's process, which passes connections on (`forwarder`).

Owns that child: its start, what it is told, that another takes its place if it dies. It has its own process because
what is passed on must not wait for what else a seat has to look at, nor the other way round. Runs on the main thread.
"""

import json
import os
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelyard.worker.frames import Message

# Isolated: neither the program's directory nor its variables have a say in what is imported.
_PROGRAM = f"""import sys; sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from modelyard.worker.forwards.forwarder import main; main()"""
_ANSWER_S, _END_S, _BEGUN_S = 5.0, 1.0, 1.0


class CannotForward(OSError):
    """Local addresses cannot be kept."""


class Forwards:
    """Of one seat."""

    def __init__(self, port: int, env: Mapping[str, str]) -> None:
        """Starts the child. ``port``: leased, at which all local addresses are; ``env``: what tells whose the child is.
        Raises OSError."""
        self.port = port
        self._env = dict(env)
        self._routes: list[list[Any]] = []
        self._begun = 0.0
        # 0 and −1: it has died, and nothing has taken its place.
        self.pid, self.pidfd = 0, -1
        self._start()

    def _start(self) -> None:
        self._begun = time.monotonic()
        theirs_in, self._orders = os.pipe()
        self._answers, theirs_out = os.pipe()
        try:
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-c", _PROGRAM],
                self._env,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs_in, 0),
                    (os.POSIX_SPAWN_DUP2, theirs_out, 1),
                ],
                setsid=True,
                setsigdef=[signal.SIGPIPE],
            )
            self.pidfd = os.pidfd_open(self.pid)
        except OSError:
            os.close(self._orders)
            os.close(self._answers)
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)

    def follow(self, addresses: Sequence[Message]) -> None:
        """Peers are there by now; those without `local` are not forwarded. What was connected to one that has moved is
        broken at once. Raises OSError."""
        self._routes = [*_routes(addresses, self.port)]
        if not self.pid:
            self._start()
        self._tell()

    def _tell(self) -> None:
        book = json.dumps({"routes": self._routes}).encode() + b"\n"
        try:
            while book:
                book = book[os.write(self._orders, book) :]
            error = self._answer()
        except BrokenPipeError:
            error = "what keeps local addresses has ended"
        if error:
            raise CannotForward(error)

    def _answer(self) -> str:
        poll, line = select.poll(), b""
        poll.register(self._answers, select.POLLIN)
        until = time.monotonic() + _ANSWER_S
        while not line.endswith(b"\n"):
            left_s = until - time.monotonic()
            if left_s <= 0 or not poll.poll(left_s * 1000):
                return f"what keeps local addresses did not answer within {_ANSWER_S:g} s"
            data = os.read(self._answers, 65_536)
            if not data:
                raise BrokenPipeError
            line += data
        return str(json.loads(line)["error"])

    def on_ended(self) -> None:
        """The child has died: another one listens at the same addresses, and what was connected is not any more. One
        that dies as soon as it begins is not tried again before `follow`. Raises OSError."""
        self._forget()
        if time.monotonic() - self._begun > _BEGUN_S:
            self._start()
            self._tell()

    def close(self) -> None:
        """Ends the child."""
        if not self.pid:
            return
        os.close(self._orders)
        self._orders = -1
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        if not poll.poll(_END_S * 1000):
            os.kill(self.pid, signal.SIGKILL)
        self._forget()

    def _forget(self) -> None:
        if self._orders >= 0:
            os.close(self._orders)
        os.close(self._answers)
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self.pid, self.pidfd = 0, -1


def _routes(addresses: Sequence[Message], port: int) -> list[list[Any]]:
    """Local ip and port, then ip and port of the peer, 0 where it has no place."""
    found = []
    for address in addresses:
        for name, local in address.get("local", {}).items():
            ip, _, at = local.rpartition(":")
            if not is_loopback(ip) or at != str(port):
                raise CannotForward(f"{local[:80]!r} is none of the seat's local addresses")
            number = int(address.get("ports", {}).get(name, 0)) if address.get("node") else 0
            found.append([ip, port, address.get("ip", ""), number])
    return found


def is_loopback(ip: str) -> bool:
    """Whether nothing but this machine can reach it."""
    parts = ip.split(".")
    return len(parts) == 4 and parts[0] == "127" and all(part.isdigit() and int(part) < 256 for part in parts)
