"""What goes wrong with a whole yard: what runs is killed, stopped, cut off, has no room; each heals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import signal
from collections import Counter
from collections.abc import Awaitable, Callable

from tests.e2e.tcp_proxy import Proxy
from tests.support.processes import Processes
from tests.support.yard import Yard

SERVICES = ("scheduler", "store", "graph", "trainer", "models")


class Lines:
    """What stands between the parts of a yard: who is cut off goes on without those behind it."""

    def __init__(self, yard: Yard) -> None:
        self.agents, self.services = Proxy(yard.port), Proxy(yard.port)
        """From agents, and from the other services, to the scheduler."""
        self.store, self.trainer, self.models = (Proxy(yard.port + offset) for offset in (1, 3, 4))
        """From everybody to the store; from agents to the others."""
        self._yard = yard
        self.all = (self.agents, self.services, self.store, self.trainer, self.models)

    async def start(self) -> None:
        for one in self.all:
            await one.start()

    async def stop(self) -> None:
        for one in self.all:
            await one.stop()

    def options(self) -> dict[str, tuple[str, ...]]:
        """By which each program of the yard goes over them."""
        scheduler, store = ("--scheduler", _address(self.services)), ("--store", _address(self.store))
        trainer, models = _address(self.trainer), _address(self.models)
        others = ("--graph", self._yard.graph, "--trainer", trainer, "--models", models)
        return {
            "scheduler": store, "store": scheduler, "graph": scheduler + store,
            "trainer": (*scheduler, *store, "--endpoint", trainer),
            "models": (*scheduler, *store, "--endpoint", models),
            "agent": ("--scheduler", _address(self.agents), *store, *others),
        }  # fmt: skip


def _address(line: Proxy) -> str:
    return f"127.0.0.1:{line.port}"


class Keeper:
    """Whoever dies is started again, as a service manager would."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._keep())

    async def _keep(self) -> None:
        while True:
            for name in self.processes.names():
                if self.processes.ended(name) is not None:
                    self.processes.start(name)
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class Faults:
    """One after the other, by the dice; `done` counts them by kind."""

    def __init__(self, processes: Processes, lines: Lines, dice: random.Random) -> None:
        self._processes, self._lines, self._dice = processes, lines, dice
        self._names = [*SERVICES, *(name for name in processes.names() if name.startswith("agent"))]
        self.done: Counter[str] = Counter()

    async def run(self, seconds: float) -> None:
        """For so long; at its end everything is healed."""
        kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "killed": self._kill, "killed together": self._kill_some, "stopped": self._pause,
            "cut off": self._cut, "silent line": self._silence, "disk full": self._fill,
        }  # fmt: skip
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(self._dice.uniform(0.5, 3.0))
            kind = self._dice.choice(["killed", *kinds])
            await kinds[kind]()
            self.done[kind] += 1

    def _signal(self, name: str, number: int) -> int:
        """The process that got it; 0: it has ended."""
        if self._processes.ended(name) is not None:
            return 0
        pid = self._processes.pid(name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return pid

    async def _kill(self) -> None:
        self._signal(self._dice.choice(self._names), signal.SIGKILL)

    async def _kill_some(self) -> None:
        for name in self._dice.sample(self._names, self._dice.randint(2, 4)):
            self._signal(name, signal.SIGKILL)

    async def _pause(self) -> None:
        pid = self._signal(self._dice.choice(self._names), signal.SIGSTOP)
        await asyncio.sleep(self._dice.uniform(0.2, 2.5))
        with contextlib.suppress(ProcessLookupError):
            if pid:
                os.kill(pid, signal.SIGCONT)

    async def _cut(self) -> None:
        await self._dice.choice(self._lines.all).cut()

    async def _silence(self) -> None:
        line = self._dice.choice(self._lines.all)
        line.silence()
        await asyncio.sleep(self._dice.uniform(0.5, 3.0))
        line.speak()

    async def _fill(self) -> None:
        """No file of a service may grow, as on a full disk."""
        name = self._dice.choice(SERVICES)
        if self._processes.ended(name) is not None:
            return
        pid = self._processes.pid(name)
        with contextlib.suppress(ProcessLookupError):
            before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
            await asyncio.sleep(self._dice.uniform(0.2, 1.5))
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
