"""The trainer with many jobs: what an event costs it, what hundreds of running instances cost, adoption after a death,
restarts, and a thousand jobs that come and go without leaving anything."""

import asyncio
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from bench.figures import Figure, percentile
from bench.yard import Yard, running_yard
from modelyard.client.aio import Client
from modelyard.training import Address, Plan, Progress, plan_job
from modelyard.training.frameworks import catalogue
from modelyard.v1 import job_pb2
from services.trainer import machine
from services.trainer.state.effects import Effects, InsertBatch, LaunchInstance
from services.trainer.state.events import (
    Event,
    InstanceStarted,
    JobCreated,
    ProgressReported,
    SeatOpened,
    SeatsAccepted,
    Ticked,
)
from services.trainer.state.jobs import Job
from services.trainer.state.state import State

SIZES = (10, 1_000)
EVENTS, ROUNDS = 500, 5
JOBS, EACH = 100, 3
DRAINED = 1_000
RESTARTS, FAILURES = 10, 10
SETTLE_S, WATCH_S = 6.0, 20.0
SLEEPING = """kind: Job
framework: plain
name: sleeping
resources: {cpu: 0.01}
roles: {worker: {count: %d, argv: [sleep, "600"]}}
"""
SHORT = """kind: Job
framework: plain
name: short
resources: {cpu: 1}
roles: {worker: {count: 1, argv: ["true"]}}
"""
# Says when it begins and when it ends; fails whenever it is told to, by a file.
FAILING = """
import sys, time
from pathlib import Path
room = Path(sys.argv[1])
with (room / "times").open("a") as file: file.write(f"begin {time.time()}\\n")
if len((room / "times").read_text().splitlines()) >= 2 * int(sys.argv[2]): time.sleep(600)
time.sleep(0.3)
with (room / "times").open("a") as file: file.write(f"end {time.time()}\\n")
sys.exit(1)
"""
AGAIN = """kind: Job
framework: plain
name: again
resources: {cpu: 0.1}
roles: {worker: {count: 1, argv: [%s], restart: {when: [exit], scope: instance, max: 100, backoff: [100ms, 100ms]}}}
"""
_ENDED = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_STOPPED)


# --- the pure machine


def running_state(jobs: int) -> State:
    """So many jobs of which everything runs."""
    plan = plan_job(SLEEPING % EACH, catalogue.find)
    state = State()
    for number in range(1, jobs + 1):
        effects = machine.step(state, [JobCreated(number, _job(plan), plan)], 1_000)
        while events := _answers(effects):
            effects = machine.step(state, events, 1_000)
    return state


def _job(plan: Plan) -> Job:
    return Job(0, "bench", plan.job.name, plan.framework.id, 0, "", plan.job.queue, plan.job.priority, 0)


def _answers(effects: Effects) -> list[Event]:
    """The scheduler takes everything, agents have room for all."""
    events: list[Event] = []
    for row in effects.rows:
        if isinstance(row, InsertBatch):
            tasks = {(role, n): f"t-{row.batch}-{role}.{n}" for role, each in row.seats.items() for n in each}
            events.append(SeatsAccepted(row.job, row.account, row.batch, tasks))
            place = Address(host="h", ip="127.0.0.1", directory="/d", node="n")
            events += [SeatOpened(row.job, *key, task, place) for key, task in tasks.items()]
    for wish in effects.wishes:
        if isinstance(wish, LaunchInstance):
            events.append(InstanceStarted(wish.job, wish.role, wish.index, wish.task, wish.epoch))
    return events


def event_us(state: State) -> float:
    """An event of one job."""
    numbers = [*state.jobs]
    begun = time.process_time()
    for step in range(EVENTS):
        event = ProgressReported(
            numbers[step % len(numbers)], "worker", 0, Progress(step=step, metrics={"loss": 1})
        )
        machine.step(state, [event], 1_100)
    return (time.process_time() - begun) / EVENTS * 1e6


def second_ms(state: State, now_ms: int) -> float:
    """What one second in which nothing happens takes."""
    begun = time.process_time()
    for at in (now_ms, now_ms + 500):
        machine.step(state, [Ticked()], at)
    return (time.process_time() - begun) * 1e3


def pure() -> list[Figure]:
    events: dict[int, list[float]] = {size: [] for size in SIZES}
    seconds: dict[int, list[float]] = {size: [] for size in SIZES}
    states = {size: running_state(size) for size in SIZES}
    for turn in range(ROUNDS):
        for size, state in states.items():
            events[size].append(event_us(state))
            seconds[size].append(second_ms(state, 10_000 * (turn + 1)))
    figures = []
    for size in SIZES:
        figures += [
            Figure(f"an event in the pure machine, {size:,} running jobs", "µs", tuple(events[size]), "flat"),
            Figure(f"a quiet second of it, {size:,} running jobs of {EACH}", "ms", tuple(seconds[size])),
        ]
    return figures


# --- the whole suite


class Desk:
    """One yard, seen from outside."""

    def __init__(self, yard: Yard, client: Client) -> None:
        self.yard = yard
        self.client = client

    async def sleeping(self) -> list[str]:
        """Many jobs, all of them running."""
        made = [(await self.client.jobs.create(SLEEPING % EACH)).id for _ in range(JOBS)]
        for job in made:
            await self._until(job, job_pb2.JOB_STATE_RUNNING)
        return made

    async def _until(self, job: str, *states: int) -> job_pb2.Job:
        async for response in self.client.jobs.watch(job):
            if response.job.state in states:
                return response.job
        raise RuntimeError(f"{job} has ended otherwise")

    async def running_ratio(self) -> float:
        """Cores that all services, agents and shims take while nothing happens."""
        await asyncio.sleep(SETTLE_S)
        before, begun = self.cpu_s(), time.perf_counter()
        await asyncio.sleep(WATCH_S)
        return (self.cpu_s() - before) / (time.perf_counter() - begun)

    def cpu_s(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self.processes())

    def processes(self, word: str = "") -> list[psutil.Process]:
        """Of the suite; with this among their words."""
        mark = str(self.yard.state)
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = " ".join(process.info["cmdline"] or [])
            if mark in words and word in words:
                found.append(process)
        return found

    async def adoption_s(self) -> float:
        """kill -9 of the trainer → its successor has heard both agents, all of their seats told."""
        log = self.yard.state / "logs" / "trainer.log"
        seen = log.read_text().count("agent_greeted")
        begun = time.perf_counter()
        self.trainer().send_signal(signal.SIGKILL)
        await _when(lambda: log.read_text().count("agent_greeted") >= seen + 2)
        # An answer is given after what had come before it is on disk.
        await self.client.jobs.stop(await self._one_more())
        return time.perf_counter() - begun

    async def _one_more(self) -> str:
        return (await self.client.jobs.create(f"{SLEEPING % 1}suspend: true\n")).id

    def trainer(self) -> psutil.Process:
        (found,) = self.processes("services.trainer")
        return found

    async def epochs(self, jobs: Sequence[str]) -> set[int]:
        return {one.epoch for job in jobs for one in await self.client.jobs.instances(job)}

    async def restart_s(self) -> list[float]:
        """An instance fails → its next processes begin; 0.1 s of back-off included."""
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "failing.py"
            program.write_text(FAILING)
            argv = f"{sys.executable}, {program}, {folder}, {RESTARTS + 1}"
            job = (await self.client.jobs.create(AGAIN % argv)).id
            times = Path(folder) / "times"
            await _when(lambda: times.exists() and times.read_text().count("begin") > RESTARTS)
            moments = [(word, float(at)) for word, at in map(str.split, times.read_text().splitlines())]
            await self.client.jobs.stop(job)
        return [moments[n + 1][1] - at for n, (word, at) in enumerate(moments[:-1]) if word == "end"]

    async def status_ms(self) -> float:
        """A process is killed → whoever watches is told that its job has failed."""
        job = (await self.client.jobs.create(SLEEPING.replace("600", "601") % 1)).id
        await self._until(job, job_pb2.JOB_STATE_RUNNING)
        victims: list[int] = []
        # Its seat says that it runs when it is forked; a moment later it is what it is to be.
        await _when(lambda: bool(victims.extend(_pids("sleep", "601")) or victims))
        begun = time.perf_counter()
        os.kill(victims[0], signal.SIGKILL)
        await self._until(job, job_pb2.JOB_STATE_DRAINING, *_ENDED)
        return (time.perf_counter() - begun) * 1e3

    async def drain(self, count: int) -> float:
        """Seconds for so many short jobs, all of them queued at once."""
        begun = time.perf_counter()
        gate = asyncio.Semaphore(50)

        async def one() -> str:
            async with gate:
                return (await self.client.jobs.create(SHORT)).id

        jobs = await asyncio.gather(*(one() for _ in range(count)))
        for job in jobs:
            found = await self.client.jobs.get(job)
            if found.state not in _ENDED:
                found = await self._until(job, *_ENDED)
            if found.state != job_pb2.JOB_STATE_SUCCEEDED:
                raise RuntimeError(f"{job}: {found.message}")
        return time.perf_counter() - begun

    def leavings(self) -> dict[str, float]:
        """What a leak would make grow."""
        trainer = self.trainer()
        agents = [p for p in self.processes("services.agent") if "launcher" not in " ".join(p.cmdline())]
        path = self.yard.state / "trainer" / "trainer.db"
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            rows = {
                name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
                for name in ("batch", "errand")
            }
        return {
            "fds of the trainer": trainer.num_fds(),
            "fds of the agents": sum(agent.num_fds() for agent in agents),
            "RSS of the trainer, MiB": trainer.memory_info().rss / (1 << 20),
            "processes": len(self.processes()),
            "rows owed": sum(rows.values()),
        }


def _pids(program: str, word: str) -> list[int]:
    """Processes of a program with one word; its path may stand before it."""
    return [
        each.pid
        for each in psutil.process_iter(["cmdline"])
        if (words := each.info["cmdline"] or [""])[1:] == [word] and Path(words[0]).name == program
    ]


async def _when(is_so: Callable[[], bool]) -> None:
    while True:
        if is_so():
            return
        await asyncio.sleep(0.01)


async def _measure(yard: Yard) -> list[Figure]:
    async with Client(state=yard.state) as client:
        desk = Desk(yard, client)
        await desk.drain(20)
        drains, growth = [], dict[str, float]()
        for _ in range(2):
            before = desk.leavings()
            drains.append(await desk.drain(DRAINED))
            await asyncio.sleep(SETTLE_S)
            after = desk.leavings()
            growth = {name: after[name] - before[name] for name in before}
        print(f"drained: {drains}, {growth}", file=sys.stderr)
        restarts = await desk.restart_s()
        statuses = [await desk.status_ms() for _ in range(FAILURES)]
        jobs = await desk.sleeping()
        share = await desk.running_ratio()
        print(f"restarts {restarts}, told {statuses}, {share} of a core", file=sys.stderr)
        adoptions = [await desk.adoption_s() for _ in range(3)]
        if await desk.epochs(jobs) != {1}:
            raise RuntimeError("somebody was started twice")
        for job in jobs:
            await client.jobs.stop(job)
    return [
        Figure(f"{JOBS * EACH} running instances of {JOBS} jobs, all services, agents and shims", "% of a core",
               (share * 100,), "≤ 30"),
        Figure(f"kill -9 of the trainer → {JOBS} running jobs adopted", "s", tuple(adoptions), "≤ 3"),
        Figure("an instance fails → it runs again, 0.1 s back-off included", "s", tuple(restarts), "≤ 1.1"),
        Figure("a process dies → its job's watcher is told, p95", "ms", (percentile(statuses, 0.95),), "≤ 1,000"),
        Figure(f"{DRAINED:,} jobs of one instance, all queued at once: a job", "ms",
               tuple(seconds / DRAINED * 1e3 for seconds in drains)),
        *(Figure(f"a second {DRAINED:,} makes grow: {name}", "", (value,), "0") for name, value in growth.items()),
    ]  # fmt: skip


def idle() -> list[Figure]:
    """A yard with a trainer that nobody uses."""
    starts, sizes, shares = [], [], []
    for _ in range(3):
        with running_yard("--trainer") as yard:
            starts.append(yard.up_s)
            time.sleep(SETTLE_S)
            named = [
                p
                for p in psutil.process_iter(["cmdline"])
                if str(yard.state) in " ".join(p.info["cmdline"] or [])
            ]
            own = list({p.pid: p for root in named for p in (root, *root.children(recursive=True))}.values())
            before = sum(sum(p.cpu_times()[:2]) for p in own)
            time.sleep(SETTLE_S)
            shares.append((sum(sum(p.cpu_times()[:2]) for p in own) - before) / SETTLE_S * 100)
            sizes.append(sum(p.memory_info().rss for p in own) / 1e6)
    return [
        Figure("`yard up --trainer` until it returns", "s", tuple(starts), "≤ 2.0"),
        Figure("idle with a trainer: RSS of all processes", "MB", tuple(sizes), "≤ 350"),
        Figure("idle with a trainer: CPU", "% of a core", tuple(shares), "≤ 2"),
    ]


def measure() -> list[Figure]:
    figures = [*pure(), *idle()]
    with running_yard("--agents", "2", "--cpu", "8", "--trainer") as yard:
        return figures + asyncio.run(_measure(yard))
