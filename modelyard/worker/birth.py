"""How a forked process becomes a worker.

Owns what a child must shed (descriptors, signals, modules, session) and put on. Must be called only in
processes that have one thread.
"""

import gc
import os
import socket
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from modelyard.worker.frames import Message
from modelyard.worker.harness import run_worker
from modelyard.worker.warm.shedding import close_others, forget_modules, reseed, reset_signals


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
        code = run_worker(listener, log_fd, orphan_timeout_s, spawn.get("imports", []))
    except BaseException:  # nobody is above: its last words are all that is heard of it
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def settle(paths: list[str], env: Mapping[str, str]) -> None:
    """Lays a worker's own paths and environment over those that it was born with."""
    sys.path[:0] = paths
    os.environ.update(env)
    os.chdir(paths[0] if paths and Path(paths[0]).is_dir() else "/")


def _redirect(log_path: str) -> int:
    """Puts /dev/null on 0 and the log on 1 and 2; a descriptor of the log for the harness."""
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if log_path else null
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    return os.dup(log)
