"""The only owner of the scheduler's state and of asyncio in it: inbox → machine → one transaction → effects released.

An answer therefore means that it is on disk. When a commit fails, nothing of its step has left: the state is taken
back to what the database holds, the requests are refused with the reason, and agents connect anew.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from services.chassis.clock import Clock
from services.chassis.errors import ServiceError
from services.chassis.failpoints import failpoint
from services.chassis.logs import get_logger
from services.chassis.requests.marks import current as current_mark
from services.chassis.steps.inbox import Inbox
from services.scheduler import machine
from services.scheduler.counts import Counts
from services.scheduler.model import TERMINAL, Now, task_key
from services.scheduler.queues.shares import HALF_LIFE_MS
from services.scheduler.records import recovery
from services.scheduler.records.rows import Counters
from services.scheduler.records.store import SchedulerStore
from services.scheduler.requests.marks import marked
from services.scheduler.state.effects import (
    Answer,
    Command,
    Effects,
    RecordChange,
    Row,
    SendBeatAck,
    SendWelcome,
)
from services.scheduler.state.events import Event, Ticked
from services.scheduler.state.state import REMEMBERED_CHANGES, REMEMBERED_REQUESTS, State
from services.scheduler.tasks.arrays import has_unmade
from services.scheduler.timers import TICK_MS

MOST_EVENTS = 512
# How often the low-water mark of unfinished tasks is found anew; a restart reads from it on.
LIVE_FROM_REVISIONS = 1_000
_log = get_logger("scheduler.engine")


class Link(Protocol):
    """What the engine needs of an agent's stream."""

    def welcome(self, message: SendWelcome) -> None: ...
    def beat_ack(self, message: SendBeatAck) -> None: ...
    def acknowledge(self, number: int) -> None: ...
    def command(self, first_number: int, commands: list[Command]) -> None: ...
    def close(self, reason: str) -> None: ...


class Follower(Protocol):
    """Is told how tasks ended, in the order in which they did."""

    def on_outcome(self, outcome: RecordChange) -> None: ...


class Engine:
    """Made by `open`; `run` and `tick` are loops that the service starts."""

    def __init__(
        self,
        store: SchedulerStore,
        clock: Clock,
        *,
        validates: bool = False,
        half_life_ms: int = HALF_LIFE_MS,
    ) -> None:
        self.store = store
        self.clock = clock
        self.validates = validates
        # Only where somebody may ask for them.
        self.counts: Counts | None = None
        self._half_life_ms = half_life_ms
        self.state = State(0, 1, 0)
        # What watchers may be shown: the state is ahead of it while a step is being committed.
        self.released_revision = 0
        self.links: dict[int, Link] = {}
        self._inbox = Inbox[Event](MOST_EVENTS)
        self._replies: dict[int, tuple[asyncio.Future[Answer], Follower | None]] = {}
        self._next_reply = 0
        self._next_session = 0
        self._followers: dict[int, list[Follower]] = {}
        # Rows of the step that is being committed: the state is ahead of what may be told.
        self._committing: list[Row] = []
        self._watchers: set[asyncio.Event] = set()
        self._node_watchers: set[asyncio.Event] = set()
        # Is told which contacts have something new in the outbox, once it is on disk.
        self.on_told: Callable[[set[str]], None] = lambda contacts: None
        self._live_from = 0
        self._live_from_due = 0

    async def open(self, skip: int = 0) -> None:
        """Begins a new epoch and takes up what the database holds. ``skip`` is for a restored copy."""
        await self.store.begin_epoch(skip)
        await self._reload()
        state = self.state
        _log.info("state_recovered", epoch=state.epoch, tasks=len(state.tasks), revision=state.revision)

    async def _reload(self) -> None:
        now = self.now()
        recovered = await self.store.recover(now.wall_ms, REMEMBERED_REQUESTS, REMEMBERED_CHANGES)
        self.state = recovery.restore(recovered, now, self._half_life_ms)
        # A revision that was shown is never given out again; progress raises it without a commit.
        self.state.revision = max(self.state.revision, self.released_revision)
        self.released_revision = self.state.revision

    @property
    def followed(self) -> int:
        """How many tasks somebody waits for."""
        return len(self._followers)

    @property
    def inbox_size(self) -> int:
        """How many events wait for a step."""
        return len(self._inbox)

    def now(self) -> Now:
        return Now(self.clock.now_ms(), self.clock.monotonic_ms())

    def post(self, event: Event) -> None:
        """Hands an event in; it takes effect with the next step, together with the mark of the RPC that asks for it."""
        self._inbox.post(marked(current_mark(), event))

    def new_reply(self, follower: Follower | None = None) -> tuple[int, asyncio.Future[Answer]]:
        """A number for an event that wants an answer, and the answer to come.

        The follower of a submission hears of the outcomes of its tasks, from the first one on.
        """
        self._next_reply += 1
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._replies[self._next_reply] = (future, follower)
        return self._next_reply, future

    def new_session(self, link: Link) -> int:
        """A number for an agent's stream."""
        self._next_session += 1
        self.links[self._next_session] = link
        return self._next_session

    async def tick(self) -> None:
        """Tells the machine that time passes; a late tick shows it the scheduler's own stall."""
        while True:
            self.post(Ticked())
            await self.clock.sleep(TICK_MS / 1000)

    async def run(self) -> None:
        """Steps through the inbox, for ever."""
        while True:
            await self._inbox.wait()
            await self._inbox.work_off(self._step)

    async def _step(self, events: list[Event]) -> None:
        now = self.now()
        begun_s = time.perf_counter()
        effects = machine.step(self.state, events, now)
        stepped_s = time.perf_counter()
        if self.validates:
            machine.check_invariants(self.state)
        if effects.rows:
            try:
                failpoint("scheduler.before_commit")
                self._committing = effects.rows
                await self.store.persist(effects.rows, self._counters(), now.wall_ms)
            except ServiceError as error:
                await self._take_back(effects, error)
                return
            failpoint("scheduler.after_commit")
            if self.counts is not None:
                committed_s = time.perf_counter() - stepped_s
                self.counts.on_committed(effects.rows, self.state, stepped_s - begun_s, committed_s)
        self._committing = []
        self._release(effects)

    def _counters(self) -> Counters:
        state = self.state
        if state.revision >= self._live_from_due:
            self._live_from = recovery.live_from(state)
            self._live_from_due = state.revision + LIVE_FROM_REVISIONS
        return Counters(state.epoch, state.next_number, state.revision, state.next_spec, self._live_from)

    async def _take_back(self, effects: Effects, error: ServiceError) -> None:
        """The step did not reach the disk: it has not happened."""
        _log.error("commit_failed", reason=error.reason, message=error.message)
        for link in list(self.links.values()):
            link.close("the scheduler could not write and starts over from its database")
        await self._reload()
        self._committing = []
        for answer in effects.answers:
            self._answer(Answer(answer.reply, error=answer.error or error))

    def _release(self, effects: Effects) -> None:
        """Everything of the step is on disk: it may be seen."""
        has_changes = self.state.revision > self.released_revision
        self.released_revision = self.state.revision
        for message in effects.messages:
            link = self.links.get(message.session)
            if link is None:
                continue
            if isinstance(message, SendWelcome):
                link.welcome(message)
            elif isinstance(message, SendBeatAck):
                link.beat_ack(message)
            else:
                link.acknowledge(message.number)
        for node_id, (first_number, commands) in effects.commands.items():
            node = self.state.cluster.nodes.get(node_id)
            link = self.links.get(node.session) if node is not None else None
            if link is not None:
                link.command(first_number, commands)
        for close in effects.closes:
            link = self.links.get(close.session)
            if link is not None:
                link.close(close.reason)
        failpoint("scheduler.before_answers")
        for answer in effects.answers:
            self._answer(answer)
        self._tell(effects, has_changes)
        if effects.told:
            self.on_told(effects.told)
        failpoint("scheduler.after_release")

    def _answer(self, answer: Answer) -> None:
        future, follower = self._replies.pop(answer.reply, (None, None))
        if future is None or future.done():
            # Nobody waits any more.
            return
        if follower is not None and answer.count and not answer.is_repeat:
            for number in range(answer.first, answer.first + answer.count):
                self._followers.setdefault(task_key(number), []).append(follower)
        if answer.error is not None:
            future.set_exception(answer.error)
        else:
            future.set_result(answer)

    def _tell(self, effects: Effects, has_changes: bool) -> None:
        """Outcomes to their followers; whoever watches looks for itself. Progress changes tasks without a row."""
        if self._followers:
            for row in effects.rows:
                if type(row) is RecordChange and row.state in TERMINAL:
                    for follower in self._followers.pop(row.task, ()):
                        follower.on_outcome(row)
        if has_changes:
            for watcher in self._watchers:
                watcher.set()
        if effects.changed_nodes:
            for watcher in self._node_watchers:
                watcher.set()

    def follow(self, key: int, follower: Follower) -> bool:
        """Asks for the outcome of an unfinished task; False: it is not unfinished, and its outcome is on disk."""
        if not self.is_unfinished(key):
            return False
        self._followers.setdefault(key, []).append(follower)
        return True

    def is_unfinished(self, key: int) -> bool:
        """Whether an outcome is still to come; an element that nobody needs any more is never made and has none."""
        return key in self.state.tasks or has_unmade(self.state, key) or self._is_ending(key)

    def _is_ending(self, key: int) -> bool:
        """Whether its outcome is being committed; those who follow are told after that."""
        return any(
            type(row) is RecordChange and row.task == key and row.state in TERMINAL
            for row in self._committing
        )

    def unfollow(self, key: int, follower: Follower) -> None:
        """Ends what `follow` began, if it has not ended by itself."""
        followers = self._followers.get(key, [])
        if follower in followers:
            followers.remove(follower)
        if not followers:
            self._followers.pop(key, None)

    def watch(self, *, nodes: bool = False) -> "Watch":
        """An event that is set whenever tasks (or nodes) change, for as long as the block lasts."""
        return Watch(self._node_watchers if nodes else self._watchers)


class Watch:
    """``with engine.watch() as changed: await changed.wait()``."""

    def __init__(self, watchers: set[asyncio.Event]) -> None:
        self._watchers = watchers
        self._event = asyncio.Event()

    def __enter__(self) -> asyncio.Event:
        self._watchers.add(self._event)
        return self._event

    def __exit__(self, *_: object) -> None:
        self._watchers.discard(self._event)
