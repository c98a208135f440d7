"""Workers whose launcher has died: they work on, and the agent itself watches and ends them.

Owns one pidfd for each, so that no signal can hit a process that has got the number since. What such a worker
has started goes with it as far as it can be found; the limits' cgroups catch the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

import psutil

from services.chassis.logs import get_logger

_log = get_logger("agent.orphans")


class Orphans:
    """``on_ended(worker, exit_code, signal)`` tells of every end. A process that is not a child has no exit
    code to tell: the signal is 9 if this agent has killed it, else both are 0."""

    def __init__(self, on_ended: Callable[[str, int, int], None]) -> None:
        self._on_ended = on_ended
        self._pidfds: dict[str, tuple[int, int]] = {}
        self._killed: set[str] = set()

    def __contains__(self, worker: str) -> bool:
        return worker in self._pidfds

    def adopt(self, worker: str, pid: int) -> bool:
        """Watches a worker that is known to live, by its open connection; False: it has just ended."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        self._pidfds[worker] = (pid, pidfd)
        asyncio.get_running_loop().add_reader(pidfd, self._on_exit, worker)
        _log.info("worker_adopted", worker=worker, pid=pid)
        return True

    def kill(self, worker: str) -> None:
        """SIGKILL to it and to everything below it; its end is told."""
        pid, pidfd = self._pidfds[worker]
        below = _below(pid)
        self._killed.add(worker)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        for process in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def kill_all(self) -> None:
        """Ends what is left; nothing is told any more."""
        for worker in list(self._pidfds):
            self.kill(worker)
        self.close()

    def close(self) -> None:
        """Looks away; the workers go on."""
        for _, pidfd in self._pidfds.values():
            asyncio.get_running_loop().remove_reader(pidfd)
            os.close(pidfd)
        self._pidfds.clear()

    def _on_exit(self, worker: str) -> None:
        _, pidfd = self._pidfds.pop(worker)
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        self._on_ended(worker, 0, signal.SIGKILL if worker in self._killed else 0)
        self._killed.discard(worker)


def _below(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
