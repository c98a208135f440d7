"""The supervisor's loop.

Starts everything at once, waits until all serve, starts again what dies, stops in order.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cli.supervisor.child import Child, environment
from cli.supervisor.files import process_start, write_atomically
from cli.supervisor.nursery import bear
from cli.supervisor.options import Options
from cli.supervisor.plan import programs
from cli.supervisor.rotation import LOOK_S, rotate_all
from cli.supervisor.state import CannotStart, check_ports, prepare
from cli.supervisor.stop import stop_services

READY_POLL_S = 0.01
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


class Supervisor:
    """One yard on one machine. `say` takes lines for people."""

    def __init__(self, state: Path, options: Options, say: Callable[[str], None]) -> None:
        self.state = state
        self.options = options
        self.children = [Child(program) for program in programs(state, options)]
        self._say = say
        self._stopping = False
        self._awake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self, on_ready: Callable[[], None]) -> int:
        """Until a signal says stop (0) or a service cannot be kept up (1). The state must be held."""
        self._take_signals()
        for name in stop_services(self.state, STOP_TIMEOUT_S).names:
            self._say(f"{name} of an earlier start was still running and was stopped")
        check_ports(self.options)
        prepare(self.state, self.options)
        try:
            self._start_all()
            self._wait_until_ready()
            if not self._stopping:
                self._write_ready()
                on_ready()
            return self._keep()
        finally:
            self._stop_all()
            (self.state / "run" / "up.json").unlink(missing_ok=True)

    def _take_signals(self) -> None:
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_stop_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _on_stop_signal(self, *_: object) -> None:
        self._stopping = True

    def _start_all(self) -> None:
        """All from one interpreter; who is not born there is started by its words."""
        environ = environment({})
        for child in self.children:
            child.prepare()
        programs = [child.program for child in self.children]
        born = bear(programs, environ, self.state / "logs" / "up.log")
        for child in self.children:
            name = child.program.name
            if name in born:
                child.take(born[name])
            else:
                child.start(environ)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self._stopping:
            for child in self.children:
                if child.poll():
                    raise CannotStart(
                        f"{child.program.name} did not start",
                        why=child.why(),
                        next_step=f"read {child.program.log_file}",
                    )
            missing = [child.program.name for child in self.children if not child.ready]
            if not missing:
                return
            if time.monotonic() > deadline:
                raise CannotStart(
                    f"not serving after {READY_TIMEOUT_S:.0f} s: {', '.join(missing)}",
                    next_step=f"read {self.state / 'logs'}",
                )
            time.sleep(READY_POLL_S)

    def _write_ready(self) -> None:
        document = {
            "name": "up",
            "pid": os.getpid(),
            "address": self.options.endpoint,
            "start_time_ms": int(time.time() * 1000),
            "start_ticks": process_start(os.getpid()),
            "services": {child.program.name: child.pid for child in self.children},
        }
        write_atomically(self.state / "run" / "up.json", json.dumps(document))

    def _keep(self) -> int:
        """Sleeps until a child ends, a restart is due, or a signal comes."""
        environ = environment({})
        while not self._stopping:
            for child in self.children:
                if child.poll():
                    self._say(f"{child.program.name} ended ({child.why()}); it is started again")
                if child.hopeless:
                    name, count = child.program.name, child.quick_failures
                    self._say(f"error: {name} failed {count} times in a row: {child.why()}")
                    self._say(f"  next: read {child.program.log_file}")
                    return 1
                if child.due:
                    child.start(environ)
                    self._write_ready()
            self._rotate_logs()
            self._sleep()
        return 0

    def _rotate_logs(self) -> None:
        try:
            rotate_all(self.state / "logs")
        except OSError as error:
            self._say(f"logs cannot be rotated: {error}")

    def _sleep(self) -> None:
        unsettled = any(not child.ready for child in self.children)
        readable, _, _ = select.select([self._awake], [], [], 0.05 if unsettled else LOOK_S)
        if readable:
            os.read(self._awake, 4096)

    def _stop_all(self) -> None:
        """Agents first, so that they can still tell the scheduler; then the services."""
        deadline = time.monotonic() + STOP_TIMEOUT_S
        agents = [child for child in self.children if child.program.name.startswith("agent-")]
        services = [child for child in self.children if child not in agents]
        for group in (agents, services):
            for child in group:
                child.stop()
            for child in group:
                if not child.wait(max(deadline - time.monotonic(), 1.0)):
                    self._say(f"{child.program.name} did not end in time and was killed")


def say(text: str) -> None:
    """A line for people, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
