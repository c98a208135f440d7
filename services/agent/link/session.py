"""One session with the scheduler: hello, batches, acknowledgements, beats, the renewal of credentials.

Owns what counts per stream: command numbers, bodies, beats under way. What is said comes from the
engine; what is heard goes to it. Dialling, and dialling again, is `link`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import grpc.aio
from google.protobuf.message import DecodeError

from modelyard.v1 import agent_link_pb2 as pb
from services.agent.link.epoch import Epoch
from services.agent.link.surroundings import Surroundings
from services.agent.messages.convert import commands_of, event_of, held_of, verdicts_of
from services.agent.messages.specifications import Specifications
from services.agent.tasks.events import (
    BeatAcknowledged,
    CommandsReceived,
    Event,
    EventsAcknowledged,
    HelloSaid,
    SessionLost,
    SessionOpened,
)
from services.agent.tasks.model import Body
from services.agent.tasks.state import State
from services.chassis.clock import Clock
from services.chassis.failpoints import failpoint
from services.chassis.logs import get_logger

_log = get_logger("agent.session")

BATCH = 1_000
BODIES_MOST, BODY_BYTES_MOST = 50_000, 64 << 20
"""Specifications of one session, and their bytes; beyond, a new session starts an empty table."""
ACK_DELAY_S = 0.05
START_DELAY_S = 0.003
SHORT_DELAY_S = 0.02
"""A start waits this long for its end: a short call is told in one event. Longer where such calls are
known to be short."""
BREATH_S = 0.001
"""Messages that follow each other faster are put together; a lone call never waits for it."""
BUSY_BREATH_S = 0.004
"""The same while tasks wait behind each other: then it is the number of messages that counts."""
WELCOME_TIMEOUT_S = 30.0
BEAT_LEAST_S, BEAT_USUAL_S = 0.05, 2.0
RENEW_AGAIN_S = 60.0
NOT_WELCOME_PAUSE_S = 5.0

AgentCall = grpc.aio.StreamStreamCall[pb.ConnectRequest, pb.ConnectResponse]


class SessionEnded(Exception):
    """The session is over on purpose; pause_s says when to dial again."""

    def __init__(self, reason: str, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


class Session:
    """One stream, from hello to its end."""

    def __init__(
        self,
        call: AgentCall,
        state: State,
        dispatch: Callable[[Event], None],
        specifications: Specifications,
        surroundings: Surroundings,
        clock: Clock,
        epoch: Epoch,
    ) -> None:
        self._call = call
        self._state = state
        self._dispatch = dispatch
        self._specifications = specifications
        self._around = surroundings
        self._clock = clock
        self._epoch = epoch
        self._is_open = False
        self._wake = asyncio.Event()
        self._waking: asyncio.TimerHandle | None = None
        self._urgent: list[pb.ConnectRequest] = []
        self._acked_command = 0
        self._bodies: dict[int, Body] = {}
        self._body_bytes = 0
        self._beats: dict[int, int] = {}
        self._beat_number = 0
        self._beat_s = BEAT_USUAL_S
        self._tuned = asyncio.Event()
        self._renewed = asyncio.Event()

    async def open(self) -> None:
        """Says hello and hears the welcome. Raises SessionEnded, EpochStale, TimeoutError, AioRpcError."""
        hello = self._around.hello()
        hello.max_epoch = self._epoch.number
        self._dispatch(HelloSaid())
        hello.tasks.extend(held_of(task, self._around.enforcement) for task in self._state.tasks.values())
        sent_ms = self._clock.monotonic_ms()
        await self._call.write(pb.ConnectRequest(hello=hello))
        self._on_welcome(await asyncio.wait_for(self._read(), WELCOME_TIMEOUT_S), sent_ms)

    async def hold(self) -> None:
        """Speaks and hears until the session ends, which it says by raising, as `open` does."""
        await _first_of(self._hear(), self._speak(), self._beat(), self._renew())

    def close(self) -> None:
        """The stream is gone."""
        if self._waking is not None:
            self._waking.cancel()
        if self._is_open:
            self._is_open = False
            self._dispatch(SessionLost())

    def notify(self, *, urgent: bool) -> None:
        """Something waits to be said."""
        if urgent:
            self._wake.set()
        elif self._waking is None:
            self._wake_in(SHORT_DELAY_S if self._state.outbox.patient else START_DELAY_S)

    def say(self, message: pb.ConnectRequest) -> None:
        """Says something in front of everything else; dropped before the welcome."""
        if self._is_open:
            self._urgent.append(message)
            self._wake.set()

    async def say_bye(self, reason: str) -> None:
        """Ends the session in good order."""
        if self._is_open:
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self._call.write(pb.ConnectRequest(bye=pb.Bye(reason=reason)))
                await self._call.done_writing()

    def used_bodies(self) -> set[int]:
        """Numbers of the specifications that this session refers to."""
        return {body.number for body in self._bodies.values()}

    # --- hearing

    async def _hear(self) -> None:
        while True:
            self._on_message(await self._read())

    async def _read(self) -> pb.ConnectResponse:
        message = await self._call.read()
        if message is grpc.aio.EOF:
            raise SessionEnded("the scheduler has closed the stream")
        assert isinstance(message, pb.ConnectResponse)
        return message

    def _on_welcome(self, answer: pb.ConnectResponse, sent_ms: int) -> None:
        if answer.HasField("go_away"):
            raise SessionEnded(answer.go_away.reason, answer.go_away.retry_after_ms / 1000)
        if not answer.HasField("welcome"):
            raise SessionEnded("the scheduler did not welcome this agent", NOT_WELCOME_PAUSE_S)
        self._epoch.meet(answer.epoch)
        welcome = answer.welcome
        if welcome.beat_ms:
            self._tune(welcome.beat_ms)
        self._is_open = True
        _log.info("session_opened", epoch=answer.epoch, tasks=len(self._state.tasks))
        self._dispatch(SessionOpened(welcome.lease_ms, sent_ms, welcome.event_credits, verdicts_of(welcome)))
        self._wake.set()

    def _on_message(self, message: pb.ConnectResponse) -> None:
        self._epoch.meet(message.epoch)
        if message.ack_event > self._state.outbox.acknowledged:
            self._dispatch(EventsAcknowledged(message.ack_event))
        kind = message.WhichOneof("message")
        if kind == "commands":
            self._on_commands(message.commands)
        elif kind == "beat_ack":
            self._on_beat_ack(message.beat_ack)
        elif kind == "credentials":
            self._around.on_credentials(message.credentials)
            self._renewed.set()
        elif kind == "go_away":
            raise SessionEnded(message.go_away.reason, message.go_away.retry_after_ms / 1000)

    def _on_commands(self, commands: pb.Commands) -> None:
        for body in commands.bodies:
            self._learn_body(body)
        if commands.bodies:
            self._specifications.save()
        first = commands.first_number
        self._dispatch(CommandsReceived(first, commands_of(commands, self._bodies.get)))
        failpoint("agent.after_commands")
        if self._acked_command < self._state.last_command and self._waking is None:
            self._wake_in(ACK_DELAY_S)
        if len(self._bodies) > BODIES_MOST or self._body_bytes > BODY_BYTES_MOST:
            raise SessionEnded("its table of specifications is full")

    def _learn_body(self, body: pb.TaskBody) -> None:
        self._body_bytes += len(body.spec)
        try:
            self._bodies[body.body] = self._specifications.add(body.account, body.spec)
        except DecodeError as error:
            _log.error("specification_unreadable", body=body.body, reason=str(error))

    def _on_beat_ack(self, ack: pb.BeatAck) -> None:
        sent_ms = self._beats.get(ack.number)
        if sent_ms is not None:
            self._beats = {n: at for n, at in self._beats.items() if n > ack.number}
            self._dispatch(BeatAcknowledged(sent_ms, ack.lease_ms))
        if ack.beat_ms:
            self._tune(ack.beat_ms)

    def _tune(self, beat_ms: int) -> None:
        """From now on beats leave so often; the wait for the next one begins anew."""
        beat_s = max(BEAT_LEAST_S, beat_ms / 1000)
        if beat_s != self._beat_s:
            self._beat_s = beat_s
            self._tuned.set()

    # --- speaking

    def _wake_in(self, delay_s: float) -> None:
        self._waking = asyncio.get_running_loop().call_later(delay_s, self._wake_now)

    def _wake_now(self) -> None:
        self._waking = None
        self._wake.set()

    async def _speak(self) -> None:
        loop = asyncio.get_running_loop()
        last_s = 0.0
        while True:
            await self._wake.wait()
            breath_s = BUSY_BREATH_S if self._state.is_backlogged else BREATH_S
            if loop.time() - last_s < breath_s:
                await asyncio.sleep(breath_s)
            self._wake.clear()
            if self._waking is not None:
                self._waking.cancel()
                self._waking = None
            while (message := self._next_message()) is not None:
                await self._call.write(message)
                failpoint("agent.after_send")
            last_s = loop.time()

    def _next_message(self) -> pb.ConnectRequest | None:
        acknowledged = self._state.last_command
        if self._urgent:
            message = self._urgent.pop(0)
        elif self._state.outbox:
            first, notes = self._state.outbox.take(BATCH)
            if not notes:
                return None
            enforcement = self._around.enforcement
            events = [event_of(note, enforcement) for note in notes]
            failpoint("agent.before_events")
            message = pb.ConnectRequest(events=pb.Events(first_number=first, events=events))
        elif self._acked_command < acknowledged:
            message = pb.ConnectRequest()
        else:
            return None
        message.ack_command = self._acked_command = acknowledged
        return message

    async def _beat(self) -> None:
        while True:
            beat = self._around.beat()
            self._beat_number += 1
            beat.number = self._beat_number
            beat.monotonic_ms = self._clock.monotonic_ms()
            self._beats[beat.number] = beat.monotonic_ms
            # A beat that still waits to leave is out of date.
            self._urgent = [message for message in self._urgent if not message.HasField("beat")]
            self.say(pb.ConnectRequest(beat=beat))
            await self._until_next_beat()

    async def _until_next_beat(self) -> None:
        self._tuned.clear()
        while await _is_set_within(self._tuned, self._beat_s):
            self._tuned.clear()

    async def _renew(self) -> None:
        while (wait_s := self._around.renew_in_s()) is not None:
            await self._clock.sleep(wait_s)
            self._renewed.clear()
            self.say(pb.ConnectRequest(renew_credentials=self._around.renewal()))
            await _is_set_within(self._renewed, RENEW_AGAIN_S)
        await asyncio.get_running_loop().create_future()


async def _is_set_within(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def _first_of(*loops: Awaitable[None]) -> None:
    """Runs the parts of a session until one ends or fails; then all end."""
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
