"""Stopping the yard of a state directory from outside: its supervisor, or what a dead supervisor left."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.supervisor.files import command_line, process_start, read_ready

POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Stopped:
    """What was stopped, and what had to be killed."""

    names: tuple[str, ...]
    killed: tuple[str, ...]


def stop_yard(state: Path, timeout_s: float = 30.0) -> Stopped:
    """Stops everything that runs in a state directory; nothing if nothing does. Idempotent."""
    ready = read_ready(state / "run" / "up.json")
    if ready and is_supervisor(ready):
        names = tuple(ready.get("services", {}))
        killed = () if _end(ready["pid"], timeout_s) else ("yard up",)
        if not killed:
            return Stopped(names, ())
    return _stop_leftovers(state, timeout_s)


def is_supervisor(ready: dict[str, Any]) -> bool:
    """The pid is still the process that wrote the file."""
    started = process_start(ready["pid"])
    return started is not None and started == ready.get("start_ticks")


def running_services(state: Path) -> dict[str, int]:
    """Services that serve in this state directory, by name; agents first."""
    found = {}
    for path in sorted((state / "run").glob("*.json")):
        ready = read_ready(path)
        if ready and path.stem != "up" and is_service(ready["pid"], state):
            found[path.stem] = int(ready["pid"])
    return found


def is_service(pid: int, state: Path) -> bool:
    """A pid may belong to a stranger by now: only a service of this state directory is ours."""
    words = command_line(pid)
    return str(state) in words and any(word.startswith("services.") for word in words)


def stop_services(state: Path, timeout_s: float) -> Stopped:
    """Stops what a dead supervisor left; what agents run goes on, and is found again by the next ones."""
    services = running_services(state)
    killed = [name for name, pid in services.items() if not _end(pid, timeout_s)]
    (state / "run" / "up.json").unlink(missing_ok=True)
    return Stopped(tuple(services), tuple(killed))


def _stop_leftovers(state: Path, timeout_s: float) -> Stopped:
    """Services, and the launchers and workers of agents that died."""
    stopped = stop_services(state, timeout_s)
    launchers = _launchers(state)
    killed = tuple(f"launcher {pid}" for pid in launchers if not _end(pid, timeout_s))
    names = ("launchers",) if launchers else ()
    return Stopped(stopped.names + names, stopped.killed + killed)


def _launchers(state: Path) -> list[int]:
    """Launchers and their workers, by the agent directory in their command line."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    agents = f"{state / 'agents'}/"
    return [
        pid
        for pid in pids
        if "services.agent.launcher" in (words := command_line(pid))
        and any(word.startswith(agents) for word in words)
    ]


def _end(pid: int, timeout_s: float) -> bool:
    """SIGTERM, and SIGKILL when the time is over; False if it came to that."""
    started = process_start(pid)
    if not _signal(pid, signal.SIGTERM):
        return True
    deadline = time.monotonic() + timeout_s
    while process_start(pid) == started and started is not None:
        if time.monotonic() > deadline:
            _signal(pid, signal.SIGKILL)
            return False
        time.sleep(POLL_S)
    return True


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
