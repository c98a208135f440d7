"""The agent put together: its parts, its loops, its start and its end.

How it ends: SIGTERM and SIGINT give back what has not started, let the rest end, and take launcher
and workers along; after SIGHUP, a crash or SIGKILL launcher and workers go on, and the next agent
process finds them again. After SIGUSR1 the process itself becomes that next agent, with the code
that is installed by then.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import Awaitable

from modelyard.v1 import agent_link_pb2 as pb
from services.agent.config import AgentConfig, Places, parse_bytes
from services.agent.engine import Engine
from services.agent.figures import of_agent
from services.agent.host import containers, cookies
from services.agent.host.host import (
    capacity_units,
    make_hello,
    next_incarnation,
    node_name,
    read_capacity,
)
from services.agent.host.limits import Limiter
from services.agent.host.offered import OfferedParameters
from services.agent.keeping.caches import Caches
from services.agent.keeping.handover import Handover
from services.agent.keeping.holdings import Holdings
from services.agent.keeping.outputs import OutputKeeper
from services.agent.keeping.shims import ShimFiles
from services.agent.keeping.suspensions import Suspensions
from services.agent.keeping.sweep import Cleaner
from services.agent.link.join import Credentials
from services.agent.link.link import Link
from services.agent.link.logs import LogPusher
from services.agent.link.surroundings import Surroundings
from services.agent.messages.specifications import Specifications
from services.agent.preparation.artifacts import Artifacts
from services.agent.preparation.bundles import Bundles
from services.agent.preparation.commands import CommandSetup
from services.agent.preparation.environments import Environments
from services.agent.preparation.images import Images
from services.agent.preparation.inputs import Inputs
from services.agent.preparation.preparation import Preparer
from services.agent.preparation.reach import Reach
from services.agent.seats.link import SeatLinks, Speaker
from services.agent.seats.seats import Seats
from services.agent.tasks.events import DrainBegan, WorkReported
from services.agent.tasks.model import Phase
from services.agent.tasks.state import Settings, State
from services.agent.workers.launcher_client import LauncherFailed
from services.agent.workers.workers import Workers
from services.chassis import failpoints, logs
from services.chassis.clock import SystemClock
from services.chassis.errors import StartRefused
from services.chassis.metrics.figures import Family
from services.chassis.metrics.registry import make_metrics
from services.chassis.process import memory
from services.chassis.process.state_dir import StateLock, ready_file, write_ready
from services.chassis.process.supervise import Loops

_log = logs.get_logger("agent.service")

TICK_S = 1.0
BEGIN_ANEW = -1
SWEEP_S = 60.0
TRIM_S = 600.0
ACK_WAIT_S = 5.0
VISIBLE_MS = 10_000
"""After so long a command's effect stands in the window that placement uses."""


def run(config: AgentConfig) -> int:
    """Runs the agent until it is told to stop; the process's exit code (2: the start was refused)."""
    logs.setup(config.log_level, config.log_format)
    try:
        failpoints.arm(os.environ)
        code = asyncio.run(_live(config))
    except (StartRefused, LauncherFailed) as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 2

    if code == BEGIN_ANEW:
        _log.info("agent_begins_anew")
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    return code


async def _live(config: AgentConfig) -> int:
    stopping, leaving, renewing = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, leaving.set)
    loop.add_signal_handler(signal.SIGUSR1, renewing.set)
    node = node_name(config)
    name = f"agent-{node}"
    with StateLock(config.state_dir, name):
        agent = Agent(config, node)
        is_refused = False
        metrics = make_metrics(config.metrics_port)
        metrics.add(agent.figures)
        try:
            await agent.open()
            ended = await _first(
                stopping.wait(), leaving.wait(), agent.crashed(), renewing.wait(), agent.serve(name)
            )
            if stopping.is_set():
                await agent.drain()
            return {2: 1, 3: BEGIN_ANEW}.get(ended, 0)
        except StartRefused:
            is_refused = True
            raise
        finally:
            metrics.close()
            await agent.close(shut_down=stopping.is_set() or (is_refused and agent.is_idle))
            ready_file(config.state_dir, name).unlink(missing_ok=True)


async def _first(*waits: Awaitable[object]) -> int:
    """The number of the wait that ends first; the others are cancelled. An error of it is raised."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        return min(tasks.index(task) for task in done)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Agent:
    """One agent process."""

    def __init__(self, config: AgentConfig, node: str) -> None:
        self._config = config
        self._clock = SystemClock()
        self._loops = Loops()
        self._node = node
        self._places = places = Places.of(config.state_dir, node)
        self._capacity = read_capacity(config)
        has_gpus = bool(self._capacity.gpu_devices)
        self._credentials = Credentials(places.credentials, node, config)
        self._credentials.prepare()
        unique = hashlib.sha256(str(places.root).encode()).hexdigest()[:12]
        self._limiter = Limiter.open(config.enforcement, unique)
        self._specifications = Specifications(places.specifications, config.task_pids)
        self._state = State(
            capacity_units(self._capacity),
            _settings(config),
            self._clock.now_ms() - self._clock.monotonic_ms(),
        )
        self._artifacts = Artifacts(self._credentials.store_channel)
        self._logs = LogPusher(places, self._credentials.agent_channel)
        self._cleaner = Cleaner(places, self._logs.is_busy)
        self._shims = ShimFiles(places)
        credentials = self._credentials
        reach = Reach(config.addresses(), lambda: credentials.ca_file, lambda: credentials.identity_file)
        self._commands = CommandSetup(places, node, has_gpus, reach)
        self._engine = Engine(
            self._state, self._clock, places, self._specifications, self._limiter, self._logs,
            self._commands, self._cleaner, self._shims, Suspensions(places.suspensions, self._clock),
            Holdings(places.holdings),
            lambda urgent: self._link.notify(urgent=urgent),
        )  # fmt: skip
        self._workers = Workers(places, self._engine.tell_of_worker, self._engine.run_beside, has_gpus)
        self._environments = Environments(places.environments)
        self._handover = handover = Handover(places.inputs)
        inputs = Inputs(places.inputs, self._artifacts, handover.find)
        preparer = Preparer(
            Bundles(places.bundles, self._artifacts),
            self._environments,
            Images(self._state.awaiting, self._engine.dispatch),
            inputs,
            self._commands,
            OfferedParameters(node),
            self._engine.dispatch,
        )
        outputs = OutputKeeper(places, self._artifacts, handover)
        incarnation = next_incarnation(places.root / "incarnation")
        links = SeatLinks(
            node, incarnation, places.root, config.trainer_address, self._credentials.trainer_channel,
            config.advertise, self._loops, self._clock,
        )  # fmt: skip
        self._seats = seats = Seats(
            self._state, places, node, lambda worker, orders: self._workers.send(worker, seats=orders),
            links.queue_of, self._engine.run_beside, self._artifacts, inputs,
        )  # fmt: skip
        links.speaker = Speaker(seats.standing, seats.on_command, seats.on_acknowledged)
        self._engine.connect(self._workers, preparer, outputs, seats)
        self._caches = Caches(places, self._state, self._engine.dispatch)
        self._around = Surroundings(
            config, make_hello(config, node, self._capacity, incarnation, self._limiter.kind),
            self._credentials, self._artifacts, self._state, self._workers, self._clock, self._engine.run_beside,
        )  # fmt: skip
        self._link = Link(
            self._state, self._engine.dispatch, self._specifications, self._around, self._clock, places.epoch
        )

    # --- life

    async def open(self) -> None:
        """Finds again what an earlier process left, then starts the loops. Raises StartRefused."""
        await self._engine.restore()
        self._limiter.adopt(set(self._workers.pids()))
        alive = tuple(self._state.tasks)
        await asyncio.to_thread(cookies.end_strays, self._places.root, alive)
        self._engine.run_beside("containers", self._end_containers())
        self._logs.on_lost(self._cleaner.take_over(self._state.tasks))
        await self._cleaner.remove_unknown(self._state.tasks)
        self._around.look(self._clock.monotonic_ms())
        self._engine.tick()
        self._loops.start("link", self._link.run())
        self._loops.start("logs", self._logs.run())
        self._loops.start("clock", self._tick())
        self._loops.start("sweep", self._sweep())

    async def _end_containers(self) -> None:
        count = await asyncio.to_thread(
            containers.end_strays, self._places.root, lambda: tuple(self._state.tasks)
        )
        if count:
            _log.info("containers_ended", count=count)

    async def serve(self, name: str) -> None:
        """Says that the agent is ready once the scheduler has welcomed it; then waits for ever."""
        await self._link.welcomed.wait()
        write_ready(self._config.state_dir, name, "", self._clock.now_ms())
        memory.settle()
        _log.info("agent_ready", node=self._node)
        await asyncio.get_running_loop().create_future()

    async def crashed(self) -> None:
        """Returns when a loop has crashed; raises its error if it is a refused start."""
        error = await self._loops.wait_crashed()
        if isinstance(error, StartRefused):
            raise error

    async def drain(self) -> None:
        """Gives back, lets end, ends; waits until the scheduler knows, but not for ever."""
        grace_ms = round(self._config.drain_grace_s * 1000)
        _log.info("agent_draining", tasks=len(self._state.tasks))
        self._link.say(pb.ConnectRequest(draining=pb.Draining(reason="the agent was stopped")))
        now_ms = self._clock.monotonic_ms()
        self._engine.dispatch(DrainBegan(now_ms + grace_ms, "the agent of its node was stopped"))
        most_ms = grace_ms + self._state.settings.stop_grace_ms + self._state.settings.kill_margin_ms
        await self._until_idle(most_ms / 1000)
        await self._logs.drained(ACK_WAIT_S)
        await self._link.say_bye("the agent was stopped")

    async def close(self, *, shut_down: bool) -> None:
        """Releases everything; launcher and workers end only with shut_down."""
        await self._loops.close()
        await self._engine.close()
        await self._workers.close(shut_down=shut_down)
        await self._artifacts.close()
        self._specifications.close()
        if shut_down:
            await self._cleaner.remove_finished()
            self._limiter.close()
            if self.is_idle:
                self._shims.clear()

    async def _until_idle(self, timeout_s: float) -> None:
        """Until no task is left, and then a little for the last acknowledgements."""
        deadline = self._clock.monotonic_ms() + timeout_s * 1000
        while self._state.tasks or self._state.outbox:
            now_ms = self._clock.monotonic_ms()
            runs = any(task.phase is not Phase.ENDED for task in self._state.tasks.values())
            if not runs:
                deadline = min(deadline, now_ms + ACK_WAIT_S * 1000)
            if now_ms >= deadline:
                _log.warning("stopped_without_acknowledgement", tasks=len(self._state.tasks))
                return
            await self._clock.sleep(0.02)

    async def figures(self) -> list[Family]:
        """For whoever scrapes."""
        now_ms = self._clock.monotonic_ms()
        return of_agent(self._state, self._link, self._around, len(self._workers.pids()), now_ms)

    @property
    def is_idle(self) -> bool:
        """Whether no task is here."""
        return not self._state.tasks

    # --- loops

    async def _tick(self) -> None:
        due = self._clock.monotonic_ms() + 1000
        while True:
            await self._clock.sleep(max(0.0, (due - self._clock.monotonic_ms()) / 1000))
            now_ms = self._clock.monotonic_ms()
            self._around.look(now_ms, float(max(0, now_ms - due)))
            due = now_ms + round(TICK_S * 1000)
            for worker, moved in self._commands.progress(self._state.tasks.values()):
                self._engine.dispatch(WorkReported(worker, moved=(moved,)))
            self._engine.tick()
            self._seats.settle()
            await self._cleaner.remove_finished()

    async def _sweep(self) -> None:
        rounds = 0
        while True:
            await self._clock.sleep(SWEEP_S)
            rounds += 1
            self._limiter.sweep()
            self._specifications.compact(self._link.used_bodies())
            if self._commands.contained.are_used:
                # The engine may have been away when one of them was to go.
                await self._end_containers()
            most_bytes = parse_bytes(self._config.cache, "cache")
            if rounds % round(TRIM_S / SWEEP_S) == 0 or self._handover.taken_bytes > most_bytes / 8:
                self._handover.taken_bytes = 0
                await self._caches.trim(most_bytes)


def _settings(config: AgentConfig) -> Settings:
    return Settings(
        warm_workers=config.warm_workers,
        workers_most=config.workers_most,
        idle_worker_ms=round(config.idle_worker_s * 1000),
    )
