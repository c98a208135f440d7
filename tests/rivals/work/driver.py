"""One system that runs work, started, called and ended by commands on standard input, each answered by a line of JSON.

Needs the standard library only: it runs in the environment of the system that it drives. A system is started as its own
documents say for one machine, with two workers; its processes are the driver's, and end with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

READY_S = 120.0
END_S = 10.0


class System(ABC):
    """What every system is asked. Times are of the client's clock, results are looked at."""

    parts: dict[str, list[str]]
    """Commands of its processes, by what they are called, in the order of their start."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.parts = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.log = (place / "log").open("ab")

    @abstractmethod
    def connect(self) -> None:
        """A client of it. Raises OSError or RuntimeError while it is not ready."""

    @abstractmethod
    def call(self) -> None:
        """One small call, to its result."""

    @abstractmethod
    def many(self, count: int) -> None:
        """As many calls at once, to all results."""

    @abstractmethod
    def chain(self, count: int) -> None:
        """As many calls, each with the result of the one before."""

    @abstractmethod
    def hand_in(self, count: int, seconds: float, path: Path) -> None:
        """Calls that wait and then write a line to a file; does not wait for them."""

    @abstractmethod
    def results(self, timeout_s: float) -> int:
        """How many of those handed in this client has answers of, after so long at most."""

    def begin(self, name: str) -> None:
        self.processes[name] = subprocess.Popen(
            self.parts[name], cwd=self.place, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            start_new_session=True, env=self.surroundings(),
        )  # fmt: skip

    def surroundings(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}

    def victim(self, name: str) -> int:
        """The process that is killed for a part."""
        return self.processes[name].pid

    def kill(self, name: str) -> None:
        os.kill(self.victim(name), signal.SIGKILL)

    def again(self, name: str) -> None:
        """Starts a part that was killed, as its supervisor would."""
        self.processes[name].wait(END_S)
        self.begin(name)

    def close(self) -> None:
        for process in reversed(self.processes.values()):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def answers(port: int, host: str = "127.0.0.1") -> None:
    """Raises OSError while nobody listens there."""
    socket.create_connection((host, port), 1).close()


def wait_and_note(number: int, seconds: float, path: str) -> int:
    """The work of those that are handed in."""
    time.sleep(seconds)
    with Path(path).open("a") as file:
        file.write(f"{number}\n")
    return number


def check(found: Sequence[Any] | Any, wanted: Any) -> None:
    if found != wanted:
        raise RuntimeError(f"another result: {str(found)[:200]}")


def _ready(system: System) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            system.connect()
            system.call()
            return
        except (OSError, RuntimeError) as error:
            if time.monotonic() > deadline or any(
                one.poll() is not None for one in system.processes.values()
            ):
                raise SystemExit(f"it does not answer: {error}") from error
            time.sleep(0.02)


def _timed(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _obey(system: System, word: str, *given: Any) -> Any:
    match word:
        case "lone":
            return [_timed(system.call) * 1e3 for _ in range(given[0])]
        case "many" | "chain":
            return _timed(lambda: getattr(system, word)(given[0]))
        case "hand_in":
            return system.hand_in(given[0], given[1], Path(given[2]))
        case "results":
            return system.results(given[0])
        case "kill" | "again":
            return getattr(system, word)(given[0])
    raise ValueError(word)


def drive(kind: Callable[[Path], System]) -> None:
    """Answers commands until standard input ends. Its first answer comes when the first call has had its result."""
    said, sys.stdout = sys.stdout, sys.stderr
    system = kind(Path(sys.argv[1]))
    try:
        for name in system.parts:
            system.begin(name)
        _ready(system)
        print(json.dumps({"ready": True, "parts": list(system.parts)}), file=said, flush=True)
        for line in sys.stdin:
            try:
                answer = {"answer": _obey(system, *json.loads(line))}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"[:300]}
            print(json.dumps(answer), file=said, flush=True)
    finally:
        system.close()
