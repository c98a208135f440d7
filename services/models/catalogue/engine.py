"""The only owner of the live catalogue and of asyncio around it: inbox → machine → one transaction → effects released.

Work is on disk before it leaves; an answer means that what it tells is on disk. If a commit fails, nothing of its step
has left, and the service ends: its successor takes everything up from the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AbstractContextManager

import grpc.aio
import msgspec

from modelyard.errors import YardError
from modelyard.v1 import task_pb2
from services.chassis.clock import Clock
from services.chassis.failpoints import failpoint
from services.chassis.logs import get_logger
from services.chassis.peers.sessions import Session
from services.chassis.process.supervise import Loops
from services.chassis.requests.marks import Kept
from services.chassis.steps.errands import Errands, is_final
from services.chassis.steps.inbox import Inbox
from services.chassis.steps.replies import Replies
from services.chassis.steps.watchers import Watchers
from services.models.catalogue import effects as e
from services.models.catalogue import events as ev
from services.models.catalogue import machine, tasks
from services.models.catalogue.model import Cause
from services.models.catalogue.owing import owed
from services.models.catalogue.state import Live, State, check_invariants
from services.models.catalogue.store import CatalogueStore, Submitted
from services.models.catalogue.supplies import AGAIN_S, SLOWEST_S, Supplies
from services.models.surroundings.association import RuntimeMap
from services.models.trust.words import Trust

MOST_EVENTS = 256
Watched = tuple[str, int]
_log = get_logger("models.catalogue")


class Batch(msgspec.Struct, frozen=True):
    """Work as its account's session submits it."""

    number: int
    model: str
    version: int
    request: task_pb2.SubmitTasksRequest


class Engine:
    """Made by `open`; `run` is a loop that the service starts."""

    def __init__(
        self,
        store: CatalogueStore,
        scheduler: grpc.aio.Channel,
        supplies: Supplies,
        errands: Errands,
        clock: Clock,
        loops: Loops,
    ) -> None:
        self.store = store
        self.state = State()
        self._scheduler = scheduler
        self.supplies = supplies
        self._errands = errands
        self._clock = clock
        self._loops = loops
        self._inbox = Inbox[ev.Event](MOST_EVENTS)
        self.quiet = self._inbox.quiet
        self._replies = Replies[e.Answer]()
        self._sessions: dict[str, Session[Batch]] = {}
        self._tasks: dict[str, tuple[str, int, int]] = {}
        """For what a task works: model, version, number."""
        self._watchers = Watchers[Watched]()
        self._begun: list[Submitted] = []
        self._group: asyncio.TaskGroup | None = None

    async def open(self, trusted: Trust, runtimes: RuntimeMap) -> None:
        """Takes up what the database holds; work goes on once it runs."""
        self.state, steps = await self.store.begin(trusted)
        self.state.runtimes = runtimes
        runtimes.kept.update(await self.store.associations())
        check_invariants(self.state)
        self._begun = steps
        _log.info("catalogue_recovered", models=len(self.state.models), steps=len(steps))

    def post(self, event: ev.Event) -> None:
        """Hands an event in; it takes effect with the next step."""
        self._inbox.post(event)

    def new_reply(self, kept: Kept[e.Answer] | None = None) -> tuple[int, asyncio.Future[e.Answer]]:
        """A number for an event that wants an answer, and the answer to come: raised where it is a refusal."""
        return self._replies.new(kept)

    async def run(self) -> None:
        """Takes up what was begun, then steps through the inbox, for ever."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._take_up()
            while True:
                await self._inbox.wait()
                await self._inbox.work_off(self._step)

    def _take_up(self) -> None:
        for one in self._begun:
            live = self._working(one.model, one.version, one.number)
            work = live.version.work if live is not None else None
            if work is not None and work.task:
                self._tasks[work.task] = (one.model, one.version, one.number)
                self._session(one.account).follow([work.task])
            elif work is not None:
                self._submit(one)
        self._begun = []

    def watch(self, one: Watched) -> AbstractContextManager[asyncio.Event]:
        """Set whenever the version has changed, for as long as the block lasts."""
        return self._watchers.watch(one)

    @property
    def under_way(self) -> int:
        """Inspections and probes."""
        return sum(live.version.work is not None for live in self.state.all())

    async def _step(self, events: Sequence[ev.Event]) -> None:
        effects = machine.step(self.state, events, self._clock.now_ms())
        runtimes = self.state.runtimes
        fits = tasks.fits_of(effects.begins, runtimes)
        begun = [tasks.submitted(one, self.supplies.digest, runtimes) for one in effects.begins]
        errands = owed(effects.wishes, self._errands)
        kept = self._kept(effects)
        if effects.rows or begun or errands or kept:
            failpoint("models.before_commit")
            await self.store.persist(
                effects.rows, begun, errands, kept, self.state.revision, self.state.next_work, fits
            )
            runtimes.kept.update(fits)
            failpoint("models.after_commit")
        self._release(effects, begun)
        self._errands.owe(errands)

    def _kept(self, effects: e.Effects) -> list[tuple[Kept[e.Answer], e.Answer]]:
        given = ((answer.reply, answer) for answer in effects.answers if answer.error is None)
        return self._replies.kept(given)

    def _release(self, effects: e.Effects, begun: Sequence[Submitted]) -> None:
        """Everything of the step is on disk."""
        for one in begun:
            if self._working(one.model, one.version, one.number) is not None:
                self._submit(one)
        for answer in effects.answers:
            self._replies.answer(answer.reply, answer, answer.error)
        gone = {(row.model, row.version) for row in effects.rows if isinstance(row, e.DropVersion)}
        for key in effects.changed | gone:
            self._watchers.tell(key)

    # Work leaves

    def _submit(self, one: Submitted) -> None:
        self._leave(self._prepare(one))

    def _leave(self, coroutine: Coroutine[None, None, None]) -> None:
        """Beside the steps; if it crashes, so does the loop."""
        assert self._group is not None
        self._group.create_task(coroutine)

    async def _prepare(self, one: Submitted) -> None:
        """What its task finds beside the component is put into the store, then it goes."""
        delay_s = AGAIN_S
        while self._working(one.model, one.version, one.number) is not None:
            try:
                await self.supplies.supply(one.account, one.config)
                break
            except YardError as error:
                if is_final(error):
                    self._refuse(one.model, one.version, one.number, error.message)
                    return
                _log.warning("work_waits", number=one.number, reason=error.reason, message=error.message)
            await self._clock.sleep(delay_s)
            delay_s = min(2 * delay_s, SLOWEST_S)
        failpoint("models.before_submit")
        request = task_pb2.SubmitTasksRequest.FromString(one.content)
        self._session(one.account).submit(Batch(one.number, one.model, one.version, request))

    def _refuse(self, model: str, version: int, number: int, message: str) -> None:
        self.post(ev.WorkFailed(model, version, number, cause=Cause.REFUSED, message=message))

    def _working(self, model: str, version: int, number: int) -> Live | None:
        live = self.state.find(model, version)
        if live is None or live.version.work is None or live.version.work.number != number:
            return None
        return live

    def _session(self, account: str) -> Session[Batch]:
        session = self._sessions.get(account)
        if session is None:
            session = self._sessions[account] = Session(self._scheduler, account, self)
            self._loops.start(f"catalogue-session-{account}", session.run())
        return session

    # What comes back from the scheduler

    def on_accepted(self, account: str, batch: Batch, found: Sequence[str]) -> None:
        failpoint("models.after_submit")
        [task] = found
        self._tasks[task] = (batch.model, batch.version, batch.number)
        self.post(ev.WorkAccepted(batch.model, batch.version, batch.number, task))

    def on_refused(self, account: str, batch: Batch, refusal: task_pb2.Refusal) -> None:
        step = f" ({refusal.next_step})" if refusal.next_step else ""
        self._refuse(batch.model, batch.version, batch.number, refusal.message + step)

    def on_outcomes(self, account: str, outcomes: Sequence[task_pb2.TaskOutcome]) -> None:
        for outcome in outcomes:
            at = self._tasks.pop(outcome.task_id, None)
            if at is not None:
                self._leave(self._read(at, outcome))

    def on_unknown(self, account: str, unknown: Sequence[str]) -> None:
        for task in unknown:
            at = self._tasks.pop(task, None)
            if at is not None:
                self.post(
                    ev.WorkFailed(
                        *at, cause=Cause.LOST, message=f"the scheduler does not know {task} any more"
                    )
                )

    async def _read(self, at: tuple[str, int, int], outcome: task_pb2.TaskOutcome) -> None:
        """What the task found, from the store; then it is an event."""
        failpoint("models.before_read")
        live = self._working(*at)
        if live is not None:
            self.post(await self.supplies.read(live.version, outcome))
