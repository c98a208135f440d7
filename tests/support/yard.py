"""A real yard of a test's own: `yard up` in a directory that goes away, on ports that nobody has.

Owns its processes, knows them by the state directory's path, and can say what of it is left on this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from modelyard.client.aio import Client
from tests.support.wait import wait_until_sync
from tests.support.yard_process import ROOT, Result, environment

AGENT_PORT_OFFSET = 9
PORTS = 10
_LOG_LINES = 40
_LINE_LENGTH = 300
_SERVICE = re.compile("-m (services|cli)[ .]")
_live: list[Yard] = []
# Apart from `random`, whose seed property tests set.
_dice = random.SystemRandom()
_given: set[int] = set()


@dataclass
class Yard:
    """One state directory and what runs in it. `environ` is what its services inherit."""

    state: Path
    port: int
    agents: int = 2
    host: str = ""
    cpu: float = 8
    memory: str = "4Gi"
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def store(self) -> str:
        return f"127.0.0.1:{self.port + 1}"

    @property
    def graph(self) -> str:
        return f"127.0.0.1:{self.port + 2}"

    @property
    def trainer(self) -> str:
        return f"127.0.0.1:{self.port + 3}"

    @property
    def models(self) -> str:
        return f"127.0.0.1:{self.port + 4}"

    @property
    def nodes(self) -> list[str]:
        return [f"node-{number}" for number in range(1, self.agents + 1)]

    # --- life

    def up(self, *words: str) -> Result:
        """`yard up --detach`; the answer is not judged."""
        place = ("--port-base", str(self.port), *(("--host", self.host) if self.host else ()))
        size = ("--agents", str(self.agents), "--cpu", f"{self.cpu:g}", "--memory", self.memory)
        return self.cli("up", "--detach", *place, *size, *words, extra=self.environ)

    def start(self) -> None:
        """`yard up`, or a failed test."""
        result = self.up()
        assert result.code == 0, f"yard up: {result.stderr}\n{self.logs()}"

    def down(self) -> None:
        """`yard down`, and no mercy for what it has left."""
        self.cli("down")
        self.end_all()

    def end_all(self) -> None:
        """SIGKILL to every process of this yard."""
        for _ in range(20):
            pids = self.processes()
            if not pids:
                return
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(AssertionError):
                wait_until_sync(lambda: not self.processes(), "every process gone", timeout_s=0.5)

    # --- as a user sees it

    def cli(
        self,
        *words: str,
        stdin: str = "",
        extra: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout_s: float = 90.0,
    ) -> Result:
        """`yard words…`, to its end. What it prints goes through files: a daemon may keep pipes open."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            done = subprocess.run(
                [sys.executable, "-m", "cli", *words],
                input=stdin.encode(),
                stdout=out,
                stderr=err,
                env=environment(self.state, extra),
                cwd=cwd or self.state,
                timeout=timeout_s,
                check=False,
            )
            texts = [(file.seek(0), file.read().decode())[1] for file in (out, err)]
        return Result(done.returncode, texts[0], texts[1])

    def json(self, *words: str) -> Any:
        """What `yard words… -o json` prints; it must succeed."""
        result = self.cli(*words, "-o", "json")
        assert result.code == 0, f"yard {' '.join(words)}: {result.stderr}"
        return json.loads(result.stdout)

    def client(self, **options: Any) -> Client:
        """A client with the administrator's token, or what is given."""
        return Client(state=self.state, **options)

    # --- its processes

    def pid(self, service: str) -> int:
        """The process that serves now; 0: none."""
        try:
            document = json.loads((self.state / "run" / f"{service}.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return 0
        pid = int(document["pid"])
        return pid if pid in self.processes() else 0

    def kill(self, service: str, number: int = signal.SIGKILL) -> int:
        """Sends a signal to a service that serves; its pid."""
        pid = wait_until_sync(lambda: self.pid(service), f"{service} serves", timeout_s=30, state=self.logs)
        os.kill(pid, number)
        return pid

    def wait_for(self, *services: str, not_pid: int = 0) -> None:
        """Until these serve, by another process than not_pid."""
        for name in services:
            wait_until_sync(
                lambda name=name: self.pid(name) not in (0, not_pid),  # type: ignore[misc]
                f"{name} serves again",
                timeout_s=30,
                state=self.logs,
            )

    def processes(self) -> dict[int, str]:
        """Every process that belongs to this state directory: by its words, its place or its environment."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid() and self._owns(entry):
                found[int(entry.name)] = _words(entry)
        return found

    def task_processes(self) -> dict[int, str]:
        """Those of them that are neither service nor launcher, worker or template."""
        return {pid: words for pid, words in self.processes().items() if not _SERVICE.search(words)}

    def shells(self, text: str) -> set[int]:
        """Task processes that execute this."""
        return set(_not_forked({pid: words for pid, words in self.task_processes().items() if text in words}))

    def launchers(self) -> list[int]:
        """The processes that fork workers; a worker has its launcher's words, and a launcher for a parent."""
        words = {pid: text for pid, text in self.processes().items() if "services.agent.launcher" in text}
        return _not_forked(words)

    def _owns(self, entry: Path) -> bool:
        mark = str(self.state)
        if mark in _words(entry):
            return True
        try:
            if str((entry / "cwd").readlink()).startswith(mark):
                return True
            return f"={mark}".encode() in (entry / "environ").read_bytes()
        except OSError:
            return False

    # --- what is left of it

    def left_over(self) -> list[str]:
        """Processes, sockets and cgroups of this yard that are still there."""
        left = [f"process {pid}: {words}" for pid, words in self.processes().items()]
        for home in self.agent_homes():
            mark = sha256(str(home).encode()).hexdigest()[:12]
            sockets = Path(f"/tmp/yard-{os.getuid()}") / mark
            left += [f"socket {path}" for path in sockets.glob("*") if path.is_socket()]
            left += [f"cgroup {path}" for path in _cgroups(mark)]
        return left

    def task_leavings(self) -> list[str]:
        """What finished tasks may not leave: processes, directories, cgroups of tasks."""
        left = [f"process {pid}: {words}" for pid, words in self.task_processes().items()]
        for home in self.agent_homes():
            left += [f"directory {path}" for path in (home / "tasks").glob("*")]
        return left

    def agent_homes(self) -> list[Path]:
        return sorted(path for path in (self.state / "agents").glob("*") if path.is_dir())

    def remove(self) -> None:
        """Takes everything down and away."""
        self.down()
        for home in self.agent_homes():
            mark = sha256(str(home).encode()).hexdigest()[:12]
            shutil.rmtree(Path(f"/tmp/yard-{os.getuid()}") / mark, ignore_errors=True)
        shutil.rmtree(self.state, ignore_errors=True)

    # --- when a test fails

    def logs(self) -> str:
        """The last lines of every log."""
        parts = []
        for path in (
            *sorted(self.state.glob("logs/*.log")),
            *sorted(self.state.glob("agents/*/launcher.log")),
        ):
            lines = path.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            parts.append("\n".join((f"--- {path}", *(line[:_LINE_LENGTH] for line in lines))))
        return "\n".join(parts)


def _words(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_text(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


def _not_forked(words: dict[int, str]) -> list[int]:
    """Without those that one of them has forked: these have its words until they execute their own."""
    return [pid for pid in words if _parent(pid) not in words]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def _cgroups(mark: str) -> list[Path]:
    roots = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*")]
    return [path for root in roots for path in root.glob(f"*{mark}*") if path.is_dir()]


def free_port_base() -> int:
    """A base whose ports nobody has, and that this process was never given before: what was given may start later.

    It lies below the ports that the system gives to anybody.
    """
    while True:
        base = _dice.randrange(12_000, 30_000, PORTS)
        if base not in _given and all(_is_free(base + offset) for offset in range(PORTS)):
            _given.add(base)
            return base


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def new_yard(*, is_up: bool = True, **options: Any) -> Iterator[Yard]:
    """A yard that lives as long as the block; whatever happens, nothing of it stays."""
    state = Path(tempfile.mkdtemp(prefix="yard-test-"))
    yard = Yard(state, free_port_base(), **options)
    _live.append(yard)
    try:
        if is_up:
            yard.start()
        yield yard
    finally:
        _live.remove(yard)
        yard.remove()


def live_yards() -> Sequence[Yard]:
    """The yards that exist now, for the report of a failed test."""
    return tuple(_live)


__all__ = ["ROOT", "Result", "Yard", "free_port_base", "live_yards", "new_yard"]
