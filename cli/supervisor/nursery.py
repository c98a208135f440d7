"""The first start of all services at once, from one interpreter that loads what they share.

That is services/chassis/process/nursery.py. Owns the way there and the handles of what was born. Whoever was not born
is for the caller to start by its words.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cli.supervisor.plan import Program

TIMEOUT_S = 30.0
ROOM = 2048
"""Bytes for the words of a program, which the nursery keeps free."""
_SET_CHILD_SUBREAPER = 36


class Process(Protocol):
    """As much of subprocess.Popen as is asked of a child."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


class Born:
    """A child of this process that another has forked."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None
        self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Its exit code as of subprocess; None while it lives."""
        return self._reap(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        if self._code is None and not select.select([self._handle], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        code = self._reap(0)
        assert code is not None
        return code

    def send_signal(self, sig: int) -> None:
        """Does nothing once it was found ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _reap(self, options: int) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
                os.close(self._handle)
        return self._code


def bear(programs: Sequence[Program], environ: dict[str, str], log: Path) -> dict[str, Born]:
    """Starts programs of this Python, each in a session of its own; by name those that have started. What the nursery
    has to complain of is in the log."""
    wanted = [program for program in programs if program.argv[:2] == (sys.executable, "-m")]
    document = {"programs": [{"argv": one.argv, "log": str(one.log_file)} for one in wanted]}
    argv = [sys.executable, "-m", "services.chassis.process.nursery", "-" * ROOM]
    _adopt_orphans(True)
    try:
        with log.open("ab") as complaints:
            nursery = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, env=environ, cwd="/"
            )
        told = _told(nursery, json.dumps(document).encode())
    finally:
        _adopt_orphans(False)
    pids = [int(line) for line in told.split()]
    return {program.name: Born(pid) for program, pid in zip(wanted, pids, strict=False)}


def _told(nursery: subprocess.Popen[bytes], document: bytes) -> bytes:
    """What it says until it has ended."""
    try:
        return nursery.communicate(document, TIMEOUT_S)[0]
    except subprocess.TimeoutExpired:
        nursery.kill()
        return nursery.communicate()[0]


def _adopt_orphans(is_wanted: bool) -> None:
    """Whether children of children that end become children of this process."""
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, int(is_wanted), 0, 0, 0)
