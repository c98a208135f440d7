"""The only owner of live frames and deployments, and of asyncio around them: inbox → machine → one transaction →
effects released.

Submissions are on disk before they leave; an answer means that what it tells is on disk. If a commit fails, nothing of
its step has left, and the service ends: its successor takes everything up from the database.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import grpc.aio

from modelyard.v1 import task_pb2
from services.chassis.clock import Clock
from services.chassis.failpoints import failpoint
from services.chassis.logs import get_logger
from services.chassis.process.supervise import Loops
from services.chassis.requests.marks import Kept as KeptAnswer
from services.chassis.steps.inbox import Inbox
from services.chassis.steps.replies import Replies
from services.chassis.steps.watchers import Watchers
from services.models.frames import effects as e
from services.models.frames import events as ev
from services.models.frames import machine
from services.models.frames.carrying import Carrying
from services.models.frames.known import Known
from services.models.frames.model import FrameState
from services.models.frames.places import Places, Submission
from services.models.frames.state import Frame, State
from services.models.frames.store import FrameStore
from services.models.seams import Versions
from services.models.surroundings.association import DEFAULT_RUNTIMES, RuntimeMap

TICK_S = 0.25
MOST_EVENTS = 2_048
_log = get_logger("models.frames")


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
        self.on_refusal: Callable[[e.Refusal], None] = _unheard
        self.on_frames: Callable[[Sequence[Frame]], None] = _unseen
        self.endpoint = endpoint
        self.runtimes = runtimes
        self.known = Known(versions)
        self.places = Places(
            scheduler, loops, self.known, self.post, endpoint=endpoint, runtimes=runtimes,
            is_there=lambda number: number in self.state.frames,
        )  # fmt: skip
        self.carrying = Carrying(self.places, self.known, self.post, key=key, runtimes=runtimes)
        """Its doors are set before `run`."""
        self._clock = clock
        self._inbox = Inbox[ev.Event](MOST_EVENTS)
        self.quiet = self._inbox.quiet
        self._replies = Replies[None]()
        self._watchers = Watchers[str]()

    async def open(self) -> None:
        """Takes up what the database holds; frames go on with the first step."""
        found = await self.store.begin()
        self.epoch = found.epoch
        self.state = State(
            next_frame=found.next_frame, next_batch=found.next_batch, revision=found.revision,
            budget_bytes=self.state.budget_bytes,
        )  # fmt: skip
        # In memory at once, so that who greets before the first step is known.
        for deployment in found.deployments:
            self.state.deployments[deployment.name] = deployment
            self.post(ev.DeploymentRecovered(deployment))
        for frame in found.frames:
            self.state.frames[frame.number] = frame.as_recovered()
            self.post(ev.FrameRecovered(frame))
            if frame.task:
                self.places.follow(frame)
        for seat in found.seats:
            request = task_pb2.SubmitTasksRequest.FromString(seat.content)
            self.places.submit(Submission(seat.batch, seat.frame, seat.account, request))
        _log.info("frames_recovered", frames=len(found.frames), deployments=len(found.deployments))

    def post(self, event: ev.Event) -> None:
        """Hands an event in; it takes effect with the next step."""
        self._inbox.post(event)

    async def settled(self) -> None:
        """Until what was posted before is on disk."""
        await self._inbox.settled()

    async def ask(
        self, event_of: Callable[[int], ev.Event], kept: KeptAnswer[str] | None = None, made: str = ""
    ) -> None:
        """Posts an event that is answered: on return it is on disk. Raises what the machine says. `kept` is called
        with `made` within the transaction."""

        def keep(connection: sqlite3.Connection, _: None) -> None:
            if kept is not None:
                kept(connection, made)

        reply, answer = self._replies.new(keep)
        self.post(event_of(reply))
        await answer

    def used(self, number: int, active: int, now_ms: int) -> None:
        """See FrameSource.used."""
        if machine.used(self.state, number, active, now_ms):
            self.post(ev.BecameIdle(self.state.frames[number].key))

    def watch(self, deployment: str) -> AbstractContextManager[asyncio.Event]:
        """Set whenever the deployment, or a frame of its versions, has changed; empty: anything."""
        return self._watchers.watch(deployment)

    async def run(self) -> None:
        """Steps through the inbox, for ever; time is an event like others."""
        while True:
            await self._inbox.wait(TICK_S)
            if self.state.frames or self.state.deployments or self.state.demands:
                self.post(ev.Ticked())
            await self._inbox.work_off(self._step)

    async def _step(self, events: Sequence[ev.Event]) -> None:
        effects = machine.step(self.state, events, self._clock.now_ms())
        seats = self.places.packed(effects.rows, self.state.frames)
        if effects.rows:
            rows = [one.row for one in seats]
            failpoint("models.before_frames")
            await self.store.persist(effects.rows, rows, self._kept(effects))
            failpoint("models.after_frames")
        self.places.look(effects.frames.values())
        self._release(effects, seats)

    def _kept(self, effects: e.Effects) -> list[tuple[KeptAnswer[None], None]]:
        return self._replies.kept((answer.reply, None) for answer in effects.answers if answer.error is None)

    def _release(self, effects: e.Effects, seats: Sequence[Submission]) -> None:
        """Everything of the step is on disk."""
        for one in seats:
            failpoint("models.before_seat")
            self.places.submit(one)
        for wish in effects.wishes:
            self.carrying.carry(wish, self.state.frames)
        if effects.frames:
            self.on_frames(list(effects.frames.values()))
        for refusal in effects.refusals:
            self.on_refusal(refusal)
        for answer in effects.answers:
            self._replies.answer(answer.reply, None, answer.error)
        names = effects.deployments | ({""} if effects.frames or effects.deployments else set())
        for name in names:
            self._watchers.tell(name)
        failpoint("models.after_release")

    @property
    def loaded_count(self) -> int:
        """Frames that take calls."""
        return sum(one.state is FrameState.READY for one in self.state.frames.values())


def _unheard(refusal: e.Refusal) -> None:
    """Before anybody can wait nobody is told."""


def _unseen(frames: Sequence[Frame]) -> None:
    """Before anybody can ask nobody is told."""
