"""Random faults on real processes while clients work; afterwards every promise is checked. Promises 1–7.

CHAOS_SEED and CHAOS_SECONDS make longer and other runs: ``CHAOS_SECONDS=600 make chaos``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from modelyard.client.aio import Client
from modelyard.client.specs import command_spec
from modelyard.v1 import task_pb2
from tests.e2e.history import Call, History
from tests.e2e.tcp_proxy import Proxy
from tests.support.wait import wait_until
from tests.support.yard import Yard, new_yard
from tests.support.yard_process import environment

SEED = int(os.environ.get("CHAOS_SEED", "20"))
SECONDS = float(os.environ.get("CHAOS_SECONDS", "25"))
CLIENTS = 3
AGENTS = ("chaos-1", "chaos-2")


class Agents:
    """Agents that dial through the proxy; whoever dies is started again, as a service manager would."""

    def __init__(self, yard: Yard, proxy: Proxy) -> None:
        self._yard = yard
        self._proxy = proxy
        self._keepers: list[asyncio.Task[None]] = []
        self.processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self) -> None:
        self._keepers = [asyncio.ensure_future(self._keep(name)) for name in AGENTS]
        await wait_until(
            lambda: all(self._yard.pid(f"agent-{name}") for name in AGENTS), "agents serve", timeout_s=30
        )

    async def _keep(self, name: str) -> None:
        words = ("--node", name, "--scheduler", f"127.0.0.1:{self._proxy.port}", "--store", self._yard.store)
        words += ("--cpu", "4", "--memory", "4Gi", "--state", str(self._yard.state))
        words += ("--join-token-file", str(self._yard.state / "secrets" / "join.token"))
        env = environment(self._yard.state)
        with (self._yard.state / "logs" / f"agent-{name}.log").open("ab") as log:
            while True:
                self.processes[name] = process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "services.agent", *words,
                    env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                )  # fmt: skip
                await process.wait()
                await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """SIGTERM, as when a machine is shut down in order."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        await asyncio.gather(*(process.wait() for process in self.processes.values()))


class Chaos:
    """Does one fault after the other, each healed before the next."""

    def __init__(
        self, yard: Yard, proxy: Proxy, agents: Agents, history: History, dice: random.Random
    ) -> None:
        self._yard, self._proxy, self._agents, self._history, self._dice = yard, proxy, agents, history, dice
        self._faults: list[Callable[[], Awaitable[str]]] = [
            self._kill_scheduler, self._kill_agent, self._kill_agent, self._kill_store, self._kill_both,
            self._kill_launcher, self._pause_scheduler, self._pause_agent, self._cut, self._delay, self._silence,
        ]  # fmt: skip

    async def run(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            await asyncio.sleep(self._dice.uniform(0.2, 1.5))
            self._history.faults.append(await self._dice.choice(self._faults)())

    async def _kill(self, service: str) -> str:
        pid = self._yard.pid(service)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return f"kill {service}"

    async def _kill_scheduler(self) -> str:
        return await self._kill("scheduler")

    async def _kill_store(self) -> str:
        return await self._kill("store")

    async def _kill_agent(self) -> str:
        return await self._kill(f"agent-{self._dice.choice(AGENTS)}")

    async def _kill_both(self) -> str:
        """Scheduler and an agent at one instant."""
        return f"{await self._kill_scheduler()} and {await self._kill_agent()}"

    async def _kill_launcher(self) -> str:
        """Its workers go on: the agent takes them over."""
        for pid in self._yard.launchers()[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return "kill launcher"

    async def _pause(self, service: str) -> str:
        pid, pause_s = self._yard.pid(service), self._dice.uniform(0.2, 2.5)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(pause_s)
                os.kill(pid, signal.SIGCONT)
        return f"pause {service} {pause_s:.1f} s"

    async def _pause_scheduler(self) -> str:
        return await self._pause("scheduler")

    async def _pause_agent(self) -> str:
        return await self._pause(f"agent-{self._dice.choice(AGENTS)}")

    async def _cut(self) -> str:
        await self._proxy.cut()
        return "cut"

    async def _delay(self) -> str:
        self._proxy.delay_s = self._dice.uniform(0.02, 0.2)
        await asyncio.sleep(self._dice.uniform(0.5, 2.0))
        self._proxy.delay_s = 0.0
        return "delay"

    async def _silence(self) -> str:
        self._proxy.silence()
        await asyncio.sleep(self._dice.uniform(0.5, 3.0))
        self._proxy.speak()
        return "silence"


class Worker:
    """A client that works through the faults and writes down what it is told."""

    def __init__(self, client: Client, history: History, dice: random.Random, number: int) -> None:
        self._client, self._history, self._dice, self._number = client, history, dice, number
        self._count = 0

    async def run(self, until: asyncio.Event) -> None:
        kinds = [self._single, self._single, self._batch, self._array, self._cancelled, self._calls]
        while not until.is_set():
            await self._dice.choice(kinds)()

    def _command(self, seconds: float) -> tuple[str, task_pb2.TaskSpec]:
        self._count += 1
        token = f"c{self._number}-{self._count}"
        spec = command_spec(
            ["sh", "-c", f"sleep {seconds:.2f}; echo {token} >> {self._history.tokens}"], {"cpu": 0.2}
        )
        return token, spec

    async def _submit(self, kind: str, *seconds: float) -> list[Call]:
        made = [self._command(one) for one in seconds]
        ids = await self._client.tasks.submit(*(spec for _, spec in made))
        calls = [Call(kind, task_id, token) for task_id, (token, _) in zip(ids, made, strict=True)]
        self._history.calls += calls
        return calls

    async def _follow(self, calls: list[Call]) -> None:
        outcomes = await asyncio.gather(*(self._client.outcome(call.task_id) for call in calls))
        for call, outcome in zip(calls, outcomes, strict=True):
            call.told.append(outcome.state)

    async def _single(self) -> None:
        await self._follow(await self._submit("single", self._dice.uniform(0, 1.0)))

    async def _batch(self) -> None:
        await self._follow(await self._submit("batch", *(self._dice.uniform(0, 0.6) for _ in range(12))))

    async def _array(self) -> None:
        spec = command_spec(["sleep", f"{self._dice.uniform(0, 0.2):.2f}"], {"cpu": 0.2, "array_size": 10})
        [task_id] = await self._client.tasks.submit(spec)
        call = Call("array", task_id, "")
        self._history.calls.append(call)
        await self._follow([call])

    async def _cancelled(self) -> None:
        calls = await self._submit("cancelled", 0.1, 30)
        for call in calls:
            call.cancelled = True
        await asyncio.sleep(self._dice.uniform(0, 0.5))
        await self._client.tasks.cancel(*(call.task_id for call in calls), grace_s=0.2)
        await self._follow(calls)

    async def _calls(self) -> None:
        wanted = [self._dice.randrange(10**6) for _ in range(20)]
        got = await self._client.map("echo", [{"value": value} for value in wanted])
        self._history.results += list(zip(wanted, got, strict=True))


@contextlib.asynccontextmanager
async def chaotic_yard() -> AsyncIterator[tuple[Yard, Proxy, Agents]]:
    """Scheduler and store under `yard up`, agents behind the proxy."""
    with new_yard(agents=0) as yard:
        proxy = Proxy(yard.port)
        await proxy.start()
        agents = Agents(yard, proxy)
        try:
            await agents.start()
            yield yard, proxy, agents
        finally:
            await agents.stop()
            await proxy.stop()


@pytest.mark.asyncio
@pytest.mark.timeout(180 + 3 * SECONDS)
async def test_nothing_is_lost_doubled_or_left_over_in_the_chaos(tmp_path: Path) -> None:
    history = History(tmp_path / "tokens")
    over = asyncio.Event()
    async with chaotic_yard() as (yard, proxy, agents), contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(yard.client()) for _ in range(CLIENTS)]
        workers = [
            asyncio.ensure_future(Worker(client, history, random.Random(SEED * 1000 + n), n).run(over))
            for n, client in enumerate(clients)
        ]
        await Chaos(yard, proxy, agents, history, random.Random(SEED)).run(SECONDS)
        over.set()
        # I12: after the last fault everything that was asked for ends.
        done, late = await asyncio.wait(workers, timeout=90)
        for worker in late:
            worker.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        report = f"seed {SEED}, faults {history.faults}"
        assert not late, f"{len(late)} clients still wait; {report}\n{await unfinished(clients[0])}"
        for worker in done:
            worker.result()
        wrong = await history.check(clients[0])
        assert not wrong, f"{report}\n" + "\n".join(wrong[:20])
        await wait_until(
            lambda: not yard.task_leavings(), "nothing is left", timeout_s=10, state=yard.task_leavings
        )
        for node in await clients[0].nodes.occupancy():
            assert not [r.resource for r in node.resources if r.reserved], node
    print(f"\n{report}: {len(history.calls)} tasks and {len(history.results)} calls, none lost, none doubled")


async def unfinished(client: Client) -> str:
    """The tasks that still have not ended, and why."""
    states = [task_pb2.TASK_STATE_QUEUED, task_pb2.TASK_STATE_ASSIGNED, task_pb2.TASK_STATE_RUNNING]
    page = await client.tasks.list(task_pb2.TaskFilter(states=states))
    return "\n".join(
        f"{t.id} {t.state} on {t.node!r} attempt {t.attempt}: {t.detail.message}" for t in page.tasks
    )
