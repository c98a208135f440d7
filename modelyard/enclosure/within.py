"""The first process of a frame's container: starts the frame, and ends with it, or when its stdin does.

Runs by its path, isolated, in the image's own Python, which may be another version than ours; so it imports nothing but
the standard library and knows nothing of the rest. As first process of its container it cannot be killed from within.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import sys
from pathlib import Path

_EXIT, _SET_DUMPABLE = 70, 4
_OFFER, _LISTENER = "/room/offer.socket", 3
_EVENTS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))


def main(python: str, program: list[str]) -> int:
    """``python``: the version that the mounted packages were installed for, or nothing. The exit code."""
    own = "{}.{}".format(*sys.version_info)
    if python and own != python:
        return _refuse("runtime.image", f"the image has Python {own}, the packages are for {python}")
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    listener = _taken() if os.path.exists(_OFFER) else nothing  # noqa: PTH110
    # It cannot be looked into, though the frame is of the same user.
    ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    ending: list[int] = []
    wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake_write)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(number, lambda got, _: ending.append(got))
    os.set_inheritable(listener, listener == _LISTENER)
    frame = os.posix_spawn(
        sys.executable,
        [sys.executable, *program],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, nothing, 0), (os.POSIX_SPAWN_DUP2, listener, _LISTENER)],
        setsigdef=(signal.SIGPIPE,),
        setsigmask=(),
    )
    poll = select.poll()
    for fd in (0, wake_read):
        poll.register(fd, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == 0 and not os.read(0, 4096):
                return 0
            if fd == wake_read:
                os.read(wake_read, 4096)
        while ending:
            asked = ending.pop(0)
            if asked != signal.SIGCHLD:
                os.kill(frame, asked)
        status = _reap(frame)
        if status is not None:
            return _code(status)


def _taken() -> int:
    """The listening socket, from who keeps this container."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(_OFFER)
        _, (listener,), _, _ = socket.recv_fds(sock, 1, 1)
    return listener


def _reap(frame: int) -> int | None:
    """How the frame has ended; whatever else has ended here was left by it."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == 0:
            return None
        if pid == frame:
            return status


def _code(status: int) -> int:
    if os.WIFEXITED(status):
        return os.WEXITSTATUS(status)
    if os.WTERMSIG(status) == signal.SIGKILL and _oom_count():
        return _refuse("runtime.memory", "it needed more memory than it may have", "RESOURCE_EXHAUSTED")
    return 128 + os.WTERMSIG(status)


def _oom_count() -> int:
    for path in _EVENTS:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            word, _, count = line.partition(" ")
            if word == "oom_kill":
                return int(count)
    return 0


def _refuse(field: str, message: str, code: str = "FAILED_PRECONDITION") -> int:
    sys.stderr.write(f'frame: {{"code": "{code}", "field": "{field}", "message": "{message}"}}\n')
    sys.stderr.flush()
    return _EXIT


if __name__ == "__main__":
    os._exit(main(sys.argv[1], sys.argv[2:]))
