"""The links to the trainers whose seats are here: dialled, kept, dialled again, and let go when there is no seat left.

Owns one stream per trainer, its numbers and its patience. What is said and heard comes from `seats` and goes there.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
from collections.abc import Callable
from pathlib import Path

import grpc
import grpc.aio

from modelyard.errors import InsecureAddress
from modelyard.v1 import seat_pb2 as pb
from modelyard.v1.seat_pb2_grpc import SeatServiceStub
from services.agent.host.addresses import Own, own_network, reached_by
from services.agent.link.epoch import Epoch, EpochStale
from services.agent.link.join import JoinRefused
from services.agent.seats.queue import SeatQueue, Source
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.process.state_dir import write_atomically
from services.chassis.process.supervise import Loops

_log = get_logger("agent.seat_link")

PROTOCOL_VERSION = 1
FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 5.0
SETTLED_MS = 10_000
HOME_FILE = "home"
"""Readable for this user only: see SeatHome."""
IDLE_MS = 600_000
"""A link without a seat is kept for so long: the next job may come."""

SeatCall = grpc.aio.StreamStreamCall[pb.ConnectSeatsRequest, pb.ConnectSeatsResponse]


class Speaker:
    """What a link says and whom it tells; given once, when everything is put together."""

    def __init__(
        self,
        standing: Callable[[str], list[pb.Seat]],
        on_command: Callable[[str, int, pb.SeatCommand], None],
        on_acknowledged: Callable[[list[Source]], None],
    ) -> None:
        self.standing = standing
        self.on_command = on_command
        self.on_acknowledged = on_acknowledged


class SeatLinks:
    """All of one node. `queue_of` is the only way in."""

    def __init__(
        self,
        node: str,
        incarnation: int,
        root: Path,
        address_of: Callable[[str], str],
        channel: Callable[[str], grpc.aio.Channel],
        advertise: str,
        loops: Loops,
        clock: Clock,
    ) -> None:
        self.node = node
        self.incarnation = incarnation
        self.root = root
        self.address_of = address_of
        self.channel = channel
        self.advertise = advertise
        self.clock = clock
        self.speaker: Speaker
        self._loops = loops
        self._links: dict[str, _Link] = {}
        self.home = pb.SeatHome(directory=str(root), proof=secrets.token_hex(32))
        write_atomically(root / HOME_FILE, self.home.proof.encode())

    def queue_of(self, endpoint: str) -> SeatQueue:
        """What the trainer there is to know; it is being dialled from now on."""
        link = self._links.get(endpoint)
        if link is None:
            link = self._links[endpoint] = _Link(self, endpoint)
            self._loops.start(f"trainer {endpoint or 'default'}", self._keep(link))
        link.touch()
        return link.queue

    async def _keep(self, link: _Link) -> None:
        await link.run()
        del self._links[link.endpoint]


class _Link:
    """With one trainer, session after session."""

    def __init__(self, links: SeatLinks, endpoint: str) -> None:
        self.endpoint = endpoint
        self.queue = SeatQueue()
        self._links = links
        name = hashlib.sha256(endpoint.encode()).hexdigest()[:8]
        self._epoch = Epoch(links.root / f"trainer-epoch-{name}")
        self._touched_ms = 0
        self._heard = 0

    def touch(self) -> None:
        """It is needed now."""
        self._touched_ms = self._links.clock.monotonic_ms()

    @property
    def _is_idle(self) -> bool:
        if not self.queue.is_empty or self._links.speaker.standing(self.endpoint):
            return False
        return self._links.clock.monotonic_ms() - self._touched_ms > IDLE_MS

    async def run(self) -> None:
        """Dials until there is no seat for a while; each failure waits longer, with jitter."""
        pause_s = FIRST_PAUSE_S
        while not self._is_idle:
            began_ms = self._links.clock.monotonic_ms()
            try:
                await self._hold()
            except (
                OSError,
                ValueError,
                InsecureAddress,
                JoinRefused,
                EpochStale,
                asyncio.InvalidStateError,
            ) as error:
                _log.warning("trainer_not_reached", endpoint=self._address, reason=str(error))
            except grpc.aio.AioRpcError as error:
                _log.info(
                    "trainer_not_reached",
                    endpoint=self._address,
                    code=error.code().name,
                    reason=error.details(),
                )
            if self._links.clock.monotonic_ms() - began_ms > SETTLED_MS:
                pause_s = FIRST_PAUSE_S
            await self._links.clock.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 2, LAST_PAUSE_S)

    @property
    def _address(self) -> str:
        return self._links.address_of(self.endpoint)

    async def _hold(self) -> None:
        own = await asyncio.to_thread(reached_by, self._links.advertise, self._address)
        channel = self._links.channel(self._address)
        try:
            call: SeatCall = SeatServiceStub(channel).ConnectSeats()
            self._heard = 0
            await call.write(pb.ConnectSeatsRequest(hello=self._hello(own)))
            self.queue.begin()
            hearing = asyncio.ensure_future(self._hear(call))
            speaking = asyncio.ensure_future(self._speak(call))
            try:
                await self._until_over(hearing, speaking)
                if hearing.done():
                    hearing.result()
                if speaking.done():
                    speaking.result()
            finally:
                for part in (hearing, speaking):
                    part.cancel()
                await asyncio.gather(hearing, speaking, return_exceptions=True)
        finally:
            await channel.close()

    async def _until_over(self, *parts: asyncio.Future[None]) -> None:
        """Until one of them ends, or nobody has needed the link for long."""
        while not self._is_idle:
            done, _ = await asyncio.wait(parts, timeout=IDLE_MS / 1000, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return

    def _hello(self, own: Own) -> pb.SeatHello:
        return pb.SeatHello(
            node=self._links.node,
            incarnation=self._links.incarnation,
            protocol_version=PROTOCOL_VERSION,
            host=own.host,
            ip=own.ip,
            seats=self._links.speaker.standing(self.endpoint),
            max_epoch=self._epoch.number,
            network=own_network(),
            home=self._links.home,
        )

    async def _speak(self, call: SeatCall) -> None:
        while True:
            await self.queue.wake.wait()
            number, events = self.queue.take()
            message = pb.ConnectSeatsRequest(ack_command=self._heard)
            if events:
                message.events.first_number = number
                message.events.events.extend(events)
            await call.write(message)

    async def _hear(self, call: SeatCall) -> None:
        while True:
            answer = await call.read()
            if answer is grpc.aio.EOF:
                return
            assert isinstance(answer, pb.ConnectSeatsResponse)
            self._epoch.meet(answer.epoch)
            if answer.ack_event:
                self._links.speaker.on_acknowledged(self.queue.acknowledge(answer.ack_event))
            for number, command in enumerate(answer.commands, answer.first_number):
                if number > self._heard:
                    self._links.speaker.on_command(self.endpoint, number, command)
                    self._heard = number
            if answer.commands:
                # So that they are acknowledged.
                self.queue.wake.set()
