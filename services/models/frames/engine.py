"""The only owner of live frames and deployments, and of asyncio around them: inbox → machine → one transaction →
effects released.

Submissions are on disk before they leave; an answer means that what it tells is on disk. If a commit fails, nothing of
its step has left, and the service ends: its successor takes everything up from the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc.aio
import msgspec

from modelyard.v1 import seat_pb2, task_pb2, task_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.errors import ServiceError
from services.chassis.failpoints import failpoint
from services.chassis.logs import get_logger
from services.chassis.marks import Kept as KeptAnswer
from services.chassis.seat_links import close_command
from services.chassis.sessions import Session, on_behalf_of
from services.chassis.supervise import Loops
from services.models.association import DEFAULT_RUNTIMES, RuntimeMap
from services.models.frames import effects as e
from services.models.frames import events as ev
from services.models.frames import machine
from services.models.frames.homes import Homes
from services.models.frames.launching import launch_of
from services.models.frames.model import FrameState
from services.models.frames.secrets import secret_of
from services.models.frames.state import Frame, State
from services.models.frames.store import FrameStore, SeatRow
from services.models.frames.submissions import cause_of, spec_of, why_of
from services.models.seams import Doors, Served, VersionKey, Versions, Way

TICK_S = 0.25
MOST_EVENTS = 2_048
CALL_S = 20.0
DRAIN_S = 30.0
"""So long calls that are in a frame may take before its place is given back."""
_log = get_logger("models.frames")


class Submission(msgspec.Struct, frozen=True):
    """A seat that is asked for, and on disk."""

    batch: int
    frame: int
    account: str
    request: task_pb2.SubmitTasksRequest


class FrameEngine:
    """Made by `open`; `run` is a loop that the service starts."""

    def __init__(
        self,
        store: FrameStore,
        scheduler: grpc.aio.Channel,
        versions: Versions,
        clock: Clock,
        loops: Loops,
        *,
        endpoint: str,
        key: bytes,
        budget_bytes: int = 0,
        runtimes: RuntimeMap = DEFAULT_RUNTIMES,
    ) -> None:
        """`key`: from which secrets of frames follow; `budget_bytes`: what they may hold together, 0: no limit."""
        self.store = store
        self.state = State(budget_bytes=budget_bytes)
        self.epoch = 0
        self.versions = versions
        self.doors: Doors
        """Set before `run`."""
        self.send: Callable[[str, seat_pb2.SeatCommand], None] = _nobody
        self.on_refusal: Callable[[e.Refusal], None] = _unheard
        self.on_frames: Callable[[Sequence[Frame]], None] = _unseen
        self.examples: Callable[[Served], Awaitable[dict[str, Any] | None]] = _none
        """To which golden outputs belong."""
        self.homes = Homes()
        self.endpoint = endpoint
        self.runtimes = runtimes
        self._scheduler = scheduler
        self._tasks = task_pb2_grpc.TaskServiceStub(scheduler)
        self._clock = clock
        self._loops = loops
        self._key = key
        self._served: dict[VersionKey, Served] = {}
        self._inbox: list[ev.Event] = []
        self._wake = asyncio.Event()
        self._settled: list[asyncio.Future[None]] = []
        self._replies: dict[int, asyncio.Future[None]] = {}
        self._keeps: dict[int, tuple[KeptAnswer[str], str]] = {}
        self._next_reply = 0
        self._sessions: dict[str, Session[Submission]] = {}
        self._tasks_of: dict[str, int] = {}
        """Which frame's seat a task holds."""
        self._explained: set[int] = set()
        """Frames of which the scheduler was asked why they are where they are."""
        self._watchers: dict[str, list[asyncio.Event]] = {}
        self._beside: set[asyncio.Task[None]] = set()
        self.quiet = asyncio.Lock()
        """Held while a step is on its way to the disk, and by whoever shows what is live."""

    async def open(self) -> None:
        """Takes up what the database holds; frames go on with the first step."""
        found = await self.store.begin()
        self.epoch = found.epoch
        self.state = State(
            next_frame=found.next_frame, next_batch=found.next_batch, revision=found.revision,
            budget_bytes=self.state.budget_bytes,
        )  # fmt: skip
        for deployment in found.deployments:
            self.post(ev.DeploymentRecovered(deployment))
        for frame in found.frames:
            self.post(ev.FrameRecovered(frame))
            if frame.task:
                self._follow(frame.shape.account, frame.number, frame.task)
        self._step_in_memory()
        for seat in found.seats:
            request = task_pb2.SubmitTasksRequest.FromString(seat.content)
            self._session(seat.account).submit(Submission(seat.batch, seat.frame, seat.account, request))
        _log.info("frames_recovered", frames=len(found.frames), deployments=len(found.deployments))

    def _step_in_memory(self) -> None:
        """So that who greets before the first step is known."""
        for event in self._inbox:
            if isinstance(event, ev.FrameRecovered):
                self.state.frames[event.frame.number] = event.frame.as_recovered()
            elif isinstance(event, ev.DeploymentRecovered):
                self.state.deployments[event.deployment.name] = event.deployment

    def post(self, event: ev.Event) -> None:
        """Hands an event in; it takes effect with the next step."""
        self._inbox.append(event)
        self._wake.set()

    async def settled(self) -> None:
        """Until what was posted before is on disk."""
        if not self._inbox and not self.quiet.locked():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settled.append(future)
        self._wake.set()
        await future

    async def ask(
        self, event_of: Callable[[int], ev.Event], kept: KeptAnswer[str] | None = None, made: str = ""
    ) -> None:
        """Posts an event that is answered: on return it is on disk. Raises what the machine says. `kept` is called
        with `made` within the transaction."""
        self._next_reply += 1
        reply = self._next_reply
        if kept is not None:
            self._keeps[reply] = (kept, made)
        self._replies[reply] = asyncio.get_running_loop().create_future()
        self.post(event_of(reply))
        await self._replies[reply]

    def used(self, number: int, active: int, now_ms: int) -> None:
        """See FrameSource.used."""
        if machine.used(self.state, number, active, now_ms):
            self.post(ev.BecameIdle(self.state.frames[number].key))

    def note(self, served: Served) -> None:
        """What a version is, for who loads it."""
        self._served[served.key] = served

    def served_of(self, key: VersionKey) -> Served | None:
        """None: it is not what serves any more."""
        known = self._served.get(key)
        if known is not None:
            return known
        try:
            found = self.versions.served(key.model, str(key.version))
        except ServiceError as error:
            _log.warning("version_lost", model=key.model, version=key.version, reason=error.reason)
            return None
        if found.key != key:
            return None
        self._served[key] = found
        return found

    def frame_of(self, task: str) -> int:
        """Whose seat a task holds; 0: nobody's here."""
        return self._tasks_of.get(task, 0)

    @contextmanager
    def watch(self, deployment: str) -> Iterator[asyncio.Event]:
        """Set whenever the deployment, or a frame of its versions, has changed; empty: anything."""
        changed = asyncio.Event()
        self._watchers.setdefault(deployment, []).append(changed)
        try:
            yield changed
        finally:
            self._watchers[deployment].remove(changed)
            if not self._watchers[deployment]:
                del self._watchers[deployment]

    async def run(self) -> None:
        """Steps through the inbox, for ever; time is an event like others."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
            self._wake.clear()
            if self.state.frames or self.state.deployments or self.state.demands:
                self._inbox.append(ev.Ticked())
            while self._inbox or self._settled:
                events, self._inbox = self._inbox[:MOST_EVENTS], self._inbox[MOST_EVENTS:]
                waiting, self._settled = (self._settled, []) if not self._inbox else ([], self._settled)
                async with self.quiet:
                    await self._step(events)
                for future in waiting:
                    future.set_result(None)

    async def _step(self, events: Sequence[ev.Event]) -> None:
        effects = machine.step(self.state, events, self._clock.now_ms())
        seats = self._packed(effects)
        if effects.rows:
            rows = [
                SeatRow(one.batch, one.frame, one.account, one.request.SerializeToString()) for one in seats
            ]
            failpoint("models.before_frames")
            await self.store.persist(effects.rows, rows, self._kept(effects))
            failpoint("models.after_frames")
        for one in effects.frames.values():
            if one.task and one.task not in self._tasks_of:
                self._follow(one.shape.account, one.number, one.task)
            if one.state is FrameState.LOADING and one.task and not one.placed_because:
                self._run_beside(
                    self._tell_placement(one.number, one.task, one.shape.account), f"why-{one.task}"
                )
        self._release(effects, seats)

    async def _tell_placement(self, number: int, task: str, account: str) -> None:
        """Why this node; a scheduler that does not say it keeps nobody waiting."""
        if number in self._explained:
            return
        self._explained = {one for one in self._explained if one in self.state.frames} | {number}
        request = task_pb2.ExplainTaskRequest(task_id=task)
        try:
            found = await self._tasks.ExplainTask(request, metadata=on_behalf_of(account), timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            _log.info("placement_not_told", task=task, code=error.code().name)
            return
        if why := why_of(found.placement):
            self.post(ev.PlacementTold(number, why))

    def _packed(self, effects: e.Effects) -> list[Submission]:
        found = []
        for row in effects.rows:
            if not isinstance(row, e.InsertBatch):
                continue
            frame = self.state.frames[row.frame]
            served = self.served_of(frame.key)
            if served is None:
                self.post(ev.SeatRefused(row.frame, row.batch, "its version does not serve any more"))
                continue
            try:
                spec = spec_of(frame, served, self.endpoint, self.runtimes)
            except ServiceError as error:
                self.post(ev.SeatRefused(row.frame, row.batch, str(error)))
                continue
            request = task_pb2.SubmitTasksRequest(request_id=str(uuid.uuid4()), specs=[spec])
            found.append(Submission(row.batch, row.frame, frame.shape.account, request))
        return found

    def _kept(self, effects: e.Effects) -> list[tuple[KeptAnswer[str], str]]:
        found = []
        for answer in effects.answers:
            kept = self._keeps.pop(answer.reply, None)
            if kept is not None and answer.error is None:
                found.append(kept)
        return found

    def _release(self, effects: e.Effects, seats: Sequence[Submission]) -> None:
        """Everything of the step is on disk."""
        for one in seats:
            failpoint("models.before_seat")
            self._session(one.account).submit(one)
        for wish in effects.wishes:
            self._carry(wish)
        if effects.frames:
            self.on_frames(list(effects.frames.values()))
        for refusal in effects.refusals:
            self.on_refusal(refusal)
        for answer in effects.answers:
            future = self._replies.pop(answer.reply, None)
            if future is None or future.done():
                continue
            if answer.error is not None:
                future.set_exception(answer.error)
            else:
                future.set_result(None)
        names = effects.deployments | ({""} if effects.frames or effects.deployments else set())
        for name in names:
            for changed in self._watchers.get(name, ()):
                changed.set()
        failpoint("models.after_release")

    def _carry(self, wish: e.Wish) -> None:
        if isinstance(wish, e.CancelSeat):
            self._run_beside(self._cancel(wish), f"cancel-{wish.task}")
        elif isinstance(wish, e.CloseSeat):
            self.send(wish.node, close_command(wish.task, (), wish.message, is_failure=wish.is_failure))
        elif isinstance(wish, e.Stop):
            stop = seat_pb2.StopSeat(epoch=wish.epoch, signal="SIGKILL", grace_ms=0)
            self.send(wish.node, seat_pb2.SeatCommand(task_id=wish.task, stop=stop))
        elif isinstance(wish, e.CloseDoor):
            self.doors.close(wish.frame, wish.why)
        elif (frame := self.state.frames.get(wish.frame)) is None:
            return
        elif isinstance(wish, e.Launch):
            self._run_beside(self._launch(frame, frame.epoch), f"launch-{frame.number}")
        elif isinstance(wish, e.OpenDoor):
            secret = secret_of(self._key, frame.number, frame.epoch)
            socket = self.homes.socket_of(frame.at_node, frame.directory)
            way = Way(frame.address, frame.at_node, socket)
            self.doors.open(frame.number, frame.key, way, secret)
        else:
            self._run_beside(self._drain(frame.number), f"drain-{frame.number}")

    async def _launch(self, frame: Frame, epoch: int) -> None:
        served = self.served_of(frame.key)
        if served is None:
            self.post(ev.Outdated(frame.number, "its version does not serve any more"))
            return
        example = await self.examples(served)
        if frame.epoch != epoch or frame.is_closing:
            return
        try:
            launch = launch_of(frame, served, self._key, self.runtimes, example)
        except ServiceError as error:
            # Its container fits no image any more.
            self.post(ev.FrameRefused(frame.number, error.reason, str(error), error.code, error.field))
            return
        self.send(frame.at_node, seat_pb2.SeatCommand(task_id=frame.task, launch=launch))

    async def _drain(self, number: int) -> None:
        await self.doors.drain(number, DRAIN_S)
        self.post(ev.Drained(number))

    async def _cancel(self, wish: e.CancelSeat) -> None:
        """Asked again by the machine until the task has ended."""
        request = task_pb2.CancelTasksRequest(
            task_ids=[wish.task], comment="its frame wants no place any more"
        )
        try:
            await self._tasks.CancelTasks(request, metadata=on_behalf_of(wish.account), timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            _log.warning("seat_not_cancelled", task=wish.task, code=error.code().name, why=error.details())
            if error.code() is grpc.StatusCode.NOT_FOUND:
                self.on_unknown(wish.account, [wish.task])

    def _run_beside(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    def _follow(self, account: str, number: int, task: str) -> None:
        self._tasks_of[task] = number
        self._session(account).follow([task])

    def _session(self, account: str) -> Session[Submission]:
        session = self._sessions.get(account)
        if session is None:
            session = self._sessions[account] = Session(self._scheduler, account, self)
            self._loops.start(f"session-{account}", session.run())
        return session

    # What comes back from the scheduler

    def on_accepted(self, account: str, batch: Submission, tasks: Sequence[str]) -> None:
        failpoint("models.after_seat")
        self._tasks_of[tasks[0]] = batch.frame
        self.post(ev.SeatAccepted(batch.frame, batch.batch, tasks[0]))
        if batch.frame not in self.state.frames:
            self._run_beside(self._cancel(e.CancelSeat(batch.frame, account, tasks[0])), f"cancel-{tasks[0]}")

    def on_refused(self, account: str, batch: Submission, refusal: task_pb2.Refusal) -> None:
        message = refusal.message + (f" ({refusal.next_step})" if refusal.next_step else "")
        self.post(ev.SeatRefused(batch.frame, batch.batch, message))

    def on_outcomes(self, account: str, outcomes: Sequence[task_pb2.TaskOutcome]) -> None:
        for outcome in outcomes:
            number = self._tasks_of.pop(outcome.task_id, 0)
            if number:
                cause, message = cause_of(outcome)
                self.post(ev.SeatEnded(frame=number, task=outcome.task_id, cause=cause, message=message))

    def on_unknown(self, account: str, tasks: Sequence[str]) -> None:
        for task in tasks:
            number = self._tasks_of.pop(task, 0)
            if number:
                message = "the scheduler knows its seat no more"
                self.post(ev.SeatEnded(frame=number, task=task, cause="NODE_LOST", message=message))

    @property
    def loaded_count(self) -> int:
        """Frames that take calls."""
        return sum(one.state is FrameState.READY for one in self.state.frames.values())


def _nobody(node: str, command: seat_pb2.SeatCommand) -> None:
    """Before agents can be heard nothing is sent: after their greeting commands follow from the state."""


async def _none(served: Served) -> dict[str, Any] | None:
    """Where there is no store."""
    return None


def _unheard(refusal: e.Refusal) -> None:
    """Before anybody can wait nobody is told."""


def _unseen(frames: Sequence[Frame]) -> None:
    """Before anybody can ask nobody is told."""
