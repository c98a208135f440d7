"""Machines with their agents: seats outlive the agent's process, processes start and end in them, streams break.

What services/agent and the shims do for a trainer (docs: services/agent/README.md, "Seats"), as messages.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from modelyard.v1 import job_pb2, task_pb2
from modelyard.v1 import seat_pb2 as pb
from services.chassis.security import AGENT, Principal, set_principal
from tests.simulation.jobs.definitions import ENDLESS
from tests.simulation.jobs.scheduler import Scheduler, Task
from tests.simulation.jobs.shelves import Shelf

if TYPE_CHECKING:
    from tests.simulation.jobs.world import World

BEAT_S = 5.0
LEASE_S = 3.0
"""After a machine has gone its tasks are given up."""


class Fate:
    """What processes will do, drawn when they start."""

    def __init__(self, seat: Seat, launch: pb.LaunchSeat, world: World) -> None:
        chance, spec = world.chance, seat.task.spec
        fails = float(spec.labels.get("fails", "0"))
        is_endless = seat.task.role.startswith(ENDLESS)
        self.length_s: float = chance.choice((0.05, 1, 4, 15)) * (0.5 + chance.random())
        self.cause, self.code, self.signal = job_pb2.EXIT_CAUSE_SUCCESS, 0, 0
        self.hangs = self.is_deaf = False
        self.signs = [sign.id for sign in launch.signs]
        drawn = chance.random()
        if drawn < fails:
            self.cause, self.code, self.signal = chance.choice(
                (
                    (job_pb2.EXIT_CAUSE_EXIT, 1, 0), (job_pb2.EXIT_CAUSE_EXIT, 3, 0),
                    (job_pb2.EXIT_CAUSE_SIGNAL, 0, 11),
                    (job_pb2.EXIT_CAUSE_OUT_OF_MEMORY, 0, 9), (job_pb2.EXIT_CAUSE_SETUP, 0, 0),
                )
            )  # fmt: skip
            if self.cause == job_pb2.EXIT_CAUSE_SETUP:
                self.length_s = 0.0
            # Who fails may have shown nothing before.
            self.signs = [sign for sign in self.signs if chance.random() < 0.5]
        elif is_endless:
            self.length_s = float("inf")
        elif drawn > 0.75 and world.hangs(seat.task.job):
            self.hangs, self.length_s = True, float("inf")
        self.is_deaf = chance.random() < 0.2
        self.show_s = min(self.length_s * 0.8, chance.choice((0.0, 0.5, 3.0)))


class Seat:
    """The place of one instance, in its shim."""

    def __init__(self, task: Task, machine: Machine) -> None:
        self.task = task
        self.shelf = Shelf(machine, self)
        self.state = pb.SEAT_STATE_PREPARING
        self.epoch = 0
        self.seen: list[int] = []
        self.exit: job_pb2.InstanceExit | None = None
        self.life: asyncio.Task[None] | None = None
        self.is_deaf = False
        """Its processes end by SIGKILL only."""
        self.is_closing: pb.CloseSeat | None = None

    @property
    def is_live(self) -> bool:
        return self.state in (pb.SEAT_STATE_RUNNING, pb.SEAT_STATE_STOPPING)

    @property
    def is_writing(self) -> bool:
        """Whether its processes write checkpoints."""
        return self.state == pb.SEAT_STATE_RUNNING

    def message(self) -> pb.Seat:
        task = self.task
        found = pb.Seat(
            task_id=task.id, attempt=1, job_id=task.spec.seat.job_id, role=task.role, index=task.index,
            state=self.state, epoch=self.epoch, directory=f"/seats/{task.id}", seen_signs=self.seen,
        )  # fmt: skip
        if self.state != pb.SEAT_STATE_PREPARING:
            for number, port in enumerate(task.spec.seat.ports):
                found.ports[port.name] = 20_000 + number
        if self.exit is not None:
            found.exit.CopyFrom(self.exit)
        return found


class Machine:
    """One node: what it holds, and its agent, which comes and goes."""

    def __init__(self, name: str, room: int, world: World, scheduler: Scheduler) -> None:
        self.name = name
        self.room = room
        self.world = world
        self.scheduler = scheduler
        self.chance: random.Random = world.chance
        self.seats: dict[str, Seat] = {}
        self.is_well = True
        self.untold: dict[int, pb.SeatEvent] = {}
        """What the trainer has not acknowledged; kept by the shims."""
        self._said = 0
        self.max_epoch = 0
        self.unheard: set[str] = set()
        """Seats whose shims the present agent has not heard yet: it takes them for such as are being prepared."""
        self.unwanted: dict[str, pb.CloseSeat] = {}
        self.link: Connection | None = None
        self._incarnation = 0
        self._news = asyncio.Event()
        self._agent = world.go(self._dial())

    @property
    def free(self) -> int:
        return self.room - len(self.seats)

    # --- tasks

    def take(self, task: Task) -> None:
        seat = self.seats[task.id] = Seat(task, self)
        self.world.go(self._prepare(seat))
        self._news.set()

    async def _prepare(self, seat: Seat) -> None:
        await asyncio.sleep(self.chance.choice((0.02, 0.3, 2.0)) * self.chance.random())
        if seat.state != pb.SEAT_STATE_PREPARING or not self.is_well:
            return
        if self.chance.random() < self.world.weather.setup_fails:
            self._close(seat, task_pb2.TASK_STATE_FAILED, task_pb2.TASK_CAUSE_SETUP)
            return
        seat.state = pb.SEAT_STATE_OPEN
        self.tell(seat)
        if seat.is_closing is not None:
            self.close(seat, seat.is_closing)

    def cancel(self, id_: str) -> None:
        """The scheduler does not want it any more."""
        seat = self.seats.get(id_)
        if seat is not None:
            self._close(seat, task_pb2.TASK_STATE_CANCELLED, task_pb2.TASK_CAUSE_CANCELLED)

    def preempt(self, id_: str) -> None:
        """The scheduler wants its place for somebody else."""
        seat = self.seats.get(id_)
        if seat is not None:
            self._close(seat, task_pb2.TASK_STATE_FAILED, task_pb2.TASK_CAUSE_PREEMPTED)

    def close(self, seat: Seat, wish: pb.CloseSeat) -> None:
        if seat.state == pb.SEAT_STATE_PREPARING:
            seat.is_closing = wish
        elif wish.is_failure:
            self._close(seat, task_pb2.TASK_STATE_FAILED, task_pb2.TASK_CAUSE_ERROR)
        else:
            self._close(seat, task_pb2.TASK_STATE_SUCCEEDED, task_pb2.TASK_CAUSE_UNSPECIFIED)

    def _close(self, seat: Seat, state: task_pb2.TaskState.ValueType, cause: Any) -> None:
        if seat.task.id not in self.seats:
            return
        if state == task_pb2.TASK_STATE_SUCCEEDED:
            seat.shelf.give()
        del self.seats[seat.task.id]
        if seat.life is not None:
            seat.life.cancel()
        if seat.is_live:
            seat.exit = self._exit(seat, job_pb2.EXIT_CAUSE_STOPPED, 0, 9)
        seat.state = pb.SEAT_STATE_CLOSED
        self.tell(seat)
        self.scheduler.ended(seat.task.id, state, cause)

    def lose(self) -> None:
        """The machine burns: nothing of it is heard again, and nothing runs there."""
        self.is_well = False
        self.hang_up()
        self._agent.cancel()
        for seat in self.seats.values():
            if seat.life is not None:
                seat.life.cancel()
            seat.state = pb.SEAT_STATE_CLOSED
        seats, self.seats, self.untold = [*self.seats], {}, {}

        def given_up() -> None:
            for id_ in seats:
                self.scheduler.ended(id_, task_pb2.TASK_STATE_FAILED, task_pb2.TASK_CAUSE_NODE_LOST)

        asyncio.get_running_loop().call_later(LEASE_S, given_up)

    # --- processes

    def launch(self, seat: Seat, launch: pb.LaunchSeat) -> None:
        if seat.state == pb.SEAT_STATE_PREPARING:
            self._refuse(seat, "UNKNOWN_SEAT")
        elif launch.epoch == seat.epoch:
            self.tell(seat)
        elif launch.epoch < seat.epoch:
            self._refuse(seat, "STALE_EPOCH")
        elif seat.is_live:
            self._refuse(seat, "RUNNING")
        else:
            whom = (seat.task.job, seat.task.role, seat.task.index)
            kept = self.world.promises.kept
            kept.launched(whom, seat, launch)
            if launch.HasField("resume") and (flaw := seat.shelf.resume(launch.resume)):
                kept.torn(whom, launch.resume.digest)
                torn = pb.SeatCheckpoint(name=launch.resume.name, digest=launch.resume.digest, flaw=flaw)
                self._say(seat, epoch=launch.epoch, checkpoint=torn)
                return
            self.world.promises.launched(self, seat, launch)
            kept.went_on(whom, launch)
            seat.epoch, seat.seen, seat.exit = launch.epoch, [], None
            fate = Fate(seat, launch, self.world)
            seat.is_deaf = fate.is_deaf
            if not fate.length_s:
                self.end(seat, fate)
                return
            seat.state = pb.SEAT_STATE_RUNNING
            self.tell(seat)
            seat.life = self.world.go(self._live(seat, fate))
            seat.shelf.begin(launch.epoch)

    async def _live(self, seat: Seat, fate: Fate) -> None:
        begun = asyncio.get_running_loop().time()
        await asyncio.sleep(fate.show_s)
        if not fate.hangs:
            for sign in fate.signs:
                seat.seen.append(sign)
                self._say(seat, sign=pb.SeatSign(id=sign))
            for step in (1, 3):
                progress = job_pb2.JobProgress(step=step, metrics={"steps": float(step)})
                self._say(seat, progress=progress)
        left_s = fate.length_s - fate.show_s
        while left_s > BEAT_S:
            await asyncio.sleep(BEAT_S)
            left_s -= BEAT_S
            silent_s = asyncio.get_running_loop().time() - begun if fate.hangs else 0.0
            activity = pb.SeatActivity(cpu=0.0 if fate.hangs else 0.9, silent_ms=int(1000 * silent_s))
            self._say(seat, activity=activity)
        await asyncio.sleep(max(0.0, left_s))
        self.end(seat, fate)

    def end(self, seat: Seat, fate: Fate) -> None:
        seat.exit = self._exit(seat, fate.cause, fate.code, fate.signal)
        seat.state = pb.SEAT_STATE_ENDED
        seat.life = None
        self.tell(seat)

    def stop(self, seat: Seat, wish: pb.StopSeat) -> None:
        if not seat.is_live and seat.epoch < wish.epoch and seat.state != pb.SEAT_STATE_PREPARING:
            # Nothing of this epoch begins any more.
            seat.epoch, seat.state = wish.epoch, pb.SEAT_STATE_ENDED
            seat.exit = self._exit(seat, job_pb2.EXIT_CAUSE_STOPPED, 0, 0)
            self.tell(seat)
            return
        if seat.epoch > wish.epoch or not seat.is_live:
            self.tell(seat)
            return
        if seat.state == pb.SEAT_STATE_STOPPING:
            return
        self.world.promises.stopped(self, seat, wish)
        seat.state = pb.SEAT_STATE_STOPPING
        patience_s = wish.grace_ms / 1000 if seat.is_deaf else self.chance.random() * 0.2
        self.world.go(self._stop(seat, seat.epoch, min(patience_s, 5.0)))

    async def _stop(self, seat: Seat, epoch: int, patience_s: float) -> None:
        await asyncio.sleep(patience_s)
        if seat.epoch != epoch or not seat.is_live or not self.is_well:
            return
        if seat.life is not None:
            seat.life.cancel()
        seat.exit = self._exit(seat, job_pb2.EXIT_CAUSE_STOPPED, 0, 15)
        seat.state, seat.life = pb.SEAT_STATE_ENDED, None
        self.tell(seat)

    def _exit(self, seat: Seat, cause: Any, code: int, signal: int) -> job_pb2.InstanceExit:
        found = job_pb2.InstanceExit(
            role=seat.task.role, index=seat.task.index, epoch=seat.epoch, cause=cause, exit_code=code, signal=signal,
            node=self.name, message="it ended",
        )  # fmt: skip
        found.end_time.FromMilliseconds(self.world.clock.now_ms())
        return found

    # --- what is said

    def tell(self, seat: Seat) -> None:
        """Everything that is known of it."""
        self._say(seat, seat=seat.message())

    def tell_checkpoint(self, seat: Seat, found: pb.SeatCheckpoint) -> None:
        """It is complete, or in the store by now."""
        self._say(seat, checkpoint=found)

    def _refuse(self, seat: Seat, reason: str) -> None:
        self._say(seat, refusal=pb.SeatRefusal(reason=reason))

    def _say(self, of: Seat, /, *, epoch: int = 0, **what: Any) -> None:
        if "seat" in what:
            self.unheard.discard(of.task.id)
        self._said += 1
        self.untold[self._said] = pb.SeatEvent(task_id=of.task.id, attempt=1, epoch=epoch or of.epoch, **what)
        self._news.set()

    # --- the agent's process

    def kill_agent(self) -> None:
        """Seats live on; what it had taken in and not handed on is lost."""
        self._incarnation += 1
        told = {event.task_id for event in self.untold.values()}
        known = [id_ for id_, seat in self.seats.items() if seat.state != pb.SEAT_STATE_PREPARING]
        self.unheard = {id_ for id_ in known if id_ not in told and self.chance.random() < 0.5}
        self.unwanted = {}
        self.world.go(self._hear_shims(self._incarnation))
        self.hang_up()

    async def _hear_shims(self, incarnation: int) -> None:
        """One after the other they are there again, and what their seats are is told."""
        for id_ in sorted(self.unheard):
            await asyncio.sleep(self.chance.random() * 0.5)
            seat = self.seats.get(id_)
            if self._incarnation != incarnation or seat is None or id_ not in self.unheard:
                continue
            self.tell(seat)
            if (unwanted := self.unwanted.pop(id_, None)) is not None:
                self.close(seat, unwanted)

    def hang_up(self) -> None:
        """The stream breaks."""
        if self.link is not None:
            self.link.cut()

    async def _dial(self) -> None:
        set_principal(Principal(role=AGENT, node=self.name))
        while True:
            trainer = self.world.trainer
            if trainer is not None and (self.seats or self.untold):
                self.link = Connection(self, self._incarnation)
                await trainer.call(self.link.converse(trainer.method("ConnectSeats")))
                self.link = None
            await asyncio.sleep(0.05 + self.chance.random() * 0.5)

    def hello(self) -> pb.SeatHello:
        hello = pb.SeatHello(
            node=self.name, incarnation=self._incarnation, protocol_version=1, host=self.name, ip="127.0.0.1",
            max_epoch=self.max_epoch,
        )  # fmt: skip
        for id_, seat in self.seats.items():
            found = seat.message()
            if id_ in self.unheard:
                found = pb.Seat(
                    task_id=id_, attempt=1, job_id=found.job_id, role=found.role, index=found.index,
                    state=pb.SEAT_STATE_PREPARING,
                )  # fmt: skip
            else:
                found.checkpoints.extend(seat.shelf.messages())
            hello.seats.append(found)
        return hello

    def take_news(self) -> None:
        """Of a seat's own states ends and the last are told again."""
        last = {event.task_id: number for number, event in self.untold.items() if event.HasField("seat")}
        self.untold = {
            number: event
            for number, event in self.untold.items()
            if not event.HasField("seat")
            or number == last[event.task_id]
            or event.seat.state == pb.SEAT_STATE_ENDED
        }


class Connection:
    """One stream of one agent process."""

    def __init__(self, machine: Machine, incarnation: int) -> None:
        self._machine = machine
        self._incarnation = incarnation
        self._chance = machine.chance
        self._heard = 0
        self._acked = 0
        self._sent: dict[int, int] = {}
        """By the number of this stream, the machine's own."""
        self._is_cut = False
        self._commands: asyncio.Queue[pb.SeatCommand] = asyncio.Queue()
        self._task: asyncio.Task[Any] | None = None

    def cut(self) -> None:
        """What is in flight is lost."""
        self._is_cut = True
        if self._task is not None:
            self._task.cancel()

    async def converse(self, method: Any) -> None:
        self._task = asyncio.current_task()
        worker = self._machine.world.go(self._work())
        try:
            async for response in method(self._requests(), None):
                await self._arrive(response)
        finally:
            worker.cancel()

    async def _arrive(self, response: pb.ConnectSeatsResponse) -> None:
        """What a process has sent may arrive after its death."""
        try:
            await asyncio.sleep(self._chance.random() * 0.05)
        except asyncio.CancelledError:
            if self._is_cut or self._chance.random() < 0.5:
                raise
            self._hear(response)
            raise
        self._hear(response)

    async def _requests(self) -> AsyncIterator[pb.ConnectSeatsRequest]:
        machine = self._machine
        machine.take_news()
        yield pb.ConnectSeatsRequest(hello=machine.hello())
        told = 0
        while True:
            news = [number for number in machine.untold if number > told]
            if news or self._acked != self._heard:
                request = pb.ConnectSeatsRequest(ack_command=self._heard)
                self._acked = self._heard
                if news:
                    request.events.first_number = len(self._sent) + 1
                    told = news[-1]
                    for number in news:
                        self._sent[len(self._sent) + 1] = number
                        request.events.events.append(machine.untold[number])
                await asyncio.sleep(self._chance.random() * 0.05)
                yield request
                continue
            machine._news.clear()
            await machine._news.wait()

    def _hear(self, response: pb.ConnectSeatsResponse) -> None:
        machine = self._machine
        assert response.epoch >= machine.max_epoch, "a trainer that was replaced speaks"
        machine.max_epoch = response.epoch
        if response.ack_event:
            done = [own for number, own in self._sent.items() if number <= response.ack_event]
            events = [machine.untold.pop(own) for own in done if own in machine.untold]
            machine.world.promises.acknowledged(events)
        for number, command in enumerate(response.commands, response.first_number):
            if number > self._heard:
                assert number == self._heard + 1, "a command was left out"
                self._heard = number
                self._commands.put_nowait(command)
        machine._news.set()

    async def _work(self) -> None:
        """Hands commands to shims, one after the other."""
        while True:
            command = await self._commands.get()
            await asyncio.sleep(self._chance.random() * 0.02)
            self._carry_out(command)

    def _carry_out(self, command: pb.SeatCommand) -> None:
        machine = self._machine
        seat = machine.seats.get(command.task_id)
        if seat is None:
            return
        if command.task_id in machine.unheard:
            if command.HasField("close"):
                machine.unwanted[command.task_id] = command.close
            else:
                machine._refuse(seat, "UNKNOWN_SEAT")
            return
        if command.HasField("launch"):
            machine.launch(seat, command.launch)
        elif command.HasField("stop"):
            machine.stop(seat, command.stop)
        elif command.HasField("close"):
            machine.close(seat, command.close)
        elif command.HasField("drop_checkpoints"):
            seat.shelf.drop([*command.drop_checkpoints.names])
        elif command.HasField("addresses"):
            machine.world.promises.addressed(seat, command.addresses)
