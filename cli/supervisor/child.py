"""One child process: started, found ready, started again with growing delays, given up."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from cli.supervisor.files import last_lines, read_ready
from cli.supervisor.nursery import Process
from cli.supervisor.plan import Program

QUICK_S = 10.0
"""A process that lived for less failed quickly."""
MOST_QUICK_FAILURES = 5
FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 5.0


class Child:
    """Keeps one program running; the supervisor calls `step` often."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.quick_failures = 0
        self.restarts = 0
        self.exit_code: int | None = None
        self._process: Process | None = None
        self._started = 0.0
        self._next_start = 0.0
        self._log_start = 0
        self.ready = False

    @property
    def pid(self) -> int:
        """0 while it does not run."""
        return self._process.pid if self._process else 0

    def start(self, environ: dict[str, str]) -> None:
        """Starts the program in a session of its own, so that Ctrl-C reaches the supervisor alone."""
        self.prepare()
        with self.program.log_file.open("ab") as log:
            process = subprocess.Popen(
                self.program.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environ,
                cwd="/",
            )
        self.take(process)

    def prepare(self) -> None:
        """What is there of an earlier life is not this one's."""
        self.program.ready_file.unlink(missing_ok=True)
        log = self.program.log_file
        self._log_start = log.stat().st_size if log.exists() else 0

    def take(self, process: Process) -> None:
        """It was started, after it was prepared."""
        self._process = process
        self._started = time.monotonic()
        self.ready = False

    def poll(self) -> bool:
        """True if it has just ended; then `exit_code` says how."""
        if self._process is None:
            return False
        code = self._process.poll()
        if code is None:
            if not self.ready:
                document = read_ready(self.program.ready_file)
                self.ready = document is not None and document["pid"] == self._process.pid
            return False
        self.exit_code = code
        self.ready = False
        self._process = None
        self._schedule()
        return True

    def _schedule(self) -> None:
        now = time.monotonic()
        quick = now - self._started < QUICK_S
        self.quick_failures = self.quick_failures + 1 if quick else 0
        delay_s = min(FIRST_DELAY_S * 2 ** max(self.quick_failures - 1, 0), LONGEST_DELAY_S)
        self._next_start = now + delay_s
        self.restarts += 1

    @property
    def hopeless(self) -> bool:
        """It failed quickly too often in a row."""
        return self.quick_failures >= MOST_QUICK_FAILURES

    @property
    def due(self) -> bool:
        """It is down and the time to start it again has come."""
        return self._process is None and time.monotonic() >= self._next_start

    def stop(self) -> None:
        """Asks it to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float) -> bool:
        """False if it had to be killed."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False
        return True

    def why(self) -> str:
        """How it ended, in its own last words."""
        code = self.exit_code or 0
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        lines = last_lines(self.program.log_file, since=self._log_start)
        return "\n    ".join([how, *lines])


def environment(extra: dict[str, str]) -> dict[str, str]:
    """What services inherit: ours, without what names a remote yard, and where to import from."""
    kept = {key: value for key, value in os.environ.items() if key not in _REMOTE}
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, kept.get("PYTHONPATH", "").split(os.pathsep))]
    return {**kept, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONUNBUFFERED": "1", **extra}


_REMOTE = frozenset(
    {
        "YARD_CONTEXT",
        "YARD_ENDPOINT",
        "YARD_STORE",
        "YARD_TOKEN",
        "YARD_TOKEN_FILE",
        "YARD_CA_FILE",
        "YARD_OUTPUT",
    }
)
