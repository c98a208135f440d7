"""The processes of a task, stopped where they are and let go on: SIGSTOP and SIGCONT.

Owns which processes are a task's: everything below its shim or worker, found again after each round, since what is
not stopped yet may start more. A process that leaves its group or session does not leave this tree: shims and workers
adopt what is orphaned below them. Reads /proc; a few milliseconds.
"""

from __future__ import annotations

import contextlib
import signal

import psutil

_ROUNDS = 20


def halt(pid: int, *, whole: bool, by: signal.Signals = signal.SIGSTOP) -> None:
    """Stops everything below a process, and itself if it is the ``whole`` of it that is meant. ``by`` SIGTSTP: asks it
    to stop what it stands for."""
    stopped: set[int] = set()
    if whole:
        _send(pid, signal.SIGSTOP)
    for _ in range(_ROUNDS):
        found = [process for process in below(pid) if process.pid not in stopped]
        if not found:
            return
        for process in found:
            stopped.add(process.pid)
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(by)


def proceed(pid: int, *, whole: bool) -> None:
    """Lets them go on, children first."""
    for process in reversed(below(pid)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)
    if whole:
        _send(pid, signal.SIGCONT)


def let_speak(pid: int) -> None:
    """Lets a process go on, and nothing below it, if it is stopped."""
    with contextlib.suppress(psutil.NoSuchProcess):
        if psutil.Process(pid).status() == psutil.STATUS_STOPPED:
            _send(pid, signal.SIGCONT)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).send_signal(number)


def below(pid: int) -> list[psutil.Process]:
    """All that has come from a process; none if it is gone."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
