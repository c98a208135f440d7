"""Systems that run work, this project among them: what they are called, and the processes that drive them.

Each is driven from an environment of its own (tests/rivals/work), started as its own documents say, with two workers.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.yard import ROOT, free_port_base
from tests.support.separate_environment import NotInstallable, interpreter

DRIVERS = ROOT / "tests" / "rivals" / "work"
STEP_S = 300.0
"""What is asked of a system has so long."""


@dataclass(frozen=True)
class Contestant:
    """A system, what is measured of it, and which of its parts are killed."""

    name: str
    title: str
    driver: str
    killed: tuple[str, ...]
    lone: int = 200
    many: tuple[int, ...] = (1_000, 10_000)
    chain: int = 100


CONTESTANTS = (
    Contestant("modelyard", "**Modelyard**, on disk", "own", ("scheduler", "agent")),
    Contestant("ray", "Ray 2.60.0, in memory", "ray_driver", ("head", "worker")),
    Contestant("dask", "Dask 2026.8.0, in memory", "dask_driver", ("scheduler", "worker")),
    Contestant(
        "celery", "Celery 5.7.0, Redis 7.0.15 synced once a second", "celery_driver", ("broker", "worker")
    ),
    Contestant("huey", "Huey 3.5.4, Redis 7.0.15 synced once a second", "huey_driver", ("broker", "worker")),
    Contestant(
        "prefect", "Prefect 3.8.8, its server with SQLite", "prefect_driver", ("server",), 10, (100,), 30
    ),
)


class Driver:
    """A process that starts a system and answers for it."""

    def __init__(self, contestant: Contestant, place: Path, port_base: int) -> None:
        is_own = contestant.driver == "own"
        python = (
            sys.executable if is_own else str(interpreter("rival-work", DRIVERS / "work.txt", compiled=True))
        )
        environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT) if is_own else "",
            "YARD_BENCH_PORT_BASE": str(port_base),
        }
        self._place = str(place)
        self._known: set[psutil.Process] = set()
        self._log = (place / "driver.log").open("w+")
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            [python, str(DRIVERS / f"{contestant.driver}.py"), str(place)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self._log, text=True, env=environ, start_new_session=True,
        )  # fmt: skip
        self._answer()
        self.first_s = time.perf_counter() - begun

    def ask(self, *words: object) -> Any:
        if words[0] == "kill":
            # What it leaves has no parent any more that tells whose it was.
            self._known |= self._processes()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if "error" in answer:
            raise NotAnswered(answer["error"])
        return answer["answer"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], STEP_S)
        line = self._process.stdout.readline() if readable else ""
        if not line:
            self._log.seek(0)
            raise NotAnswered((self._log.read().strip().splitlines() or ["nothing said"])[-1])
        return dict(json.loads(line))

    def processor_s(self) -> float:
        """Of all its processes since they began, and of its client: what other work on the machine hardly changes."""
        found = 0.0
        for one in (psutil.Process(self._process.pid), *self._processes()):
            with contextlib.suppress(psutil.NoSuchProcess):
                found += sum(one.cpu_times()[:2])
        return found

    def memory_mb(self) -> float:
        """Of all processes of the system, shared pages divided among those that share them; not of its client."""
        found = 0
        for one in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                found += one.memory_full_info().pss
        return found / 1e6

    def _processes(self) -> set[psutil.Process]:
        """What it started, also what has left its family and names its directory."""
        found = set()
        for one in psutil.process_iter(["cmdline"]):
            is_root = one.pid == self._process.pid
            if is_root or self._place in " ".join(one.info["cmdline"] or []):
                with contextlib.suppress(psutil.NoSuchProcess):
                    found |= {one, *one.children(recursive=True)}
        return {one for one in found if one.pid != self._process.pid}

    def close(self) -> None:
        """Ends what it started, and what that left."""
        left = self._known | (self._processes() if self._process.poll() is None else set())
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        for one in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self._log.close()


class NotAnswered(Exception):
    """It did not start, or did not do what it was asked."""


@contextlib.contextmanager
def driven(contestant: Contestant, port_base: int = 0) -> Iterator[Driver]:
    """A system that has answered once, ended afterwards. `port_base`: of our own services; 0: any."""
    with tempfile.TemporaryDirectory(prefix=f"rival-{contestant.name}-", ignore_cleanup_errors=True) as place:
        driver = Driver(contestant, Path(place), port_base or free_port_base())
        try:
            yield driver
        finally:
            driver.close()


def wanted() -> list[Contestant]:
    """Those that BENCH_RIVALS names; all, where it names none."""
    names = os.environ.get("BENCH_RIVALS", "").split()
    return [one for one in CONTESTANTS if not names or one.name in names]


def missing(work: Callable[[], None]) -> str:
    """Why it could not be done; empty: it was."""
    try:
        work()
    except (NotAnswered, NotInstallable) as error:
        return str(error).strip().splitlines()[-1][:200]
    return ""
