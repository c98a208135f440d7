"""The one stream to the scheduler: dialled, kept, and dialled again.

Owns sessions: hello, batches, acknowledgements, beats, the renewal of credentials. What is said in
them comes from the engine; what is heard goes to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import grpc
import grpc.aio

from modelyard.v1 import agent_link_pb2 as pb
from modelyard.v1.agent_link_pb2_grpc import AgentLinkServiceStub
from services.agent.convert import commands_of, event_of, held_of, verdicts_of
from services.agent.events import (
    BeatAcknowledged,
    CommandsReceived,
    Event,
    EventsAcknowledged,
    HelloSaid,
    SessionLost,
    SessionOpened,
)
from services.agent.model import Body
from services.agent.specifications import Specifications
from services.agent.state import State
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.state_dir import write_atomically

_log = get_logger("agent.link")

BATCH = 1_000
BODIES_MOST = 50_000
"""Specifications of one session; beyond, a new session starts an empty table."""
FIRST_PAUSE_S, LAST_PAUSE_S = 0.1, 5.0
ACK_DELAY_S = 0.05
START_DELAY_S = 0.003
SHORT_DELAY_S = 0.02
"""A start waits this long for its end: a short call is told in one event. Longer where such calls are
known to be short."""
BREATH_S = 0.001
"""Messages that follow each other faster are put together; a lone call never waits for it."""
WELCOME_TIMEOUT_S = 30.0

AgentCall = grpc.aio.StreamStreamCall[pb.ConnectRequest, pb.ConnectResponse]


class EpochStale(Exception):
    """The scheduler's epoch is below one that this agent has met: another scheduler has replaced it."""


class SessionEnded(Exception):
    """The session is over on purpose; pause_s says when to dial again."""

    def __init__(self, reason: str, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


class Surroundings(Protocol):
    """What the link needs of the agent around it."""

    async def channel(self) -> grpc.aio.Channel:
        """A new channel with the node's present credentials."""
        ...

    def hello(self) -> pb.Hello:
        """Everything about this machine, but its tasks."""
        ...

    def beat(self) -> pb.Beat:
        """What the machine is busy with."""
        ...

    async def renewal(self) -> tuple[float, pb.RenewCredentials] | None:
        """Seconds until the credentials are to be renewed and what to ask; None: they never are."""
        ...

    def on_credentials(self, credentials: pb.NodeCredentials) -> None:
        """New credentials have come."""
        ...

    def on_refused(self) -> None:
        """The scheduler does not accept the node's credentials."""
        ...

    def on_drain(self, deadline_ms: int) -> None:
        """The scheduler wants this node empty."""
        ...

    @property
    def enforcement(self) -> str:
        """How limits are enforced."""
        ...


class Link:
    """Speaks for one state with one scheduler."""

    def __init__(
        self,
        state: State,
        dispatch: Callable[[Event], None],
        specifications: Specifications,
        surroundings: Surroundings,
        clock: Clock,
        epoch_path: Path,
    ) -> None:
        self._state = state
        self._dispatch = dispatch
        self._specifications = specifications
        self._around = surroundings
        self._clock = clock
        self._epoch_path = epoch_path
        self.epoch = _read_epoch(epoch_path)
        self.welcomed = asyncio.Event()
        """Set once the first Welcome has come."""
        self._wake = asyncio.Event()
        self._waking: asyncio.TimerHandle | None = None
        self._call: AgentCall | None = None
        self._is_open = False
        self._urgent: list[pb.ConnectRequest] = []
        self._acked_command = 0
        self._bodies: dict[int, Body] = {}
        self._beats: dict[int, int] = {}
        self._beat_number = 0
        self._beat_s = 2.0

    async def run(self) -> None:
        """Dials for ever; each failure waits longer, with jitter. Cancel it to stop."""
        pause_s = FIRST_PAUSE_S
        while True:
            began_ms = self._clock.monotonic_ms()
            try:
                await self._hold_session()
            except SessionEnded as ended:
                _log.info("session_ended", reason=str(ended))
                pause_s = max(FIRST_PAUSE_S, ended.pause_s)
            except (EpochStale, TimeoutError) as error:
                _log.warning("session_refused", reason=str(error))
            except grpc.aio.AioRpcError as error:
                if _report(error):
                    self._around.on_refused()
            finally:
                self._close_session()
            if self._clock.monotonic_ms() - began_ms > 10_000:
                pause_s = FIRST_PAUSE_S
            await self._clock.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 2, LAST_PAUSE_S)

    def notify(self, *, urgent: bool) -> None:
        """Something waits to be said."""
        if urgent:
            self._wake.set()
        elif self._waking is None:
            delay_s = SHORT_DELAY_S if self._state.outbox.patient else START_DELAY_S
            self._waking = asyncio.get_running_loop().call_later(delay_s, self._wake_now)

    def say(self, message: pb.ConnectRequest) -> None:
        """Says something in the present session, in front of everything else; dropped without one."""
        if self._is_open:
            self._urgent.append(message)
            self._wake.set()

    def used_bodies(self) -> set[int]:
        """Numbers of the specifications that tasks or this session refer to."""
        own = {body.number for body in self._bodies.values()}
        return own | {task.body.number for task in self._state.tasks.values()}

    async def say_bye(self, reason: str) -> None:
        """Ends the session in good order, if there is one."""
        call = self._call
        if call is not None and self._is_open:
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await call.write(pb.ConnectRequest(bye=pb.Bye(reason=reason)))
                await call.done_writing()

    # --- one session

    async def _hold_session(self) -> None:
        channel = await self._around.channel()
        try:
            call: AgentCall = AgentLinkServiceStub(channel).Connect()
            self._call = call
            sent_ms = await self._say_hello(call)
            welcome = await asyncio.wait_for(_read(call), WELCOME_TIMEOUT_S)
            self._open_session(welcome, sent_ms)
            await self._first_of(self._hear(call), self._speak(call), self._beat(), self._renew())
        finally:
            await channel.close()

    async def _first_of(self, *loops: Awaitable[None]) -> None:
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

    async def _say_hello(self, call: AgentCall) -> int:
        hello = self._around.hello()
        hello.max_epoch = self.epoch
        self._dispatch(HelloSaid())
        hello.tasks.extend(held_of(task, self._around.enforcement) for task in self._state.tasks.values())
        self._bodies.clear()
        self._acked_command = 0
        sent_ms = self._clock.monotonic_ms()
        await call.write(pb.ConnectRequest(hello=hello))
        return sent_ms

    def _open_session(self, answer: pb.ConnectResponse, sent_ms: int) -> None:
        if answer.WhichOneof("message") != "welcome":
            if answer.HasField("go_away"):
                raise SessionEnded(answer.go_away.reason, answer.go_away.retry_after_ms / 1000)
            raise SessionEnded("the scheduler did not welcome this agent", LAST_PAUSE_S)
        self._check_epoch(answer.epoch)
        welcome = answer.welcome
        self._beat_s = max(0.05, (welcome.beat_ms or 2_000) / 1000)
        self._is_open = True
        self._beats.clear()
        _log.info("session_opened", epoch=answer.epoch, tasks=len(self._state.tasks))
        self._dispatch(SessionOpened(welcome.lease_ms, sent_ms, welcome.event_credits, verdicts_of(welcome)))
        self.welcomed.set()
        self._wake.set()

    def _check_epoch(self, epoch: int) -> None:
        if epoch < self.epoch:
            raise EpochStale(f"epoch {epoch} is over; {self.epoch} has begun")
        if epoch > self.epoch:
            write_atomically(self._epoch_path, b"%d\n" % epoch)
            self.epoch = epoch

    def _close_session(self) -> None:
        self._call = None
        if self._is_open:
            self._is_open = False
            self._urgent.clear()
            self._dispatch(SessionLost())

    # --- hearing

    async def _hear(self, call: AgentCall) -> None:
        while True:
            message = await _read(call)
            if message.epoch < self.epoch:
                raise EpochStale(f"epoch {message.epoch} is over; {self.epoch} has begun")
            if message.ack_event > self._state.outbox.acknowledged:
                self._dispatch(EventsAcknowledged(message.ack_event))
            kind = message.WhichOneof("message")
            if kind == "commands":
                self._on_commands(message.commands)
            elif kind == "beat_ack":
                sent_ms = self._beats.get(message.beat_ack.number)
                if sent_ms is not None:
                    self._beats = {n: at for n, at in self._beats.items() if n > message.beat_ack.number}
                    self._dispatch(BeatAcknowledged(sent_ms, message.beat_ack.lease_ms))
                if message.beat_ack.beat_ms:
                    self._beat_s = max(0.05, message.beat_ack.beat_ms / 1000)
            elif kind == "drain":
                self._around.on_drain(message.drain.deadline_ms)
            elif kind == "credentials":
                self._around.on_credentials(message.credentials)
            elif kind == "go_away":
                raise SessionEnded(message.go_away.reason, message.go_away.retry_after_ms / 1000)

    def _on_commands(self, commands: pb.Commands) -> None:
        for body in commands.bodies:
            self._learn_body(body)
        if commands.bodies:
            self._specifications.save()
        first = commands.first_number
        self._dispatch(CommandsReceived(first, commands_of(commands, self._bodies.get)))
        if self._acked_command < self._state.last_command and self._waking is None:
            self._waking = asyncio.get_running_loop().call_later(ACK_DELAY_S, self._wake_now)
        if len(self._bodies) > BODIES_MOST:
            raise SessionEnded("its table of specifications is full")

    def _learn_body(self, body: pb.TaskBody) -> None:
        from google.protobuf.message import DecodeError

        try:
            self._bodies[body.body] = self._specifications.add(body.account, body.spec)
        except DecodeError as error:
            _log.error("specification_unreadable", body=body.body, reason=str(error))

    # --- speaking

    def _wake_now(self) -> None:
        self._waking = None
        self._wake.set()

    async def _speak(self, call: AgentCall) -> None:
        loop = asyncio.get_running_loop()
        last_s = 0.0
        while True:
            await self._wake.wait()
            if loop.time() - last_s < BREATH_S:
                await asyncio.sleep(BREATH_S)
            self._wake.clear()
            if self._waking is not None:
                self._waking.cancel()
                self._waking = None
            while (message := self._next_message()) is not None:
                await call.write(message)
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
            await self._clock.sleep(self._beat_s)

    async def _renew(self) -> None:
        while True:
            renewal = await self._around.renewal()
            if renewal is None:
                await asyncio.get_running_loop().create_future()
                return
            wait_s, request = renewal
            await self._clock.sleep(wait_s)
            self.say(pb.ConnectRequest(renew_credentials=request))
            await self._clock.sleep(60.0)


async def _read(call: AgentCall) -> pb.ConnectResponse:
    message = await call.read()
    if message is grpc.aio.EOF:
        raise SessionEnded("the scheduler has closed the stream")
    assert isinstance(message, pb.ConnectResponse)
    return message


def _report(error: grpc.aio.AioRpcError) -> bool:
    """Logs why there is no session; whether the scheduler did not accept who this is."""
    code = error.code()
    refused = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
    if code in refused:
        _log.error(
            "scheduler_refused",
            code=code.name,
            reason=error.details(),
            next_step="have the node join again: yard nodes token, then start the agent with that token",
        )
    else:
        _log.warning("scheduler_not_reached", code=code.name, reason=error.details())
    return code in refused


def _read_epoch(path: Path) -> int:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return 0
