"""How a forked process becomes a worker.

Owns what a child must shed (descriptors, signals, modules, session) and put on. Must be called only in
processes that have one thread.
"""

import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from modelyard.worker.frames import Message
from modelyard.worker.harness import run_worker


def fork_worker(spawn: Message, listener: socket.socket, orphan_timeout_s: float) -> int:
    """Forks a worker that serves ``listener`` as a SpawnWorker asks for; its pid, in the parent only."""
    # What is there now stays there: nothing of it has to be looked at, and so copied, by a child's collector.
    gc.freeze()
    pid = os.fork()
    if pid == 0:
        become_worker(spawn, listener, orphan_timeout_s)
    return pid


def become_worker(spawn: Message, listener: socket.socket, orphan_timeout_s: float) -> NoReturn:
    """Turns a forked child into a worker. Its parent's objects stay alive on the stack and are not used."""
    code = 1
    try:
        os.setsid()
        reset_signals()
        log_fd = _redirect(spawn.get("log_path", ""))
        close_others({listener.fileno(), log_fd})
        forget_modules("services", "cli")
        settle(spawn.get("paths", []), spawn.get("env", {}))
        reseed()
        code = run_worker(listener, log_fd, orphan_timeout_s)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def settle(paths: list[str], env: Mapping[str, str]) -> None:
    """Lays a worker's own paths and environment over those that it was born with."""
    sys.path[:0] = paths
    os.environ.update(env)
    os.chdir(paths[0] if paths and Path(paths[0]).is_dir() else "/")


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


def _redirect(log_path: str) -> int:
    """Puts /dev/null on 0 and the log on 1 and 2; a descriptor of the log for the harness."""
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if log_path else null
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    return os.dup(log)
