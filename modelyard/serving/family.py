"""Whose child the frame is, and whose parent: it ends with who started it, and what it started ends with it."""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

_SUBREAPER = 36
"""Of prctl: PR_SET_CHILD_SUBREAPER."""
_ROUNDS_MOST = 50
_INIT = 1


class Parent:
    """Who started this process: whoever forked it may be gone at once, so who stays is known a little later."""

    def __init__(self) -> None:
        self._first = self._pid = os.getppid()

    def settle(self) -> None:
        """From now on it is who it is."""
        self._pid = os.getppid()

    @property
    def is_gone(self) -> bool:
        """And with it whoever would end this process."""
        return os.getppid() != self._pid or self._pid == _INIT != self._first


def adopt() -> None:
    """What loses its parent below this process becomes its child, and so is found. Only Linux can."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def end_children() -> None:
    """Kills what is below this process, and what it starts meanwhile."""
    for _ in range(_ROUNDS_MOST):
        children = _children()
        if not children:
            return
        for pid in children:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for pid in children:
            with suppress(OSError):
                os.waitpid(pid, 0)


def _children() -> list[int]:
    found = []
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            found += [int(word) for word in path.read_text().split()]
    return found
