"""The first process of a sandbox: what the kernel makes special about it must not be the frame's.

A first process is not killed by signals from its own namespace, not even its own, and has to reap what others leave. It
ends with the frame, and the kernel ends the rest with it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from modelyard.enclosure.linux import hide_memory
from modelyard.enclosure.order import HANDED_ON

_SIGNALLED = 128


def stay(fork: Callable[[], int]) -> None:
    """Comes back in the process that is to become the frame; in the first one never. Raises OSError."""
    numbers = {*HANDED_ON, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    frame = fork()
    if not frame:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return
    try:
        hide_memory()
        code = None
        while code is None:
            number = signal.sigwait(numbers)
            if number == signal.SIGCHLD:
                code = _reap(frame)
            else:
                os.kill(frame, number)
    finally:
        os._exit(code if code is not None else 1)


def _reap(frame: int) -> int | None:
    """The frame's exit code, once it has ended."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return None
        if pid == frame:
            return _SIGNALLED + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
