"""What a forked process sheds of its parent: descriptors, signals, modules, the state of generators.

Owns nothing. Must be called only in processes that have one thread.
"""

import os
import signal
import sys
from pathlib import Path


def forget_modules(*roots: str) -> None:
    """Lets user code have packages of these names."""
    for name in [name for name in sys.modules if name.partition(".")[0] in roots]:
        del sys.modules[name]


def reseed() -> None:
    """Two forks of one parent must not draw the same numbers; Python's own generator sees to itself."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def close_others(kept: set[int]) -> None:
    """Closes every descriptor above 2 but these."""
    for fd in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if fd > 2 and fd not in kept:
            try:
                os.close(fd)
            except OSError:
                # The descriptor of the listing itself.
                continue


def reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
