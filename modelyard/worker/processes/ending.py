"""Processes below this one: ending what is left of them.

Owns the Linux calls that Python has no names for. Must not know why a process runs.
"""

import ctypes
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

_SET_CHILD_SUBREAPER = 36
_SET_NO_NEW_PRIVS = 38


def adopt_orphans() -> None:
    """From now on every process below this one becomes its child when its own parent ends."""
    _prctl(_SET_CHILD_SUBREAPER)


def renounce_privileges() -> None:
    """Neither this process nor any below it can gain rights by executing a file."""
    _prctl(_SET_NO_NEW_PRIVS)


def offer_to_oom_killer(score: int = 500) -> None:
    """Work is to be ended for want of memory before the agent is; inherited."""
    try:
        Path("/proc/self/oom_score_adj").write_text(str(score), encoding="ascii")
    except OSError:
        # Not allowed here: the kernel's own choice stands.
        return


def end_children(spared: Collection[int] = (), timeout_s: float = 5.0) -> bool:
    """Kills every child but the spared ones, and theirs as they come up, and reaps them.

    Needs `adopt_orphans`, else grandchildren escape. True when none is left; a process that hangs in the
    kernel can outlast the timeout.
    """
    deadline = time.monotonic() + timeout_s
    pause = 0.0005
    while has_children():
        left = [pid for pid in children() if pid not in spared]
        if not left:
            return True
        for pid in left:
            _kill(pid)
            _reap(pid)
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    return True


def await_children(until: float) -> None:
    """Reaps children that end by themselves, until none is left or the monotonic clock says `until`."""
    pause = 0.0005
    while has_children() and time.monotonic() < until:
        for pid in children():
            _reap(pid)
        time.sleep(pause)
        pause = min(pause * 2, 0.02)


def reap_children(spared: Collection[int] = ()) -> bool:
    """Reaps those that have ended by themselves; whether others but the spared ones are left."""
    left = [pid for pid in children() if pid not in spared] if has_children() else []
    for pid in left:
        _reap(pid)
    return bool(left)


def has_children() -> bool:
    """Whether this process has any child, without reaping it."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def children() -> list[int]:
    """Pids of the children of this process."""
    me = os.getpid()
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if _parent(pid) == me]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _prctl(option: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
