"""The scheduler's process: the production machine, with what `services.scheduler.engine` and `link` do around it.

Owns what dies with the process: state, inbox, streams, requests that wait. A step's rows are on disk only after its
commit, some time later; nothing of a step leaves before that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from services.scheduler import machine
from services.scheduler.model import Cause, NodeState, Now, format_task_id
from services.scheduler.records import recovery
from services.scheduler.records.rows import Counters
from services.scheduler.refusals import LowDisk
from services.scheduler.state.effects import Answer, Command, Effects, RecordChange, SendBeatAck, SendWelcome
from services.scheduler.state.events import (
    AgentConnected,
    AgentDisconnected,
    AgentDrained,
    BeatReceived,
    CommandsAcknowledged,
    Event,
    Ticked,
)
from services.scheduler.state.state import REMEMBERED_CHANGES, REMEMBERED_REQUESTS, State
from services.scheduler.timers import TICK_MS
from tests.simulation.disk import Disk
from tests.simulation.history import History
from tests.simulation.kernel import MS, SECOND, Kernel, Process
from tests.simulation.messages import AgentMessage, SchedulerMessage, Welcome, batch
from tests.simulation.network import DOWN, UP, Network, Stream
from tests.simulation.promises.promise import Promise

MOST_EVENTS = 512
EVENT_CREDITS = 10_000
# Of a step with nothing else in it, and that wants nothing, the invariants need no check.
IDLE = (Ticked, BeatReceived, CommandsAcknowledged)
LEASE_OVER = ": its lease is over"

OnAnswer = Callable[[Answer], None]


class Link:
    """One agent's stream, as the scheduler sees it."""

    def __init__(self, host: SchedulerHost, stream: Stream, session: int) -> None:
        self.host = host
        self.stream = stream
        self.session = session
        self.is_final = False
        self._bodies: set[int] = set()
        self._acked = 0
        self._unsaid_ack = False

    def send(self, kind: str, payload: Any = None) -> None:
        self._unsaid_ack = False
        self.stream.send(DOWN, SchedulerMessage(kind, self.host.state.epoch, self._acked, payload))

    def acknowledge(self, number: int) -> None:
        self._acked = number
        self._unsaid_ack = True

    def command(self, first_number: int, commands: list[Command]) -> None:
        names = [f"{type(c).__name__}:{format_task_id(c.key)}/{c.attempt}" for c in commands]
        self.host.kernel.trace(self.host.name, "commands", self.stream.node, first_number, *names)
        self.send("commands", batch(first_number, commands, self._bodies))

    def flush(self) -> None:
        if self._unsaid_ack:
            self.send("ack")


class SchedulerHost(Process):
    """One scheduler. `start` is a new process on the same disk; `kill` its end at any instant."""

    def __init__(self, kernel: Kernel, disk: Disk, history: History, network: Network) -> None:
        super().__init__(kernel, "scheduler")
        self.network = network
        self.disk = disk
        self.history = history
        self.state = State(0, 1, 0)
        self.released_revision = 0
        self.is_serving = False
        self.is_disk_full = False
        self.commit_us = (200, 3 * MS)
        self.on_rows: list[Callable[[], None]] = []
        self.promises: Sequence[Promise] = ()
        # How many states there were: one for each start, and each time that a step did not reach the disk.
        self.lives = 0
        self._inbox: list[Event] = []
        self._is_busy = False
        self._replies: dict[int, OnAnswer] = {}
        self._next_reply = 0
        self._next_session = 0
        self._links: dict[int, Link] = {}
        self._sessions: dict[int, Link] = {}
        self._live_from = 0

    def now(self) -> Now:
        return Now(self.history.wall_ms(), self.kernel.now_ms + 7_000)

    # Birth and death

    def start(self) -> None:
        self.begin()
        self.after(self.kernel.between(20 * MS, SECOND), self._open)

    def _open(self) -> None:
        self.disk.begin_epoch()
        self._reload()
        self.is_serving = True
        self.history.on_scheduler_start(self.state)
        self.kernel.trace(self.name, "serves", self.state.epoch, len(self.state.tasks), self.state.revision)
        self._tick()

    def _reload(self) -> None:
        now = self.now()
        recovered = self.disk.recover(now.wall_ms, REMEMBERED_REQUESTS, REMEMBERED_CHANGES)
        self.state = recovery.restore(recovered, now)
        self.lives += 1
        self.state.revision = max(self.state.revision, self.released_revision)
        self.released_revision = self.state.revision
        machine.check_invariants(self.state)

    def kill(self) -> None:
        super().kill()
        self.is_serving = False
        self.released_revision = 0
        self._links, self._sessions = {}, {}
        for stream in list(self.network.streams.values()):
            stream.close(UP, is_reset=self.kernel.chance(0.5))
        self._inbox = []
        self._is_busy = False
        self._replies.clear()

    def pause(self) -> None:
        super().pause()
        self.history.on_scheduler_pause()

    def resume(self) -> None:
        if self.is_paused:
            self.history.on_scheduler_resume()
        super().resume()

    # Inbox

    def request(self, make: Callable[[int], Event], on_answer: OnAnswer) -> None:
        """A client's request has arrived. Without a server nobody answers."""
        if self.is_serving:
            self._run(self.generation, self._take_request, (make, on_answer))

    def _take_request(self, make: Callable[[int], Event], on_answer: OnAnswer) -> None:
        self._next_reply += 1
        self._replies[self._next_reply] = on_answer
        self.post(make(self._next_reply))

    def post(self, event: Event) -> None:
        self._inbox.append(event)
        if not self._is_busy:
            self._is_busy = True
            self.after(self.kernel.between(0, 200), self._step)

    def _tick(self) -> None:
        self.post(Ticked())
        self.after(TICK_MS * MS, self._tick)

    # A step

    def _step(self) -> None:
        events, self._inbox = self._inbox[:MOST_EVENTS], self._inbox[MOST_EVENTS:]
        now = self.now()
        nodes = self.state.cluster.nodes.values()
        expected = {node.id for node in nodes if node.expected}
        alive = {node.id for node in nodes if node.state is not NodeState.LOST}
        effects = machine.step(self.state, events, now)
        if effects.rows or effects.commands or any(type(event) not in IDLE for event in events):
            machine.check_invariants(self.state)
            for promise in self.promises:
                promise.on_step(self.state, events, effects, now)
        self._note_losses(events, effects, expected, alive)
        if effects.rows or effects.commands:
            names = [type(event).__name__ for event in events]
            self.kernel.trace(self.name, "step", names, len(effects.rows), self.state.revision)
        if not effects.rows:
            self._release(effects)
            return
        state = self.state
        if state.revision & 0x3FF == 0 or len(state.tasks) < 64:
            self._live_from = recovery.live_from(state)
        counters = Counters(state.epoch, state.next_number, state.revision, state.next_spec, self._live_from)
        self.after(self.kernel.between(*self.commit_us), self._commit, effects, counters, now)

    def _note_losses(
        self, events: list[Event], effects: Effects, expected: set[str], alive: set[str]
    ) -> None:
        """Tells the history which nodes this step gave up, and then which it heard: a tick may come before a hello."""
        nodes = self.state.cluster.nodes
        lost = {name for name in alive if nodes[name].state is NodeState.LOST}
        for row in effects.rows:
            if (
                isinstance(row, RecordChange)
                and row.cause is Cause.NODE_LOST
                and row.detail.endswith(LEASE_OVER)
            ):
                lost.add(row.detail.split(": ")[1])
        for name in sorted(lost):
            if name in expected:
                self.history.on_node_not_back(name)
            else:
                self.history.on_node_lost(name)
        for event in events:
            if isinstance(event, (AgentConnected, BeatReceived)):
                self.history.on_heard(event.node)

    def _commit(self, effects: Effects, counters: Counters, now: Now) -> None:
        if self.is_disk_full:
            self._take_back(effects)
            return
        self.disk.persist(effects.rows, counters, now.wall_ms)
        self.history.on_commit(effects.rows)
        for promise in self.promises:
            promise.on_commit(self.state, effects.rows, now)
        self.kernel.trace(self.name, "committed", counters.revision)
        self.after(self.kernel.between(10, 300), self._release, effects)

    def _take_back(self, effects: Effects) -> None:
        """The step did not reach the disk: it has not happened."""
        self.kernel.trace(self.name, "commit failed")
        for answer in effects.answers:
            self._answer(msgspec.structs.replace(answer, error=answer.error or LowDisk()))
        for link in list(self._links.values()):
            self._close(link)
        self._reload()
        self.history.on_scheduler_start(self.state)
        self._go_on()

    def _release(self, effects: Effects) -> None:
        self.released_revision = self.state.revision
        for answer in effects.answers:
            self._answer(answer)
        for message in effects.messages:
            link = self._sessions.get(message.session)
            if link is None:
                continue
            if isinstance(message, SendWelcome):
                said = [f"{v.kind}:{format_task_id(v.key)}/{v.attempt}" for v in message.verdicts]
                self.kernel.trace(self.name, "welcomes", message.node, *said)
                link.send(
                    "welcome", Welcome(message.lease_ms, message.beat_ms, EVENT_CREDITS, message.verdicts)
                )
            elif isinstance(message, SendBeatAck):
                link.send("beat_ack", message.number)
            else:
                link.acknowledge(message.number)
        for node_id, (first_number, commands) in effects.commands.items():
            link = self._sessions.get(self.state.cluster.nodes[node_id].session)
            if link is not None:
                link.command(first_number, commands)
        for link in self._sessions.values():
            link.flush()
        for close in effects.closes:
            link = self._sessions.get(close.session)
            if link is not None:
                self._close(link)
        if effects.rows:
            for tell in self.on_rows:
                tell()
        self._go_on()

    def _go_on(self) -> None:
        self._is_busy = bool(self._inbox)
        if self._inbox:
            self.after(0, self._step)

    def _answer(self, answer: Answer) -> None:
        on_answer = self._replies.pop(answer.reply, None)
        if on_answer is not None:
            self.kernel.trace(self.name, "answers", answer.reply, answer.first, str(answer.error))
            on_answer(answer)

    # Streams

    def on_message(self, stream: Stream, message: AgentMessage) -> None:
        self._run(self.generation, self._hear, (stream, message))

    def _hear(self, stream: Stream, message: AgentMessage) -> None:
        node = stream.node
        if message.kind == "hello":
            self._next_session += 1
            link = self._links[stream.number] = Link(self, stream, self._next_session)
            self._sessions[link.session] = link
            hello: AgentConnected = msgspec.structs.replace(message.payload, session=link.session)
            self.post(hello)
            return
        link_or_none = self._links.get(stream.number)
        if link_or_none is None:
            return
        session = link_or_none.session
        if message.ack_command:
            self.post(CommandsAcknowledged(node, session, message.ack_command))
        if message.kind == "bye":
            link_or_none.is_final = True
        elif message.kind == "draining":
            self.post(AgentDrained(node, session))
        elif message.payload is not None:
            self.post(msgspec.structs.replace(message.payload, session=session))

    def on_closed(self, stream: Stream) -> None:
        self._run(self.generation, self._on_closed, (stream,))

    def _on_closed(self, stream: Stream) -> None:
        link = self._links.pop(stream.number, None)
        if link is not None:
            self._sessions.pop(link.session, None)
            if link.is_final:
                self.history.on_goodbye(stream.node)
            self.post(AgentDisconnected(stream.node, link.session, link.is_final))

    def _close(self, link: Link) -> None:
        """Sends the agent away."""
        link.send("go_away")
        link.stream.close(UP)
        self._on_closed(link.stream)
