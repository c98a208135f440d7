"""Frames without agents: seats that open, processes that listen, load, die and end, one thing at a time.

The machine is stepped after each thing that happens; what it wants is taken up by the world, which forgets all of it
when the service dies, and keeps what agents and scheduler keep.
"""

from __future__ import annotations

from random import Random

import msgspec

from services.models.frames import effects as e
from services.models.frames import events as ev
from services.models.frames import machine
from services.models.frames.model import FrameState, Shape
from services.models.frames.state import Deployment, Frame, State, check_invariants
from services.models.seams import VersionKey

MIB = 1 << 20
_PACK = msgspec.msgpack.Encoder().encode
_FRAME = msgspec.msgpack.Decoder(Frame)
_DEPLOYMENT = msgspec.msgpack.Decoder(Deployment)


def key(model: str, version: int = 1, revision: int = 1) -> VersionKey:
    return VersionKey(model, version, revision)


def shape(model: str, version: int = 1, *, memory: int = 100 * MIB, **fields: object) -> Shape:
    return Shape(key=key(model, version), account="me", memory_bytes=memory, **fields)  # type: ignore[arg-type]


class Seat(msgspec.Struct):
    """A task of the scheduler, and what its agent has of it."""

    task: str
    frame: int
    node: str = ""
    epoch: int = 0
    runs: bool = False
    is_over: bool = False


class World:
    """Everything but the machine."""

    def __init__(self, seed: int = 0, *, budget: int = 0, nodes: int = 2) -> None:
        self.random = Random(seed)
        self.budget = budget
        self.nodes = [f"node-{number + 1}" for number in range(nodes)]
        self.state = State(budget_bytes=budget)
        self.now = 1_000_000
        self.rows: dict[int, bytes] = {}
        self.deployment_rows: dict[str, bytes] = {}
        self.batches: dict[int, int] = {}
        self.seats: dict[str, Seat] = {}
        self.doors: dict[int, int] = {}
        """Open connections: the epoch of each frame's."""
        self.draining: set[int] = set()
        self.answers: list[e.Answer] = []
        self.refusals: list[e.Refusal] = []
        self.unloadable: set[str] = set()
        """Models that cannot be loaded."""
        self.tasks = 0
        self.most_held = 0

    # --- the service

    def tell(self, *events: ev.Event) -> e.Effects:
        """One step, its rows, then what it wants."""
        self.now += 1
        effects = machine.step(self.state, events, self.now)
        check_invariants(self.state)
        for row in effects.rows:
            self._write(row)
        for wish in effects.wishes:
            self._carry(wish)
        self.answers += effects.answers
        self.refusals += effects.refusals
        self.most_held = max(self.most_held, self.really_held())
        return effects

    def tick(self, ms: int = 250) -> None:
        self.now += ms
        self.tell(ev.Ticked())

    def _write(self, row: e.Row) -> None:
        if isinstance(row, e.PutFrame):
            self.rows[row.frame.number] = _PACK(row.frame)
        elif isinstance(row, e.PutDeployment):
            self.deployment_rows[row.deployment.name] = _PACK(row.deployment)
        elif isinstance(row, e.InsertBatch):
            self.batches[row.batch] = row.frame
        elif isinstance(row, e.DropBatch):
            self.batches.pop(row.batch, None)

    def _carry(self, wish: e.Wish) -> None:
        if isinstance(wish, e.CloseSeat | e.CancelSeat):
            seat = self.seats.get(wish.task)
            if seat is not None:
                seat.is_over, seat.runs = True, False
        elif isinstance(wish, e.Stop):
            self.seats[wish.task].runs = False
        elif isinstance(wish, e.CloseDoor):
            self.doors.pop(wish.frame, None)
        elif isinstance(wish, e.DrainDoor):
            self.draining.add(wish.frame)
        elif isinstance(wish, e.OpenDoor):
            self.doors[wish.frame] = self.state.frames[wish.frame].epoch
        else:
            frame = self.state.frames[wish.frame]
            seat = self.seats[frame.task]
            if frame.epoch > seat.epoch:
                seat.epoch, seat.runs = frame.epoch, True

    def die(self) -> None:
        """kill -9 of the service: what is not on disk is gone; agents greet the next one."""
        before = self.state
        self.state = State(
            next_frame=before.next_frame, next_batch=before.next_batch, revision=before.revision + 1_000_000,
            budget_bytes=self.budget,
        )  # fmt: skip
        self.doors, self.draining = {}, set()
        frames = [_FRAME.decode(row) for row in self.rows.values()]
        live = [one for one in frames if not one.state.is_over or one.holds]
        deployments = [_DEPLOYMENT.decode(row) for row in self.deployment_rows.values()]
        self.tell(
            *(ev.DeploymentRecovered(one) for one in deployments if one.state.value != "undeployed"),
            *(ev.FrameRecovered(one) for one in live),
        )
        for seat in list(self.seats.values()):
            if seat.node and not seat.is_over:
                self.greet(seat)

    def greet(self, seat: Seat) -> None:
        """Its agent tells what it has; a seat of no frame is given back."""
        if seat.frame not in self.state.frames:
            seat.is_over = True
            return
        self.tell(self._opened(seat), ev.SeatStands(seat.frame, seat.task, seat.epoch, seat.runs))
        if seat.epoch and not seat.runs:
            self._ended(seat, "SIGNAL")

    # --- the rest

    def _opened(self, seat: Seat) -> ev.SeatOpened:
        address = f"tcp://{seat.node}:{seat.frame + 1000}"
        return ev.SeatOpened(seat.frame, seat.task, seat.node, address, f"/seats/{seat.task}", {})

    def _ended(self, seat: Seat, cause: str) -> None:
        self.tell(
            ev.ProcessEnded(
                frame=seat.frame, task=seat.task, epoch=seat.epoch, cause=cause, message=cause.lower()
            )
        )

    def accept(self, batch: int) -> str:
        """The scheduler takes a submission."""
        self.tasks += 1
        seat = Seat(f"t-{self.tasks}", self.batches[batch])
        self.seats[seat.task] = seat
        self.tell(ev.SeatAccepted(seat.frame, batch, seat.task))
        return seat.task

    def open(self, task: str) -> None:
        """A node has room for it."""
        seat = self.seats[task]
        frame = self.state.frames.get(seat.frame)
        seat.node = (frame.node if frame is not None else "") or self.random.choice(self.nodes)
        self.tell(self._opened(seat), ev.SeatStands(seat.frame, seat.task, 0, False))

    def close(self, task: str, cause: str = "") -> None:
        """Its task has ended."""
        seat = self.seats.pop(task)
        self.tell(ev.SeatEnded(frame=seat.frame, task=task, cause=cause, message=cause.lower()))

    def listen(self, task: str) -> None:
        seat = self.seats[task]
        self.tell(ev.Listening(seat.frame, task, seat.epoch))

    def load(self, number: int) -> None:
        """A frame that is connected says how it is."""
        frame = self.state.frames[number]
        if frame.key.model in self.unloadable:
            self.tell(
                ev.FrameRefused(number, "UNLOADABLE", "it has no weights", "INVALID_ARGUMENT", "component")
            )
        else:
            self.tell(ev.FrameLoaded(number, 0.1, frame.shape.memory_bytes))

    def kill(self, task: str, cause: str = "SIGNAL") -> None:
        """Its process dies."""
        seat = self.seats[task]
        seat.runs = False
        self._ended(seat, cause)

    def happenings(self) -> list[tuple[str, object]]:
        """All that the world would do by itself."""
        found: list[tuple[str, object]] = [("accept", batch) for batch in self.batches]
        for task, seat in self.seats.items():
            frame = self.state.frames.get(seat.frame)
            if seat.is_over:
                found.append(("close", task))
            elif not seat.node:
                found.append(("open", task))
            elif seat.runs and frame is not None and not frame.is_listening and frame.epoch == seat.epoch:
                found.append(("listen", task))
        for number in self.doors:
            frame = self.state.frames.get(number)
            if frame is not None and not frame.is_connected and frame.state.serves:
                found.append(("load", number))
        found += [("drained", number) for number in self.draining]
        return found

    def happen(self, what: str, whose: object) -> None:
        if what == "drained":
            self.draining.discard(whose)  # type: ignore[arg-type]
            frame = self.state.frames.get(whose)  # type: ignore[call-overload]
            assert frame is None or not frame.active, "calls were in it when it was drained"
            self.tell(ev.Drained(whose))  # type: ignore[arg-type]
        else:
            getattr(self, what)(whose)

    def settle(self, most: int = 2_000) -> None:
        """Until nothing happens by itself any more."""
        for _ in range(most):
            found = self.happenings()
            if not found:
                self.tick()
                if not self.happenings():
                    return
                continue
            self.happen(*self.random.choice(found))
        raise AssertionError(f"never quiet: {self.happenings()[:5]}")

    # --- what a test asks

    def want(self, model: str, version: int = 1, *, for_ms: int = 60_000, **fields: object) -> Shape:
        wanted = shape(model, version, **fields)  # type: ignore[arg-type]
        self.tell(ev.Wanted(wanted, self.now + for_ms))
        return wanted

    def ready(self, model: str, version: int = 1) -> list[Frame]:
        return [one for one in self.state.ready(key(model, version)) if one.is_connected]

    def frames(self, model: str = "") -> list[Frame]:
        return [one for one in self.state.frames.values() if model in ("", one.key.model)]

    def latest(self, number: int) -> Frame:
        """As its row has it."""
        return _FRAME.decode(self.rows[number])

    def used(self, number: int, active: int) -> None:
        if machine.used(self.state, number, active, self.now):
            self.tell(ev.BecameIdle(self.state.frames[number].key))

    def really_held(self) -> int:
        """By seats that exist, whatever the service believes."""
        sizes = {number: _FRAME.decode(row).shape.memory_bytes for number, row in self.rows.items()}
        return sum(sizes[seat.frame] for seat in self.seats.values())

    def load_all(self, *models: str) -> None:
        """Each is loaded and has been called once."""
        for model in models:
            self.want(model)
            self.settle()
            (frame,) = self.ready(model)
            self.used(frame.number, 1)
            self.now += 10
            self.used(frame.number, 0)
            assert frame.state is FrameState.READY
