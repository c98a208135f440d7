"""Random faults on real processes while jobs train; afterwards every promise is checked (S3.4, S3.8–S3.11).

CHAOS_SEED and CHAOS_SECONDS make longer and other runs: ``make chaos SECONDS=600``. CHAOS_KEEP names a directory that
gets a copy of the state of the yard, logs included.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from modelyard.client.aio import Client
from modelyard.errors import YardError
from modelyard.v1 import job_pb2, sweep_pb2, task_pb2
from tests.e2e.tcp_proxy import Proxy
from tests.e2e.training_history import ENDED, Run, TrainingHistory
from tests.e2e.training_load import Load
from tests.support.processes import Processes
from tests.support.wait import wait_until
from tests.support.yard import Yard, new_yard

SEED = int(os.environ.get("CHAOS_SEED", "5"))
SECONDS = float(os.environ.get("CHAOS_SECONDS", "20"))
KEEP = os.environ.get("CHAOS_KEEP", "")
AGENTS = 3
CLIENTS = 4
AFTERWARDS_S = 120.0
CLEARED_S = 10.0
SUCCEEDED, FAILED, STOPPED = ENDED
_SWEEP_ENDED = (sweep_pb2.SWEEP_STATE_SUCCEEDED, sweep_pb2.SWEEP_STATE_FAILED, sweep_pb2.SWEEP_STATE_STOPPED)
_TASK_ENDED = (task_pb2.TASK_STATE_SUCCEEDED, task_pb2.TASK_STATE_FAILED, task_pb2.TASK_STATE_CANCELLED)


class Keeper:
    """Whoever dies is started again, as a service manager would."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self._keepers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._keepers = [asyncio.ensure_future(self._keep(name)) for name in self.processes.names()]

    async def _keep(self, name: str) -> None:
        while True:
            if self.processes.ended(name) is not None:
                self.processes.start(name)
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)


class Chaos:
    """Does one fault after the other, each healed before the next."""

    def __init__(
        self, yard: Yard, keeper: Keeper, lines: list[Proxy], history: TrainingHistory, dice: random.Random
    ) -> None:
        self._yard, self._keeper, self._lines, self._history, self._dice = yard, keeper, lines, history, dice
        self._agents = [f"agent-{node}" for node in yard.nodes]
        self._faults: list[Callable[[], Awaitable[str]]] = [
            self._kill_trainer, self._kill_trainer, self._kill_agent, self._kill_agent, self._kill_scheduler,
            self._kill_store, self._kill_some, self._kill_launcher, self._kill_shim, self._pause_service,
            self._pause_agent, self._pause_shim, self._cut, self._delay, self._silence,
        ]  # fmt: skip

    async def run(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            await asyncio.sleep(self._dice.uniform(0.2, 1.5))
            self._history.faults.append(await self._dice.choice(self._faults)())

    def _signal(self, pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    async def _kill(self, name: str) -> str:
        if self._keeper.processes.ended(name) is None:
            self._signal(self._keeper.processes.pid(name), signal.SIGKILL)
        return f"kill {name}"

    async def _kill_trainer(self) -> str:
        return await self._kill("trainer")

    async def _kill_scheduler(self) -> str:
        return await self._kill("scheduler")

    async def _kill_store(self) -> str:
        return await self._kill("store")

    async def _kill_agent(self) -> str:
        return await self._kill(self._dice.choice(self._agents))

    async def _kill_some(self) -> str:
        """Several at one instant."""
        names = self._dice.sample(["scheduler", "trainer", *self._agents], self._dice.randint(2, 4))
        return " and ".join([await self._kill(name) for name in names])

    async def _kill_launcher(self) -> str:
        """Its shims go on: the agent takes them over."""
        for pid in self._dice.sample(self._yard.launchers(), 1):
            self._signal(pid, signal.SIGKILL)
        return "kill launcher"

    def _shim(self) -> int:
        """Any process that a launcher has forked; 0: there is none."""
        launchers = self._yard.launchers()
        words = self._yard.processes()
        forked = [pid for pid in words if "services.agent.launcher" in words[pid] and pid not in launchers]
        return self._dice.choice(forked) if forked else 0

    async def _kill_shim(self) -> str:
        """With it goes what it runs."""
        pid = self._shim()
        if pid:
            self._signal(pid, signal.SIGKILL)
        return f"kill shim {pid}"

    async def _pause(self, pid: int, what: str) -> str:
        pause_s = self._dice.uniform(0.2, 2.5)
        if pid:
            self._signal(pid, signal.SIGSTOP)
            await asyncio.sleep(pause_s)
            self._signal(pid, signal.SIGCONT)
        return f"pause {what} {pause_s:.1f} s"

    async def _pause_service(self) -> str:
        name = self._dice.choice(("trainer", "trainer", "scheduler", "store"))
        return await self._pause(self._yard.pid(name), name)

    async def _pause_agent(self) -> str:
        name = self._dice.choice(self._agents)
        return await self._pause(self._yard.pid(name), name)

    async def _pause_shim(self) -> str:
        return await self._pause(self._shim(), "shim")

    async def _cut(self) -> str:
        await self._dice.choice(self._lines).cut()
        return "cut"

    async def _delay(self) -> str:
        line = self._dice.choice(self._lines)
        line.delay_s = self._dice.uniform(0.02, 0.2)
        await asyncio.sleep(self._dice.uniform(0.5, 2.0))
        line.delay_s = 0.0
        return "delay"

    async def _silence(self) -> str:
        line = self._dice.choice(self._lines)
        line.silence()
        await asyncio.sleep(self._dice.uniform(0.5, 3.0))
        line.speak()
        return "silence"


class Trainee:
    """A client that trains through the faults and writes down what it is told."""

    def __init__(self, client: Client, history: TrainingHistory, program: Path, dice: random.Random) -> None:
        self._client, self._history, self._dice = client, history, dice
        self._load = Load(program, dice)

    async def run(self, until: asyncio.Event) -> None:
        load = self._load
        kinds: list[Callable[[], Awaitable[None]]] = [
            lambda: self._whole("gang", load.gang(), SUCCEEDED), lambda: self._whole("gang", load.gang(), SUCCEEDED),
            lambda: self._whole("loners", load.loners(), SUCCEEDED),
            lambda: self._whole("hopeless", load.hopeless(), FAILED),
            lambda: self._whole("chain", load.chain(), SUCCEEDED),
            self._scaled, self._stopped, self._paused, self._swept,
        ]  # fmt: skip
        while not until.is_set():
            await self._dice.choice(kinds)()

    async def _begin(self, kind: str, text: str, *may_end: int) -> Run:
        job = await self._client.jobs.create(text, silent=True)
        run = Run(kind, job.id, may_end)
        self._history.runs.append(run)
        return run

    async def _whole(self, kind: str, text: str, *may_end: int) -> None:
        await self._follow(await self._begin(kind, text, *may_end))

    async def _follow(self, run: Run) -> None:
        """To its end; then nothing of it may live (S3.11)."""
        async for told in self._client.jobs.watch(run.job):
            if told.HasField("job") and told.job.state in ENDED:
                run.told.append(told.job.state)
        run.told.append((await self._client.jobs.get(run.job)).state)
        await wait_until(
            lambda: not self._history.alive(run.job), f"nothing lives of {run.kind} {run.job}",
            timeout_s=CLEARED_S, state=lambda: (self._history.alive(run.job), self._history.lines(run.job)),
        )  # fmt: skip

    async def _until(self, run: Run, *states: int) -> None:
        async for told in self._client.jobs.watch(run.job):
            if told.HasField("job") and told.job.state in states:
                return

    async def _scaled(self) -> None:
        run = await self._begin("served", self._load.served(), SUCCEEDED)
        for _ in range(2):
            await asyncio.sleep(self._dice.uniform(0, 1))
            # It may have ended.
            with contextlib.suppress(YardError):
                await self._client.jobs.scale(run.job, "client", self._dice.randint(1, 4))
        await self._follow(run)

    async def _stopped(self) -> None:
        run = await self._begin("lasting", self._load.lasting(), STOPPED)
        await asyncio.sleep(self._dice.uniform(0, 2))
        await self._client.jobs.stop(run.job)
        await self._follow(run)

    async def _paused(self) -> None:
        run = await self._begin("pausing", self._load.pausing(), SUCCEEDED)
        await asyncio.sleep(self._dice.uniform(0, 1.5))
        # It may have ended.
        with contextlib.suppress(YardError):
            await self._client.jobs.suspend(run.job)
            await self._until(run, job_pb2.JOB_STATE_SUSPENDED, *ENDED)
            await wait_until(
                lambda: not self._history.alive(run.job), f"nothing lives of suspended {run.job}"
            )
            await asyncio.sleep(self._dice.uniform(0, 0.5))
            await self._client.jobs.resume(run.job)
        await self._follow(run)

    async def _swept(self) -> None:
        sweep = await self._client.sweeps.create(self._load.sweep(), silent=True)
        async for _ in self._client.sweeps.watch(sweep.id):
            pass
        assert (await self._client.sweeps.get(sweep.id)).state in _SWEEP_ENDED
        trials = await self._client.sweeps.trials(sweep.id)
        runs = [Run(f"trial {one.number} of {sweep.id}", one.job_id, (SUCCEEDED,)) for one in trials]
        assert len(runs) == len({run.job for run in runs}) == 4, trials
        self._history.runs += runs
        await asyncio.gather(*(self._follow(run) for run in runs))


@pytest.fixture
def history() -> Iterator[TrainingHistory]:
    room = Path(tempfile.mkdtemp(prefix="yard-room-"))
    yield TrainingHistory(room / "jobs")
    shutil.rmtree(room, ignore_errors=True)


@contextlib.asynccontextmanager
async def chaotic_yard() -> AsyncIterator[tuple[Yard, Keeper, list[Proxy]]]:
    """Three agents whose lines to scheduler and trainer are proxies; nobody has a supervisor but this test."""
    with new_yard(is_up=False, agents=AGENTS) as yard:
        lines = [Proxy(yard.port), Proxy(yard.port + 3)]
        for line in lines:
            await line.start()
        more = {
            "agent": ("--scheduler", f"127.0.0.1:{lines[0].port}"),
            "trainer": ("--endpoint", f"127.0.0.1:{lines[1].port}"),
        }
        processes = await asyncio.to_thread(Processes, yard, trainer=True, more=more)
        keeper = Keeper(processes)
        try:
            keeper.start()
            yield yard, keeper, lines
        finally:
            await keeper.stop()
            await asyncio.to_thread(processes.stop)
            if KEEP:
                shutil.copytree(yard.state, KEEP, dirs_exist_ok=True, ignore_dangling_symlinks=True)
            for line in lines:
                await line.stop()


@pytest.mark.asyncio
@pytest.mark.timeout(240 + 3 * SECONDS)
async def test_jobs_end_once_and_nothing_of_them_is_doubled_or_left_over_in_the_chaos(
    history: TrainingHistory,
) -> None:
    program, over = history.begin(), asyncio.Event()
    async with chaotic_yard() as (yard, keeper, lines), contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(yard.client()) for _ in range(CLIENTS)]
        trainees = [
            asyncio.ensure_future(Trainee(client, history, program, random.Random(SEED * 1000 + n)).run(over))
            for n, client in enumerate(clients)
        ]
        chaos = asyncio.ensure_future(Chaos(yard, keeper, lines, history, random.Random(SEED)).run(SECONDS))
        await asyncio.wait([chaos, *trainees], return_when=asyncio.FIRST_COMPLETED)
        over.set()
        done, late = await asyncio.wait([chaos, *trainees], timeout=AFTERWARDS_S)
        for one in late:
            one.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        report = f"seed {SEED}, faults {history.faults}"
        assert not late, f"{len(late)} still wait; {report}\n{await unfinished(clients[0], history)}"
        for one in done:
            assert one.exception() is None, (
                f"{one.exception()}; {report}\n{await unfinished(clients[0], history)}"
            )
        wrong = [text for run in history.runs for text in await checked(clients[0], history, run)]
        assert not wrong, f"{report}\n" + "\n".join(wrong[:20])
        await wait_until(
            lambda: all_have_ended(clients[0], history), "every seat has ended", timeout_s=CLEARED_S,
            state=lambda: history.runs,
        )  # fmt: skip
        await wait_until(
            lambda: not yard.task_leavings(), "nothing is left", timeout_s=CLEARED_S, state=yard.task_leavings
        )
    print(f"\n{report}: {len(history.runs)} jobs, each ended once, none doubled")


async def all_have_ended(client: Client, history: TrainingHistory) -> bool:
    """Whether the scheduler holds no seat of theirs any more (S3.11)."""
    asked = [client.tasks.list(task_pb2.TaskFilter(labels={"job": run.job})) for run in history.runs]
    return all(one.state in _TASK_ENDED for page in await asyncio.gather(*asked) for one in page.tasks)


async def checked(client: Client, history: TrainingHistory, run: Run) -> list[str]:
    """What is not as promised of a job that has ended, with what is known of it."""
    job, instances = await client.jobs.get(run.job), await client.jobs.instances(run.job)
    wrong = history.check(run, job, instances)
    if wrong:
        wrong.append(f"{job}\n{instances}\n" + "\n".join(map(str, history.lines(run.job))))
    return wrong


async def unfinished(client: Client, history: TrainingHistory) -> str:
    """The jobs that still have not ended, and why."""
    found: list[object] = []
    for run in history.runs:
        job = await client.jobs.get(run.job)
        if job.state not in ENDED:
            job.ClearField("document")
            found += [run, job, await client.jobs.explain(run.job), await client.jobs.instances(run.job)]
            found += history.lines(run.job)
    return "\n".join(map(str, found))
