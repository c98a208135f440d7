"""A container's first process as this machine knows it: what can still be done where its engine is away.

Owns one pidfd, so that no signal can hit a process that has got the number since.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


class Leader:
    """The first process of a container, by which all of it can be ended where the engine is away."""

    def __init__(self, pidfd: int = -1) -> None:
        self._pidfd = pidfd

    @classmethod
    def of(cls, container: str, pid: int) -> Leader:
        """None that can be ended, if the engine numbers processes otherwise than this machine does."""
        try:
            pidfd = os.pidfd_open(pid)
            is_it = container in Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii")
        except (OSError, ValueError):
            return cls()
        return cls(pidfd if is_it else -1)

    def kill(self) -> None:
        """The kernel ends the rest with it."""
        if self._pidfd >= 0:
            with suppress(OSError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
