"""The only owner of live jobs and of asyncio around them: inbox → machine → one transaction → effects released.

Submissions are on disk before they leave; an answer means that what it tells is on disk. If a commit fails, nothing of
its step has left, and the service ends: its successor takes everything up from the database.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import grpc.aio
import msgspec

from modelyard.training import Plan, Progress, Refused
from modelyard.training.policies.restarts import Cause
from modelyard.v1 import seat_pb2, task_pb2
from services.chassis.clock import Clock
from services.chassis.failpoints import failpoint
from services.chassis.logs import get_logger
from services.chassis.peers.sessions import Session
from services.chassis.process.supervise import Loops
from services.chassis.requests.marks import Kept as KeptAnswer
from services.chassis.steps.errands import Errands
from services.chassis.steps.inbox import Inbox
from services.chassis.steps.replies import Replies
from services.chassis.steps.watchers import Watchers
from services.trainer import machine
from services.trainer.convert import submissions
from services.trainer.convert.addresses import Cache
from services.trainer.convert.commands import command_of
from services.trainer.jobs import timers
from services.trainer.jobs.standing_in import plan_without_framework
from services.trainer.model import Checkpoint, Exit
from services.trainer.records.owing import owed
from services.trainer.records.store import EPOCH_REVISIONS, BatchRow, JobStore, Part
from services.trainer.state import effects as e
from services.trainer.state.events import (
    Event,
    FrameworkLost,
    JobForgotten,
    JobRecovered,
    SeatEnded,
    SeatsAccepted,
    SeatsRefused,
    Ticked,
)
from services.trainer.state.jobs import Instance, Job
from services.trainer.state.state import State
from services.trainer.state.sweep_events import SweepEvent, SweepRevisited, SweepsTaken
from services.trainer.sweeps.machine import is_to_be_revisited

TICK_S = 0.5
MOST_EVENTS = 2_048

Watched = int | tuple[str, int]
"""A job, or ("sweep", its number)."""
PlanOf = Callable[[Job], Plan]
_log = get_logger("trainer.engine")


class Seats(msgspec.Struct, frozen=True):
    """A submission of seats that is on disk."""

    number: int
    job: int
    account: str
    parts: tuple[Part, ...]
    request: task_pb2.SubmitTasksRequest


class Engine:
    """Made by `open`; `run` is a loop that the service starts."""

    def __init__(
        self,
        store: JobStore,
        scheduler: grpc.aio.Channel,
        errands: Errands,
        clock: Clock,
        loops: Loops,
        endpoint: str,
    ) -> None:
        self.store = store
        self.state = State()
        self.epoch = 0
        self.send: Callable[[str, seat_pb2.SeatCommand], None] = _nobody
        self.ask: Callable[[e.AskFunction], None] = _unasked
        self._scheduler = scheduler
        self._errands = errands
        self._clock = clock
        self._loops = loops
        self._endpoint = endpoint
        self._inbox = Inbox[Event | SweepEvent](MOST_EVENTS)
        self.quiet = self._inbox.quiet
        self._replies = Replies[int]()
        self._open_sessions: dict[str, Session[Seats]] = {}
        self._seats: dict[str, tuple[int, str, int]] = {}
        """Whose seat a task holds."""
        self._watchers = Watchers[Watched]()

    async def open(self, plan_of: PlanOf, sweeps: SweepsTaken) -> None:
        """Takes up what the database holds; jobs go on with the first step."""
        found = await self.store.begin()
        self.epoch = found.epoch
        revision = max(found.revision, sweeps.revision + EPOCH_REVISIONS)
        self.state = State(found.next_job, found.next_batch, found.next_turn, revision, sweeps.next_sweep)
        # Before their jobs: whatever becomes of these is noted.
        for event in sweeps.events:
            self.post(event)
        for job, instances in found.jobs:
            for one in instances:
                for task in filter(None, (one.task, *one.closing)):
                    self._seats[task] = (job.number, *one.key)
            self._recover(job, instances, await self.store.checkpoints(job.number), plan_of)
            tasks = [task for one in instances for task in (one.task, *one.closing) if task]
            if tasks:
                self._session(job.account).follow(tasks)
        for batch in found.batches:
            request = task_pb2.SubmitTasksRequest.FromString(batch.content)
            self._session(batch.account).submit(
                Seats(batch.number, batch.job, batch.account, batch.parts, request)
            )
        _log.info("jobs_recovered", jobs=len(found.jobs), batches=len(found.batches))

    def _recover(
        self, job: Job, instances: Sequence[Instance], checkpoints: tuple[Checkpoint, ...], plan_of: PlanOf
    ) -> None:
        """A job whose framework is gone keeps nobody from starting: it is ended."""
        try:
            plan, lost = plan_of(job), ""
        except Refused as refused:
            first = refused.problems[0]
            plan, lost = plan_without_framework(job), f"its framework {job.framework}: {first.message}"
            _log.warning("framework_lost", job=job.number, framework=job.framework, message=first.message)
        self.post(JobRecovered(job, plan, tuple(instances), checkpoints))
        if lost:
            self.post(FrameworkLost(job.number, lost))

    def post(self, event: Event | SweepEvent) -> None:
        """Hands an event in; it takes effect with the next step."""
        self._inbox.post(event)

    async def settled(self) -> None:
        """Until what was posted before is on disk."""
        await self._inbox.settled()

    def new_reply(self, kept: KeptAnswer[int] | None = None) -> tuple[int, asyncio.Future[int]]:
        """A number for an event that wants an answer, and the job's number to come."""
        return self._replies.new(kept)

    async def run(self) -> None:
        """Steps through the inbox, for ever; time is an event like others."""
        while True:
            await self._inbox.wait(self._idle_s())
            # However busy it is: what is due does not wait for quiet.
            if timers.is_due(self.state, self._clock.now_ms()):
                self.post(Ticked())
            await self._inbox.work_off(self._step)

    def _idle_s(self) -> float:
        """Until something is due; not longer than a tick, for the clock may be set."""
        due_ms = timers.next_ms(self.state)
        return min(TICK_S, max(0, due_ms - self._clock.now_ms()) / 1000) if due_ms else TICK_S

    def wants(self, number: int) -> bool:
        """Whether seats of that job are anybody's."""
        live = self.state.jobs.get(number)
        return live is not None and not live.job.state.has_ended

    @property
    def live_count(self) -> int:
        """Jobs that have not ended."""
        return sum(not live.job.state.has_ended for live in self.state.jobs.values())

    @property
    def live_sweep_count(self) -> int:
        """Sweeps that have not ended."""
        return sum(not live.sweep.state.has_ended for live in self.state.sweeps.values())

    def seat_at(self, task: str) -> tuple[int, str, int] | None:
        """Job, role and index of the instance whose seat the task holds."""
        return self._seats.get(task)

    def told(self, job: int, role: str, index: int) -> Progress | None:
        """What an instance has told of its progress in its present epoch."""
        live = self.state.jobs.get(job)
        one = live.instances.get((role, index)) if live is not None else None
        return one.progress if one is not None else None

    def watch(self, one: Watched) -> AbstractContextManager[asyncio.Event]:
        """Set whenever the job or sweep has changed, for as long as the block lasts."""
        return self._watchers.watch(one)

    async def _step(self, events: Sequence[Event | SweepEvent]) -> None:
        effects = machine.step(self.state, events, self._clock.now_ms())
        seats = [self._packed(row) for row in effects.rows if isinstance(row, e.InsertBatch)]
        errands = owed(effects.wishes, self._errands)
        if effects.rows or errands:
            batches = [
                BatchRow(one.number, one.job, one.account, one.parts, one.request.SerializeToString())
                for one in seats
            ]
            failpoint("trainer.before_commit")
            await self.store.persist(effects.rows, batches, errands, self._kept(effects))
            failpoint("trainer.after_commit")
        self._note_seats(effects)
        self._release(effects, seats)
        self._errands.owe(errands)

    def _packed(self, row: e.InsertBatch) -> Seats:
        parts, request = submissions.request_of(self.state.jobs[row.job], row, self._endpoint)
        request.request_id = str(uuid.uuid4())
        return Seats(row.batch, row.job, row.account, parts, request)

    def _kept(self, effects: e.Effects) -> list[tuple[KeptAnswer[int], int]]:
        given = ((answer.reply, answer.job) for answer in effects.answers if answer.error is None)
        return self._replies.kept(given)

    def _note_seats(self, effects: e.Effects) -> None:
        """Seats that instances got are followed from now on."""
        new: dict[str, list[str]] = {}
        for row in effects.rows:
            if isinstance(row, e.PutInstance) and row.instance.task and row.instance.task not in self._seats:
                self._seats[row.instance.task] = (row.job, *row.instance.key)
                new.setdefault(self.state.jobs[row.job].job.account, []).append(row.instance.task)
        for account, tasks in new.items():
            self._session(account).follow(tasks)

    def _release(self, effects: e.Effects, seats: Sequence[Seats]) -> None:
        """Everything of the step is on disk."""
        for one in seats:
            failpoint("trainer.before_submit")
            self._session(one.account).submit(one)
        self._command(effects)
        for answer in effects.answers:
            self._replies.answer(answer.reply, answer.job, answer.error)
        for job in effects.changed:
            self._watchers.tell(job)
            live = self.state.jobs.get(job)
            if live is not None and live.job.state.has_ended:
                self.post(JobForgotten(job))
        for number in effects.changed_sweeps:
            self._watchers.tell(("sweep", number))
            if is_to_be_revisited(self.state.sweeps[number]):
                self.post(SweepRevisited(number))
        failpoint("trainer.after_release")

    def _command(self, effects: e.Effects) -> None:
        """Agents are told. Of many changes of addresses in one step the last is, and nobody twice."""
        caches = {
            wish.job: Cache(live)
            for wish in effects.wishes
            if isinstance(wish, e.LaunchInstance | e.PublishAddresses | e.TellAddresses)
            and (live := self.state.jobs.get(wish.job)) is not None
        }
        told = {wish.task for wish in effects.wishes if isinstance(wish, e.LaunchInstance)}
        published = set()
        for wish in effects.wishes:
            if isinstance(wish, e.PublishAddresses):
                published.add(wish.job)
            elif isinstance(wish, e.AskFunction):
                self.ask(wish)
            elif isinstance(wish, e.AgentWish):
                command = command_of(wish, self.state.jobs.get(wish.job), caches.get(wish.job))
                if command is not None:
                    self.send(wish.node, command)
        for job in published & caches.keys():
            for node, command in caches[job].commands(told):
                self.send(node, command)

    def _session(self, account: str) -> Session[Seats]:
        session = self._open_sessions.get(account)
        if session is None:
            session = self._open_sessions[account] = Session(self._scheduler, account, self)
            self._loops.start(f"session-{account}", session.run())
        return session

    # What comes back from the scheduler

    def on_accepted(self, account: str, batch: Seats, tasks: Sequence[str]) -> None:
        failpoint("trainer.after_submit")
        found = {
            (role, first + element): f"{task}.{element}"
            for (role, first, count), task in zip(batch.parts, tasks, strict=True)
            for element in range(count)
        }
        self.post(SeatsAccepted(batch.job, account, batch.number, found))

    def on_refused(self, account: str, batch: Seats, refusal: task_pb2.Refusal) -> None:
        message = refusal.message + (f" ({refusal.next_step})" if refusal.next_step else "")
        self.post(SeatsRefused(batch.job, batch.number, message))

    def on_outcomes(self, account: str, outcomes: Sequence[task_pb2.TaskOutcome]) -> None:
        for outcome in outcomes:
            at = self._seats.pop(outcome.task_id, None)
            if at is not None:
                found = submissions.exit_of(outcome, self._clock.now_ms())
                is_late = submissions.waited_too_long(outcome)
                kept = tuple((one.name, one.digest, one.size_bytes) for one in outcome.result.outputs)
                self.post(SeatEnded(at[0], outcome.task_id, found, is_late, kept))

    def on_unknown(self, account: str, tasks: Sequence[str]) -> None:
        for task in tasks:
            at = self._seats.pop(task, None)
            if at is not None:
                found = Exit(epoch=0, cause=Cause.NODE_LOST, message="the scheduler knows its seat no more")
                self.post(SeatEnded(at[0], task, found))


def _unasked(wish: e.AskFunction) -> None:
    """Before packages can be asked the machine takes no step."""


def _nobody(node: str, command: seat_pb2.SeatCommand) -> None:
    """Before agents can be heard nothing is sent: after their greeting commands follow from the state."""
