"""One agent's stream on the scheduler's side: what comes in becomes events, what goes out is batched.

Holds nothing that the machine does not know as well; a stream that breaks costs nothing but a hello.
"""

import asyncio
from typing import Any

from modelyard.v1 import agent_link_pb2 as pb
from services.scheduler.access.credentials import Credentials
from services.scheduler.engine import Engine
from services.scheduler.link import convert
from services.scheduler.state.effects import Command, SendBeatAck, SendWelcome
from services.scheduler.state.events import (
    AgentDisconnected,
    AgentDrained,
    CapacityChanged,
    CommandsAcknowledged,
)

EVENT_CREDITS = 10_000
# How long an acknowledgement waits for another message to ride on; the agent only forgets upon it.
ACKNOWLEDGE_S = 0.05
MESSAGE_BYTES = 1 << 20


class AgentLink:
    """Serves one Connect call until either side ends it."""

    def __init__(self, engine: Engine, credentials: Credentials, node: str, context: Any) -> None:
        self._engine = engine
        self._credentials = credentials
        self._node = node
        self._context = context
        self._outbox: list[pb.ConnectResponse] = []
        self._commands: list[tuple[int, list[Command]]] = []
        self._bodies: set[int] = set()
        self._acked = 0
        self._ack_is_due = False
        self._ack_timer: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._close_reason = ""
        self._is_final = False
        self.session = engine.new_session(self)

    async def serve(self, hello: pb.Hello) -> None:
        """Runs until the agent leaves, is replaced, says something impossible, or the server stops."""
        try:
            self._engine.post(convert.hello(hello, self._node, self.session))
            self._reader = asyncio.get_running_loop().create_task(self._read())
            await self._write()
            if self._reader.done() and not self._context.done():
                self._reader.result()
        finally:
            if self._reader is not None:
                self._reader.cancel()
            if self._ack_timer is not None:
                self._ack_timer.cancel()
            self._engine.links.pop(self.session, None)
            self._engine.post(AgentDisconnected(self._node, self.session, self._is_final))

    async def _read(self) -> None:
        try:
            while isinstance(message := await self._context.read(), pb.ConnectRequest):
                await self._take(message)
        finally:
            # An agent that is not heard any more must know it, whatever the reason.
            self.close("the stream from the agent has ended")

    async def _take(self, message: pb.ConnectRequest) -> None:
        engine, node, session = self._engine, self._node, self.session
        kind = message.WhichOneof("message")
        if message.ack_command:
            engine.post(CommandsAcknowledged(node, session, message.ack_command))
        if kind == "events":
            engine.post(convert.reports(message.events, node, session))
        elif kind == "beat":
            engine.post(convert.beat(message.beat, node, session))
        elif kind == "capacity_changed":
            capacity = convert.capacity(message.capacity_changed.capacity)
            engine.post(CapacityChanged(node, session, capacity))
        elif kind == "draining":
            engine.post(AgentDrained(node, session))
        elif kind == "bye":
            self._is_final = True
        elif kind == "renew_credentials":
            request = message.renew_credentials.certificate_request_pem
            self._send(pb.ConnectResponse(credentials=await self._credentials.issue(node, request)))

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._outbox or self._commands or self._ack_is_due:
                await self._context.write(self._next())
            if self._close_reason:
                await self._context.write(
                    self._stamp(pb.ConnectResponse(go_away=pb.GoAway(reason=self._close_reason)))
                )
                return

    def _next(self) -> pb.ConnectResponse:
        if self._outbox:
            return self._stamp(self._outbox.pop(0))
        if self._commands:
            return self._stamp(pb.ConnectResponse(commands=self._batch()))
        return self._stamp(pb.ConnectResponse(acknowledgement=pb.Acknowledgement()))

    def _batch(self) -> pb.Commands:
        """As many of the waiting commands as make one message."""
        first_number, commands = self._commands.pop(0)
        batch = pb.Commands(first_number=first_number)
        size = 0
        for index, command in enumerate(commands):
            if size > MESSAGE_BYTES:
                self._commands.insert(0, (first_number + index, commands[index:]))
                break
            size += convert.add_command(batch, command, self._bodies, self._credentials.sign_task)
        return batch

    def _stamp(self, message: pb.ConnectResponse) -> pb.ConnectResponse:
        message.epoch = self._engine.state.epoch
        message.ack_event = self._acked
        self._ack_is_due = False
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        return message

    def _send(self, message: pb.ConnectResponse) -> None:
        self._outbox.append(message)
        self._wake.set()

    def welcome(self, message: SendWelcome) -> None:
        verdicts = [convert.verdict(verdict) for verdict in message.verdicts]
        self._send(
            pb.ConnectResponse(
                welcome=pb.Welcome(
                    lease_ms=message.lease_ms, beat_ms=message.beat_ms, verdicts=verdicts, event_credits=EVENT_CREDITS,
                    cordoned=message.is_cordoned,
                )
            )
        )  # fmt: skip

    def beat_ack(self, message: SendBeatAck) -> None:
        ack = pb.BeatAck(number=message.number, beat_ms=message.beat_ms, lease_ms=message.lease_ms)
        self._send(pb.ConnectResponse(beat_ack=ack))

    def acknowledge(self, number: int) -> None:
        self._acked = number
        if self._ack_timer is None:
            self._ack_timer = asyncio.get_running_loop().call_later(ACKNOWLEDGE_S, self._on_ack_due)

    def _on_ack_due(self) -> None:
        self._ack_timer = None
        self._ack_is_due = True
        self._wake.set()

    def command(self, first_number: int, commands: list[Command]) -> None:
        self._commands.append((first_number, commands))
        self._wake.set()

    def close(self, reason: str) -> None:
        self._close_reason = self._close_reason or reason
        self._wake.set()
