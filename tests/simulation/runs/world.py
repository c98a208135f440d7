"""The real engine, machine, recovery and store of runs under virtual time; what is around them is pretended.

The process may die at every failpoint and between steps: what is left is the disk, and what the scheduler has.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import count, zip_longest
from typing import Any, cast
from unittest.mock import patch

import msgspec

from modelyard.errors import YardError
from modelyard.v1 import task_pb2 as pb
from services.chassis.steps.errands import Errand, Errands
from services.graph import engine as engine_module
from services.graph.engine import Engine
from services.graph.model import GateControl, Graph, Order
from services.graph.peers.patience import PatientStore
from services.graph.peers.peers import Batch
from services.graph.records import keeping
from services.graph.records.owing import Cancellation, Kind, Reference, withdrawals
from services.graph.runs.events import CancelAsked, GateDecided, PauseAsked, ResumeAsked, RunAsked, TimePassed
from services.graph.runs.places import Place, id_at, node_at
from services.graph.runs.state import RunState, Start
from services.graph.runs.values import GateRecord
from tests.simulation.runs import promises
from tests.simulation.runs.canvases import random_graph
from tests.simulation.runs.scheduler import Refused, Scheduler, Task
from tests.support.graph_disk import Disk
from tests.support.graph_runs import spec
from tests.support.memory_database import finish

EVENTS_MOST = 200_000
FAIL_RATIOS = (0.0, 0.08, 0.25)
STORIES = ("once", "again", "continued")


class Died(Exception):
    """The process is gone."""


class Plan(msgspec.Struct, frozen=True):
    """What is run, and under which sky. `canvas` decides over everything that the log may depend on."""

    canvas: int
    order: Order = Order.LEVELS
    start: Start = Start.READY
    workers: int = 2
    seed: int = 0
    """Of all delays, and of what goes wrong."""
    deaths: int = 0
    pauses: int = 0
    is_cancelled: bool = False
    """At some time somebody has enough of it."""


class World:
    """One story, told by `tell`."""

    def __init__(self, plan: Plan, graph: Graph | None = None) -> None:
        self.plan = plan
        self.graph = graph or random_graph(plan.canvas, plan.order)
        self.story = STORIES[plan.canvas % 3]
        self.disk = Disk()
        self.now = 0.0
        self.chance = random.Random(f"{plan.canvas} {plan.seed}")
        self.scheduler = Scheduler(
            self.chance, self.later, plan.workers, FAIL_RATIOS[plan.canvas // 3 % len(FAIL_RATIOS)]
        )
        self.scheduler.on_outcome = self._on_outcome
        self.scheduler.now = lambda: self.now
        self.engine: Engine | None = None
        self.incarnation = 0
        self._carrier = Carrier(self.scheduler)
        self.deaths = 0
        self.frozen: dict[int, set[Place]] = {}
        """What was under way when a run was paused."""
        self.works: list[Coroutine[Any, Any, None]] = []
        """What goes on beside the steps."""
        self.decided: dict[tuple[int, Place], GateRecord] = {}
        self._session: Session | None = None
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._tie = count()
        self._is_step_due = False
        self._asked_gates: set[tuple[int, Place]] = set()
        self._asked_run = (0, 0)

    def tell(self) -> list[Any]:
        """The committed logs of its runs. Raises AssertionError where a promise is broken."""
        try:
            return self._tell()
        finally:
            for work in self.works:
                work.close()
            self.disk.close()

    def _tell(self) -> list[Any]:
        with patch.object(engine_module, "failpoint", self._failpoint):
            self._boot()
            for _ in range(self.plan.pauses):
                self.later(self.chance.random() * 300, self._pause)
            if self.plan.is_cancelled:
                self.later(self.chance.random() * 300, self._cancel)
            if self.plan.deaths:
                self.later(self.chance.random() * 300, self._perhaps_die)
            for _ in range(EVENTS_MOST):
                self._nudge()
                if not self._heap:
                    break
                self.now, _, act = heapq.heappop(self._heap)
                act()
        logs = []
        for number in range(1, self._wanted_runs() + 1):
            row = self.disk.run(number)
            assert row is not None and row.state.has_ended, f"r-{number} hangs"
            logs.append(self.disk.log(number))
        promises.look_back(self)
        return logs

    def later(self, delay_ms: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now + delay_ms, next(self._tie), act))

    def soon(self) -> float:
        return self.chance.random() * self.chance.choice((1, 20))

    # The process

    def _boot(self) -> None:
        self.incarnation += 1
        self._asked_gates.clear()
        self._is_step_due = False
        store = self.disk.store()
        self._errands = Errands(
            store.database, self.disk.sql, cast(Any, self),
            before=lambda: self._failpoint("graph.before_errand"),
            after=lambda: self._failpoint("graph.after_errand"),
        )  # fmt: skip
        finish(self._errands.open(lambda c: withdrawals(c, self.disk.sql)))
        around = (
            cast(Any, Peers(self)),
            PatientStore(Store(self), cast(Any, self)),
            self._errands,
            cast(Any, self),
            cast(Any, Jobs(self)),
        )
        self.engine = Engine(store, *around)
        finish(self.engine.open())
        self._ask()

    def _failpoint(self, name: str) -> None:
        if self.deaths < self.plan.deaths and self.chance.random() < 0.06:
            raise Died(name)

    def _perhaps_die(self) -> None:
        if self.deaths < self.plan.deaths and self.engine is not None:
            self._die()
            self.later(self.chance.random() * 300, self._perhaps_die)

    def _die(self) -> None:
        self.deaths += 1
        self.engine = self._session = None
        self.later(self.soon(), self._boot)

    def _nudge(self) -> None:
        if self.engine is not None and self.engine._inbox and not self._is_step_due:
            self._is_step_due = True
            self.later(self.soon(), self.only_now(self._step))
        for lane in sorted(self._errands._idle) if self.engine is not None else ():
            del self._errands._idle[lane]
            self.later(self.soon(), self.only_now(lambda lane=lane: self._walk(lane)))  # type: ignore[misc]

    def _walk(self, lane: tuple[str, str]) -> None:
        with self._mortal():
            finish(self._errands._walk(lane, self._carrier))

    @contextmanager
    def _mortal(self) -> Iterator[None]:
        """What happens in here may be the end of the process."""
        try:
            yield
        except Died:
            self._die()

    def only_now(self, act: Callable[[], None]) -> Callable[[], None]:
        """Nothing happens if the process has died meanwhile."""
        incarnation = self.incarnation

        def guarded() -> None:
            if self.incarnation == incarnation and self.engine is not None:
                act()

        return guarded

    def _step(self) -> None:
        engine = self.engine
        assert engine is not None
        self._is_step_due = False
        most = self.chance.choice((1, 2, 100))
        events = engine._inbox.take(most)
        if any(isinstance(event, ResumeAsked) for event in events):
            self.frozen.clear()
        with self._mortal():
            finish(engine._step(events))
        if self.engine is None:
            return
        promises.look(self, engine)
        self._ask()
        self._look_at_gates(engine)
        for due_ms in engine.state.deadlines.values():
            self.later(max(0.0, due_ms - self.now), self.only_now(self._on_time))

    def _on_time(self) -> None:
        assert self.engine is not None
        if any(due_ms <= self.now for due_ms in self.engine.state.deadlines.values()):
            self.engine.post(TimePassed())

    def now_ms(self) -> int:
        return int(self.now)

    async def sleep(self, seconds: float) -> None:
        await _Nap(seconds)

    # Those who ask

    def _wanted_runs(self) -> int:
        return 1 if self.story == "once" else 2

    def _ask(self) -> None:
        """For the next run, once the one before has ended; again if the process died before it was on disk."""
        assert self.engine is not None
        number = self.engine.state.next_run
        before = self.disk.run(number - 1) if number > 1 else None
        is_next = number <= self._wanted_runs() and (before is None or before.state.has_ended)
        if not is_next or self._asked_run == (self.incarnation, number):
            return
        self._asked_run = (self.incarnation, number)
        store = self.engine.store
        wish = spec(self.plan.order, self.plan.start, self.plan.workers)
        plan = finish(store.plan(self.graph))
        kept = {}
        if before is not None and self.story == "continued":
            again = self._again(number - 1)
            wish = keeping.demanded(
                msgspec.structs.replace(wish, continued_from=number - 1), self.graph, again
            )
            kept = finish(keeping.of_run(store, before, self.graph, again))
        self.engine.post(RunAsked(0, wish, self.graph, plan, kept))

    def _again(self, number: int) -> list[str]:
        """A node that is to run again, of those that were committed."""
        ids = [id_at(self.graph, node.place) for node in self.disk.committed(number)]
        return [ids[self.plan.canvas % len(ids)]] if self.plan.canvas % 2 else []

    def _look_at_gates(self, engine: Engine) -> None:
        for number, run in engine.state.runs.items():
            for place, record in run.gates.items():
                control = node_at(self.graph, place).control
                assert isinstance(control, GateControl)
                is_asked = (number, place) in self._asked_gates
                if record.is_approved is None and not control.timeout_ms and not is_asked:
                    self._asked_gates.add((number, place))
                    for is_right in (True, False, True):
                        self.later(200 * self.chance.random(), self._deciding(number, place, is_right))

    def _deciding(self, number: int, place: Place, is_right: bool) -> Callable[[], None]:
        """What the canvas wants, again and again; and the other way round, once it was decided."""
        name = id_at(self.graph, place)
        wanted = bool(sha256(f"{self.plan.canvas} {name}".encode()).digest()[0] % 4)

        def decide() -> None:
            assert self.engine is not None
            run = self.engine.state.runs.get(number)
            record = run.gates.get(place) if run is not None else None
            if is_right or (record is not None and record.is_approved is not None):
                approves = wanted is is_right
                self.engine.post(GateDecided(0, number, place, "ann", False, approves, "so be it"))

        return self.only_now(decide)

    def _pause(self) -> None:
        if self.engine is not None:
            for number in self.engine.state.runs:
                self.engine.post(PauseAsked(0, number))
        self.later(self.chance.random() * 300, lambda: self._resume(6))

    def _cancel(self) -> None:
        """Until it is known to have been heard."""
        number = self.engine.state.next_run - 1 if self.engine is not None else 0
        row = self.disk.run(number) if number else None
        if row is not None and row.state.has_ended:
            return
        if self.engine is not None and number:
            self.engine.post(CancelAsked(0, number, "enough"))
        self.later(50, self._cancel)

    def _resume(self, tries: int) -> None:
        number = self.engine.state.next_run - 1 if self.engine is not None else 0
        row = self.disk.run(number) if number else None
        if self.engine is not None and row is not None and row.state is RunState.PAUSED:
            self.engine.post(ResumeAsked(0, number))
            tries += 1
        if tries:
            self.later(50, lambda: self._resume(tries - 1))

    def _on_outcome(self, task: Task) -> None:
        session = self._session
        if session is not None:
            self.later(self.soon(), self.only_now(lambda: session.tell(task)))


class _Nap:
    """Waits so many seconds of virtual time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __await__(self) -> Generator[float, None, None]:
        yield self._seconds


class Session:
    """`services.graph.peers.peers.Session`: a stream that ends with the process."""

    def __init__(self, world: World, account: str, engine: Engine) -> None:
        self._world = world
        self._account = account
        self._engine = engine
        self._incarnation = world.incarnation
        self._open: set[str] = set()
        self._last_ms = 0.0
        """When what was sent last arrives: a stream keeps its order."""
        world._session = self

    async def run(self) -> None:
        """There is nothing to keep open."""

    def submit(self, batch: Batch) -> None:
        world = self._world
        self._last_ms = max(self._last_ms, world.now + world.soon())
        world.later(self._last_ms - world.now, lambda: self._deliver(batch))

    def _deliver(self, batch: Batch) -> None:
        world = self._world
        is_alive = world.incarnation == self._incarnation and world.engine is not None
        if not is_alive and world.chance.random() < 0.5:
            return
        try:
            tasks = world.scheduler.submit(batch.run, batch.places, batch.request)
        except Refused:
            refusal = pb.Refusal(code=3, message="it is refused")
            answer = lambda: self._engine.on_refused(self._account, batch, refusal)  # noqa: E731
        else:
            answer = lambda: self._accept(batch, tasks)  # noqa: E731
        if is_alive:
            world.later(world.soon(), world.only_now(answer))

    def _accept(self, batch: Batch, tasks: list[str]) -> None:
        self._engine.on_accepted(self._account, batch, tasks)
        self.follow(tasks)

    def follow(self, tasks: Sequence[str]) -> None:
        self._open.update(tasks)
        for id_ in tasks:
            task = self._world.scheduler.tasks[id_]
            if task.outcome is not None:
                self._world.later(self._world.soon(), self._world.only_now(lambda task=task: self.tell(task)))  # type: ignore[misc]

    def tell(self, task: Task) -> None:
        if task.id in self._open and task.outcome is not None:
            self._open.discard(task.id)
            self._engine.on_outcomes(self._account, [task.outcome])


class Peers:
    """`services.graph.peers.peers.Scheduler`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def session(self, account: str, engine: Engine) -> Session:
        return Session(self._world, account, engine)


class Carrier:
    """Of every kind of errand."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    async def carry(self, account: str, errands: Sequence[Errand]) -> None:
        for errand in errands:
            if errand.kind == Kind.CANCELLATION:
                self._scheduler.cancel(msgspec.msgpack.decode(errand.content, type=Cancellation).tasks)
            elif errand.kind == Kind.REFERENCES:
                wish = msgspec.msgpack.decode(errand.content, type=Reference)
                self._scheduler.hold(wish.holder, wish.digests)
            elif errand.kind == Kind.WITHDRAWAL:
                self._scheduler.withdraw(pb.SubmitTasksRequest.FromString(errand.content).request_id)


class Store:
    """`services.graph.peers.peers.Artifacts`."""

    def __init__(self, world: World) -> None:
        self._scheduler = world.scheduler
        self._chance = world.chance

    def _be_away(self) -> None:
        if self._chance.random() < 0.1:
            raise YardError("the store is away", code="UNAVAILABLE")

    async def put(self, account: str, data: bytes, holder: str) -> str:
        self._be_away()
        digest = self._scheduler.put(data)
        self._scheduler.hold(holder, (digest,))
        return digest

    async def read(self, account: str, digest: str, bytes_most: int) -> bytes:
        self._be_away()
        return self._scheduler.artifacts[digest]


class Jobs:
    """`services.chassis.process.supervise.Loops`: what is under way beside the steps, each for a while."""

    def __init__(self, world: World) -> None:
        self._world = world

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        world, incarnation = self._world, self._world.incarnation
        world.works.append(work)

        def act() -> None:
            if world.incarnation == incarnation and world.engine is not None:
                try:
                    world.later(1000 * work.send(None), act)
                except StopIteration:
                    world.works.remove(work)
            else:
                world.works.remove(work)
                work.close()

        world.later(world.soon(), act)


def skies(canvas: int, most: int = 6) -> list[Plan]:
    """A quiet run on one worker, then the same canvas in other ways: starts, workers, delays, deaths, pauses."""
    order = list(Order)[canvas % 2]
    ways = [(start, workers) for workers in (2, 1, 4) for start in Start]
    found = [Plan(canvas, order)]
    for number in range(most):
        start, workers = ways[(canvas // 2 + number) % len(ways)]
        deaths, pauses = (0, 5)[(number + canvas // 4) % 2], (0, 2)[(number + canvas // 8) % 2]
        found.append(Plan(canvas, order, start, workers, 10 * canvas + number + 1, deaths, pauses))
    return found


def hard_skies(canvas: int) -> list[Plan]:
    """Few ways, in which much goes wrong."""
    order = list(Order)[canvas % 2]
    return [Plan(canvas, order)] + [
        Plan(canvas, order, start, workers, canvas, 8, 2) for start in Start for workers in (1, 3)
    ]


def failure_of(plans: Sequence[Plan]) -> str:
    """What promise is broken, or where a log differs from that of the first; "": none, and nowhere."""
    first: list[Any] | None = None
    for plan in plans:
        try:
            logs = World(plan).tell()
        except Exception as error:
            return f"{plan}: {type(error).__name__}: {error}"
        first = first or logs
        if logs != first:
            pairs = [
                (a, b) for one, other in zip(logs, first, strict=True) for a, b in zip_longest(one, other)
            ]
            return f"{plan}: {next((a, b) for a, b in pairs if a != b)}"
    return ""
