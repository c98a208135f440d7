"""The production trainer under virtual time: its service as it is opened, on its real tables; the rest is pretended.

The process may die at every failpoint and between any two steps: the disk is left, the scheduler, and the machines.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
import traceback
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import grpc.aio
import msgspec

from modelyard.training import Plan, plan_job
from services.chassis import failpoints
from services.chassis.peers import outward
from services.chassis.process.supervise import Loops
from services.trainer import service as service_module
from services.trainer.config import TrainerConfig
from services.trainer.engine import Engine
from services.trainer.service import TrainerService
from services.trainer.state.jobs import Instance
from tests.simulation.jobs.clockwork import Clockwork, Deadlock, Died, LoopClock, is_death
from tests.simulation.jobs.definitions import random_job
from tests.simulation.jobs.disk import Disk, Opener
from tests.simulation.jobs.machines import Machine
from tests.simulation.jobs.people import Person
from tests.simulation.jobs.promises import Promises
from tests.simulation.jobs.scheduler import Channel, Scheduler

STORM_S = 90.0
CALM_MOST_S = 1_500.0
"""After the storm every job has ended within so long: back-offs, waits for gangs and deadlines included."""


CARRIED_MOST_S = 120.0


class Story(msgspec.Struct, frozen=True):
    """What is told: the same twice for the same."""

    seed: int
    jobs: int = 6
    room: int = 8
    """Instances that have a place at a time."""
    most: int = 6
    """Instances of a job."""
    is_bounded: bool | None = None
    is_stormy: bool = True


class Weather:
    """How bad it is now."""

    def __init__(self, chance: random.Random, is_stormy: bool) -> None:
        self.is_stormy = is_stormy
        self.dies = chance.choice((0.0, 0.002, 0.02, 0.06)) if is_stormy else 0.0
        """The share of failpoints at which the process dies."""
        self.setup_fails = chance.choice((0.0, 0.0, 0.05)) if is_stormy else 0.0
        self.refuses = chance.choice((0.0, 0.2)) if is_stormy else 0.0
        self.tears = chance.choice((0.0, 0.1, 0.3)) if is_stormy else 0.0
        """The share of checkpoints that cannot be gone on from."""
        self.pace_s = chance.choice((2.0, 8.0, 30.0))
        """Something goes wrong about so often."""

    def calm(self) -> None:
        self.dies = self.setup_fails = self.refuses = self.tears = 0.0


class World:
    """One story, told by `tell`."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.chance = random.Random(f"jobs {story.seed}")
        self.loop = Clockwork()
        self.clock = LoopClock(self.loop)
        self.disk = Disk()
        self.weather = Weather(self.chance, story.is_stormy)
        self.scheduler = Scheduler(self.chance)
        self.store = self.scheduler.store
        self.promises = Promises(self)
        self.disk.on_commit = self.promises.committed
        self._plans: dict[int, Plan] = {}
        self.trainer: Trainer | None = None
        self.deaths: list[str] = []
        self.refusals: list[tuple[str, str]] = []
        self.is_calm = False
        self.failure: BaseException | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._over: asyncio.Event | None = None

    def tell(self) -> World:
        """Raises AssertionError where a promise is broken."""
        with tempfile.TemporaryDirectory(prefix="yard-jobs-") as folder, contextlib.ExitStack() as stack:
            self.folder = Path(folder)
            stack.callback(self.disk.close)
            stack.callback(random.setstate, random.getstate())
            random.seed(self.story.seed)
            stack.callback(self._close_loop)
            stack.enter_context(patch.object(failpoints, "_wishes", {"every": None}))
            stack.enter_context(patch.object(failpoints, "_hit", self._at_failpoint))
            stack.enter_context(patch.object(service_module, "Database", Opener(self.disk)))
            stack.enter_context(patch.object(outward, "connect", self._connect))
            stack.enter_context(patch.object(Engine, "_step", self._step_of(Engine._step)))
            self.loop.run_until_complete(self._tell())
        return self

    def _close_loop(self) -> None:
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        with contextlib.suppress(Deadlock):
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    async def _tell(self) -> None:
        self._over = asyncio.Event()
        for room in [4] * (self.story.room // 4) + [self.story.room % 4]:
            self._new_machine(room)
        self.go(self._keep_trainer())
        people = [Person(self, number, text) for number, text in enumerate(self.texts(), 1)]
        living = [self.go(person.live()) for person in people]
        for person in people if self.story.is_stormy else ():
            self.go(person.steer())
        storm = self.go(self._storm()) if self.story.is_stormy else None
        await self._wait(living, STORM_S if storm is not None else 0.0)
        if storm is not None:
            self._heal()
        resuming = [self.go(person.resume()) for person in people]
        await self._wait([*living, *resuming], CALM_MOST_S)
        left = [person.job_id for person, task in zip(people, living, strict=True) if not task.done()]
        assert not left, f"hang: {self._told(left)}"
        # Nothing of a job lives 10 s after its end.
        await self._wait([], 10.0)
        # Of the store's many references each is a call.
        await self._wait([self.go(self._all_is_carried())], CARRIED_MOST_S)
        self.promises.look_back()

    async def _all_is_carried(self) -> None:
        for _ in range(round(CARRIED_MOST_S)):
            if not self.disk.rows("SELECT 1 FROM errand WHERE kind = 'references'"):
                return
            await asyncio.sleep(1.0)

    def texts(self) -> list[str]:
        story = self.story
        return [
            random_job(self.chance, number, most=story.most, is_bounded=story.is_bounded)
            for number in range(1, story.jobs + 1)
        ]

    def _told(self, jobs: list[str]) -> str:
        rows = []
        for job in jobs:
            row = self.promises.job(int(job[2:] or 0)) if job else None
            if row is not None:
                rows.append(f"{job} {row.state} {row.message} {row.waves} {row.batches}")
                for (content,) in self.disk.rows("SELECT content FROM instance WHERE job = ?", row.number):
                    one = msgspec.msgpack.decode(content, type=Instance)
                    if not one.state.has_ended:
                        rows.append(
                            f"{one.key} {one.state.value} {one.stopping_for} {one.epoch} {self._seat(one.task)}"
                        )
        return "\n".join(rows)

    def _seat(self, id_: str) -> str:
        task = self.scheduler.tasks.get(id_)
        if task is None or task.machine is None:
            return f"{id_} at nobody: {task and task.outcome}"
        seat = task.machine.seats.get(id_)
        untold = [event for event in task.machine.untold.values() if event.task_id == id_]
        is_there = task.machine.link is not None
        return f"{id_} at {task.machine.name} ({is_there}): {seat and seat.message()} {untold} {task.outcome}"

    async def _wait(self, tasks: Sequence[asyncio.Task[Any]], seconds: float) -> None:
        """Until they are done, the time is over, or something failed."""
        assert self._over is not None
        over = asyncio.ensure_future(self._over.wait())
        done = (
            asyncio.ensure_future(asyncio.wait(tasks))
            if tasks
            else asyncio.ensure_future(asyncio.sleep(seconds))
        )
        await asyncio.wait([over, done], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        done.cancel()
        if self.failure is not None:
            raise self.failure
        if self.loop.unhandled:
            raise self.loop.unhandled[0]

    def go(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Goes on beside everything; where it fails the story has failed."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._went)
        return task

    def _went(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.fail(task.exception())

    def fail(self, error: BaseException | None) -> None:
        self.failure = self.failure or error
        if self._over is not None:
            self._over.set()

    def plan(self, job: int) -> Plan:
        """As everybody can make it of what lies on the disk."""
        if job not in self._plans:
            row = self.promises.job(job)
            assert row is not None, f"j-{job} is on no disk"
            self._plans[job] = plan_job(row.document, lambda id_, version: None)
        return self._plans[job]

    def hangs(self, job: int) -> bool:
        """Whether its file says when silence is a failure."""
        return bool(self.plan(job).job.hang.silent_s) and not self.is_calm

    # --- the process

    async def _keep_trainer(self) -> None:
        while True:
            self.trainer = Trainer(self)
            await self.trainer.live()
            self.trainer = None
            await asyncio.sleep(self.chance.random() * self.chance.choice((0.1, 3.0)))

    def _connect(self, address: str, **options: Any) -> grpc.aio.Channel:
        return cast(grpc.aio.Channel, Channel(self.scheduler, self.chance))

    def _at_failpoint(self, name: str) -> None:
        if self.trainer is not None and self.trainer.is_dead:
            raise Died(name)
        if self.chance.random() < self.weather.dies:
            self._die(name)

    def _die(self, name: str) -> None:
        if self.trainer is not None:
            self.deaths.append(name)
            self.trainer.die()
            raise Died(name)

    def _step_of(self, original: Any) -> Any:
        async def step(engine: Engine, events: Sequence[Any]) -> None:
            await original(engine, events)
            try:
                self.promises.stepped(engine)
            except BaseException as error:
                self.fail(error)
                raise

        return step

    # --- the weather

    async def _storm(self) -> None:
        deeds = (
            self._kill_trainer, self._kill_agent, self._cut, self._lose_machine, self._scheduler_goes, self._nothing,
            self._preempt,
        )  # fmt: skip
        while not self.is_calm:
            await asyncio.sleep(self.chance.expovariate(1 / self.weather.pace_s))
            if not self.is_calm:
                await self.chance.choice(deeds)()
            self.scheduler.refuses_now = self.weather.refuses

    async def _nothing(self) -> None:
        """A quiet moment."""

    async def _kill_trainer(self) -> None:
        if self.trainer is not None and self.weather.dies:
            self.deaths.append("anywhere")
            self.trainer.die()

    async def _kill_agent(self) -> None:
        self.chance.choice(self.scheduler.machines).kill_agent()

    async def _cut(self) -> None:
        self.chance.choice(self.scheduler.machines).hang_up()

    async def _preempt(self) -> None:
        """The scheduler takes places of one gang back, one or all of them."""
        gangs: dict[str, list[tuple[Machine, str]]] = {}
        for machine in self.scheduler.machines:
            for seat in machine.seats.values() if machine.is_well else ():
                gangs.setdefault(seat.task.gang, []).append((machine, seat.task.id))
        if gangs:
            seats = gangs[self.chance.choice([*gangs])]
            for machine, id_ in seats if self.chance.random() < 0.5 else [self.chance.choice(seats)]:
                machine.preempt(id_)

    async def _lose_machine(self) -> None:
        """Another one comes in its place."""
        well = [machine for machine in self.scheduler.machines if machine.is_well]
        self.chance.choice(well).lose()
        self._new_machine()

    def _new_machine(self, room: int = 4) -> None:
        name = f"m{len(self.scheduler.machines) + 1}"
        self.scheduler.add(Machine(name, room, self, self.scheduler))

    async def _scheduler_goes(self) -> None:
        self.scheduler.is_away = True
        for session in [*self.scheduler.sessions]:
            session.cancel()
        await asyncio.sleep(self.chance.random() * 5)
        self.scheduler.is_away = False

    def _heal(self) -> None:
        self.is_calm, self.scheduler.is_away, self.scheduler.refuses_now = True, False, 0.0
        self.weather.calm()
        # Nodes that jobs avoid for good are not all there are.
        for _ in range(-(-self.story.most // 4)):
            self._new_machine()


class Trainer:
    """One process of it, from its start to its death."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._loops = Loops()
        config = TrainerConfig(state_dir=world.folder)
        self.service = TrainerService(config, self._loops)
        self.service._clock = cast(Any, world.clock)
        self.is_dead = False
        self._buried = asyncio.Event()
        self._calls: dict[asyncio.Task[Any], None] = {}
        self._methods: dict[str, Any] = {}

    @property
    def engine(self) -> Engine:
        return self.service._engine

    async def live(self) -> None:
        """Until it dies."""
        try:
            await self.service.open()
        except Died:
            pass
        else:
            self.service.register(cast(grpc.aio.Server, self))
            crashed = asyncio.ensure_future(self._loops.wait_crashed())
            await asyncio.wait(
                [crashed, asyncio.ensure_future(self._buried.wait())], return_when=asyncio.FIRST_COMPLETED
            )
            if crashed.done() and not self.is_dead:
                self._world.fail(crashed.result())
            crashed.cancel()
        self.is_dead = True
        self._world.disk.writer = None
        calls = [*self._calls]
        for call in calls:
            call.cancel()
        with contextlib.suppress(Died):
            await self._loops.close()
        if calls:
            await asyncio.wait(calls)

    def die(self) -> None:
        """From now on nothing that it does counts."""
        self.is_dead = True
        self._world.disk.writer = None
        self._buried.set()

    # `grpc.aio.Server`, as far as services are registered with it

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """The registered ones say the same."""

    def add_registered_method_handlers(self, name: str, handlers: dict[str, Any]) -> None:
        for method, handler in handlers.items():
            self._methods[method] = (
                handler.unary_unary or handler.unary_stream or handler.stream_stream or handler.stream_unary
            )

    def method(self, name: str) -> Any:
        return self._methods.get(name, _away)

    async def unary(self, name: str, request: Any) -> Any:
        """There and back; either way may be too long for the process."""
        chance = self._world.chance
        await asyncio.sleep(chance.random() * 0.05)
        answer = await self.method(name)(request, None)
        await asyncio.sleep(chance.random() * 0.05)
        return answer

    async def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What an RPC gives; None: the process died meanwhile."""
        if self.is_dead or not self._methods:
            work.close()
            return None
        task = asyncio.ensure_future(work)
        self._calls[task] = None
        try:
            await asyncio.wait([task])
        finally:
            self._calls.pop(task, None)
            task.cancel()
        if task.cancelled() or is_death(task.exception()):
            return None
        return task.result()


async def _away(request: Any, context: Any) -> Any:
    raise Died("away")


def failure_of(story: Story) -> str:
    """What promise is broken; "": none."""
    world = World(story)
    try:
        world.tell()
    except (Exception, Died) as error:
        trace = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(trace.filename).name}:{trace.lineno}"
        return f"{story}: {type(error).__name__}: {str(error)[:1500]} ({where}; deaths {world.deaths[-5:]})"
    return ""


def stories(seed: int) -> Story:
    """Everything that the seed decides over."""
    chance = random.Random(seed)
    most = chance.choice((3, 6, 8))
    room = chance.choice((8, 8, 12, 20))
    return Story(seed, jobs=chance.randint(2, 8), room=max(room, -(-most // 4) * 4), most=most)
