"""A yard for as long as one command: in a directory of its own, gone with whoever started it, however that ends.

The supervisor is a child in a session of its own, so that Ctrl-C reaches the command alone. It asks the kernel to be
ended with its parent: also a parent that is killed leaves nothing behind.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from cli.errors import CommandError
from cli.supervisor.loop import Supervisor, say
from cli.supervisor.options import Options
from cli.supervisor.ports import STEP, free_base
from cli.supervisor.state import CannotStart, held
from cli.supervisor.stop import stop_yard

BASES = range(21_000, 31_000, STEP)
SERVICES = 4
TRIES = 5
"""Somebody else may take a port between the look and the start."""
_SET_PARENT_DEATH_SIGNAL = 1


@contextmanager
def throwaway_yard(options: Options) -> Iterator[Path]:
    """The state directory of a yard that serves; afterwards nothing of it is there. `options.port_base` is chosen here.

    The process must have one thread and no gRPC loaded, because it forks. Raises CannotStart.
    """
    for number in range(TRIES):
        state = Path(tempfile.mkdtemp(prefix="yard-local-"))
        pid, answer = _fork(state, dataclasses.replace(options, port_base=_free_ports(number)))
        if answer.get("ready"):
            break
        _reap(pid, state)
        if number == TRIES - 1 or "taken by another program" not in answer.get("message", ""):
            message = answer.get("message") or "the yard for this job ended before it served"
            raise CannotStart(
                message, why=answer.get("why", ""), next_step="yard up --trainer, which keeps its logs"
            )
    try:
        yield state
    finally:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.kill(pid, signal.SIGTERM)
        _reap(pid, state)
        signal.signal(signal.SIGINT, before)


def _free_ports(number: int) -> int:
    """A base of which nobody has the ports; different processes begin to look at different places."""
    base = free_base(BASES, SERVICES, start=os.getpid() * 7 + number * 131)
    if base is None:
        raise CannotStart(f"no {SERVICES} free ports in a row between {BASES[0]} and {BASES[-1]}")
    return base


def _fork(state: Path, options: Options) -> tuple[int, dict[str, Any]]:
    """The supervisor's process, and what it says once everything serves or does not."""
    reader, writer = os.pipe()
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _supervise(state, options, writer, parent)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    return pid, json.loads(text or "{}")


def _supervise(state: Path, options: Options, writer: int, parent: int) -> NoReturn:
    """In the child: until a signal, or the parent's end; then the directory is removed."""
    code = 1
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
        # The parent may have ended before it was asked for.
        if os.getppid() == parent:
            with held(state):
                _redirect(state / "logs" / "up.log")
                code = Supervisor(state, options, say).run(lambda: _answer(writer, {"ready": True}))
    except CommandError as error:
        _answer(writer, {"message": error.message, "why": error.why})
    finally:
        shutil.rmtree(state, ignore_errors=True)
        os._exit(code)


def _answer(writer: int, document: dict[str, Any]) -> None:
    os.write(writer, json.dumps(document).encode())
    os.close(writer)


def _redirect(log: Path) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, file), (2, file)):
        os.dup2(source, target)
    os.chdir("/")


def _reap(pid: int, state: Path) -> None:
    """Waits for the supervisor; what one that was killed has left is stopped and removed."""
    os.waitpid(pid, 0)
    if state.exists():
        stop_yard(state)
        shutil.rmtree(state, ignore_errors=True)
