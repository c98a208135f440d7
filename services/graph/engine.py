"""The only owner of live runs and of asyncio around them: inbox → machine → one transaction → effects released.

Batches are on disk before they leave; an answer means that what it tells is on disk. If a commit fails, nothing of its
step has left, and the service ends: its successor takes everything up from the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from modelyard.v1 import task_pb2
from services.chassis.clock import Clock
from services.chassis.failpoints import failpoint
from services.chassis.logs import get_logger
from services.chassis.peers.sessions import Session
from services.chassis.process.supervise import Loops
from services.chassis.requests.marks import Kept as KeptAnswer
from services.chassis.steps.errands import Errands
from services.chassis.steps.inbox import Inbox
from services.chassis.steps.replies import Replies
from services.graph.peers import submissions
from services.graph.peers.fetching import Fetching
from services.graph.peers.patience import Store
from services.graph.peers.peers import Batch, Scheduler
from services.graph.records import recovery
from services.graph.records.owing import owed
from services.graph.records.store import RunStore
from services.graph.runs import effects as e
from services.graph.runs import machine
from services.graph.runs.events import (
    BatchRefused,
    Event,
    NodeEnded,
    RunRecovered,
    TasksAccepted,
    TimePassed,
)
from services.graph.runs.places import Place
from services.graph.runs.state import State
from services.graph.runs.values import CAUSE_SETUP, Failure

MOST_EVENTS = 2_048
BUSY_TASKS = 20
"""With more under way a step waits for others to share its transaction and its messages: about half of the time that
agents need for what they have, were it nothing but no-ops."""
GATHER_A_TASK_S = 0.000_02
GATHER_MOST_S = 0.005

_log = get_logger("graph.engine")


class Watch:
    """One who looks on at a run."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()

    def clear(self) -> None:
        """Everything up to now was seen."""
        self._changed.clear()

    def wake(self, *, has_ended: bool) -> None:
        self._changed.set()
        if has_ended:
            self._ended.set()

    async def wait(self, gather_s: float) -> None:
        """Until the run has changed; then so much longer, that changes come together, but for its end."""
        await self._changed.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(gather_s):
                await self._ended.wait()


class Engine:
    """Made by `open`; `run` is a loop that the service starts."""

    def __init__(
        self,
        store: RunStore,
        scheduler: Scheduler,
        artifacts: Store,
        errands: Errands,
        clock: Clock,
        loops: Loops,
        *,
        cache_bytes: int = 256 << 20,
    ) -> None:
        self.store = store
        self.state = State()
        self.released_revision = 0
        self._scheduler = scheduler
        self._fetching = Fetching(store, artifacts, lambda number: self.state.runs.get(number), self.post)
        self._errands = errands
        self._clock = clock
        self._loops = loops
        self._cache_bytes = cache_bytes
        self._inbox = Inbox[Event](MOST_EVENTS)
        self.quiet = self._inbox.quiet
        self._replies = Replies[int]()
        self._sessions: dict[str, Session[Batch]] = {}
        self._tasks: dict[str, tuple[int, Place]] = {}
        """Run and place by task."""
        self._watchers: dict[int, set[Watch]] = {}

    async def open(self) -> None:
        """Takes up what the database holds; the runs go on with the first step."""
        recovered = await self.store.begin()
        self.state, runs = recovery.restore(recovered)
        self.state.cache.bytes_most = self._cache_bytes
        self.released_revision = self.state.revision
        for run, again in runs:
            for task, place in run.tasks.items():
                self._tasks[task] = (run.spec.number, place)
            self.post(RunRecovered(run, again))
        _log.info("runs_recovered", runs=len(runs), cached=len(self.state.cache))

    def post(self, event: Event) -> None:
        """Hands an event in; it takes effect with the next step."""
        self._inbox.post(event)

    def new_reply(self, kept: KeptAnswer[int] | None = None) -> tuple[int, asyncio.Future[int]]:
        """A number for an event that wants an answer, and the run's number to come.

        `kept` keeps the answer in the transaction of what it tells of.
        """
        return self._replies.new(kept)

    async def run(self) -> None:
        """Steps through the inbox, for ever."""
        while True:
            await self._awake()
            if len(self._tasks) > BUSY_TASKS:
                # The agents have enough to do meanwhile: what ends together leaves together.
                await self._clock.sleep(min(GATHER_MOST_S, len(self._tasks) * GATHER_A_TASK_S))
            await self._inbox.work_off(self._step)

    async def _awake(self) -> None:
        """Something came in, or a gate has waited long enough."""
        deadlines = self.state.deadlines
        if not deadlines:
            await self._inbox.wait()
        elif not await self._inbox.wait(max(0, min(deadlines.values()) - self._clock.now_ms()) / 1000):
            self.post(TimePassed())

    def watched_tasks(self, begun_before_ms: int, most: int) -> dict[str, dict[str, tuple[int, Place]]]:
        """By account: tasks of runs that somebody watches, begun before then, each with its run and place."""
        found: dict[str, dict[str, tuple[int, Place]]] = {}
        for number in self._watchers:
            run = self.state.runs.get(number)
            if run is None:
                continue
            own = found.setdefault(run.spec.account, {})
            for task, place in run.tasks.items():
                if len(own) >= most:
                    break
                node = run.node_at(place)
                if node is not None and node.start_ms < begun_before_ms:
                    own[task] = (number, place)
        return {account: tasks for account, tasks in found.items() if tasks}

    @contextmanager
    def watch(self, run: int) -> Iterator[Watch]:
        """Wakes whenever the run has changed, for as long as the block lasts."""
        watch = Watch()
        self._watchers.setdefault(run, set()).add(watch)
        try:
            yield watch
        finally:
            left = self._watchers[run]
            left.discard(watch)
            if not left:
                del self._watchers[run]

    async def _step(self, events: list[Event]) -> None:
        effects = machine.step(self.state, events, self._clock.now_ms())
        batches, errands = self._pack(effects), owed(effects, self._errands)
        if effects.rows:
            failpoint("graph.before_commit")
            await self.store.persist(effects.rows, self.state.revision, self._kept(effects))
            failpoint("graph.after_commit")
        self._errands.owe(errands)
        self._release(effects, batches)

    def _kept(self, effects: e.Effects) -> list[tuple[KeptAnswer[int], int]]:
        given = ((answer.reply, answer.run) for answer in effects.answers if answer.error is None)
        return self._replies.kept(given)

    def _pack(self, effects: e.Effects) -> list[tuple[str, Batch]]:
        """Batches of what starts now; their rows go with the step's."""
        batches = []
        for wish in effects.wishes:
            if not isinstance(wish, e.Submit):
                continue
            run = self.state.runs[wish.run]
            places = [place for place in wish.places if not self._uploads(wish.run, place)]
            for taken, request in submissions.messages(run, places, self._fetching.uploaded, effects.inputs):
                number, self.state.next_batch = self.state.next_batch, self.state.next_batch + 1
                request.request_id = str(uuid.uuid4())
                content = request.SerializeToString()
                effects.rows.append(e.InsertBatch(number, wish.run, request.request_id, taken, content))
                batches.append((run.spec.account, Batch(number, wish.run, taken, request)))
            for place in places:
                self._fetching.uploaded.pop((wish.run, place), None)
        return batches

    def _uploads(self, number: int, place: Place) -> bool:
        """Whether inputs have to go into the store first; then it is submitted once they are there."""
        run = self.state.runs[number]
        if (number, place) in self._fetching.uploaded or not submissions.is_large(run, place):
            return False
        large = submissions.too_large(run, place)
        if large:
            self._loops.start("upload", self._fetching.upload(number, place, run.spec.account, large))
        return bool(large)

    def _release(self, effects: e.Effects, batches: list[tuple[str, Batch]]) -> None:
        """Everything of the step is on disk."""
        self.released_revision = self.state.revision
        failpoint("graph.before_submit")
        for account, batch in batches:
            self._session(account).submit(batch)
        failpoint("graph.after_submit")
        cached = [wish for wish in effects.wishes if isinstance(wish, e.FetchCached)]
        if cached:
            self._loops.start("cache", self._fetching.fetch_cached(cached))
        kept = [wish for wish in effects.wishes if isinstance(wish, e.FetchKept)]
        if kept:
            self._loops.start("kept", self._fetching.fetch_kept(kept))
        for wish in effects.wishes:
            self._grant(wish)
        for answer in effects.answers:
            self._replies.answer(answer.reply, answer.run, answer.error)
        for run in effects.changed:
            for watch in self._watchers.get(run, ()):
                watch.wake(has_ended=run not in self.state.runs)

    def _grant(self, wish: e.Wish) -> None:
        start = self._loops.start
        if isinstance(wish, e.Prepare):
            start("prepare", self._fetching.prepare(wish))
        elif isinstance(wish, e.ReadValues):
            start("read", self._fetching.read_values(wish))
        elif isinstance(wish, e.StoreValues):
            start("store", self._fetching.store_values(wish))
        elif isinstance(wish, e.Follow):
            self._session(wish.account).follow(wish.tasks)
        elif isinstance(wish, e.SubmitAgain):
            start("again", self._submit_again(wish))

    def _session(self, account: str) -> Session[Batch]:
        session = self._sessions.get(account)
        if session is None:
            session = self._sessions[account] = self._scheduler.session(account, self)
            self._loops.start(f"session-{account}", session.run())
        return session

    # What comes back

    def on_accepted(self, account: str, batch: Batch, tasks: Sequence[str]) -> None:
        for place, task in zip(batch.places, tasks, strict=True):
            self._tasks[task] = (batch.run, place)
        self.post(TasksAccepted(account, batch.number, batch.run, batch.places, tuple(tasks)))

    def on_refused(self, account: str, batch: Batch, refusal: task_pb2.Refusal) -> None:
        failure = Failure(CAUSE_SETUP, refusal.message, refusal.next_step)
        self.post(BatchRefused(batch.number, batch.run, batch.places, failure))

    def on_outcomes(self, account: str, outcomes: Sequence[task_pb2.TaskOutcome]) -> None:
        for outcome in outcomes:
            number, place = self._tasks.pop(outcome.task_id, (0, ()))
            run = self.state.runs.get(number)
            if run is not None:
                self.post(NodeEnded(number, place, submissions.end_of(run, place, outcome)))

    def on_unknown(self, account: str, tasks: Sequence[str]) -> None:
        for task in tasks:
            number, place = self._tasks.pop(task, (0, ()))
            if number in self.state.runs:
                self.post(NodeEnded(number, place, submissions.forgotten(task, number)))

    async def _submit_again(self, wish: e.SubmitAgain) -> None:
        found = await self.store.batch(wish.batch)
        if found is not None:
            number, row = found
            request = task_pb2.SubmitTasksRequest.FromString(row.content)
            self._session(wish.account).submit(Batch(wish.batch, number, row.places, request))
