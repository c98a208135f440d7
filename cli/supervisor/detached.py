"""The supervisor in the background: forked off, reported ready or failed over a pipe."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from cli.errors import CommandError
from cli.supervisor.loop import Supervisor, say
from cli.supervisor.options import Options
from cli.supervisor.state import CannotStart, held


def start(state: Path, options: Options) -> None:
    """Returns when everything serves; raises CannotStart with the reason when something does not. The process
    must have one thread and no gRPC loaded, because it forks."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _become_supervisor(state, options, writer)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    answer: dict[str, Any] = json.loads(text or "{}")
    if not answer.get("ready"):
        raise CannotStart(
            answer.get("message") or "the supervisor ended before everything was serving",
            why=answer.get("why", ""),
            next_step=answer.get("next_step") or f"read {state / 'logs' / 'up.log'}",
        )


def _become_supervisor(state: Path, options: Options, writer: int) -> None:
    """In the child: leave the terminal for good, run, and never return."""
    os.setsid()
    if os.fork():
        os._exit(0)
    code = 1
    try:
        with held(state):
            _redirect(state / "logs" / "up.log")
            code = Supervisor(state, options, say).run(lambda: _answer(writer, {"ready": True}))
    except CommandError as error:
        say(f"error: {error.message}" + (f"\n  why: {error.why}" if error.why else ""))
        _answer(writer, {"message": error.message, "why": error.why, "next_step": error.next_step})
    finally:
        sys.stderr.flush()
        os._exit(code)


def _answer(writer: int, document: dict[str, Any]) -> None:
    os.write(writer, json.dumps(document).encode())
    os.close(writer)


def _redirect(log: Path) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(null)
    os.close(file)
    os.chdir("/")
