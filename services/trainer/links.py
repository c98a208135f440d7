"""The agents' streams: which agent has which seats, what it is told, what it says. SeatService.

Commands are numbered a link and kept until they are acknowledged; after a greeting they follow from the state again,
so a link that breaks loses nothing. What an agent says is acknowledged once the step that heard it is on disk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

from modelyard.training import Progress
from modelyard.v1 import seat_pb2, seat_pb2_grpc
from services.chassis.errors import InvalidArgument, PermissionDenied
from services.chassis.failpoints import failpoint
from services.chassis.logs import get_logger
from services.chassis.security import principal
from services.trainer.commands import close_command
from services.trainer.convert.progress import points_of, progress_of
from services.trainer.convert.seat import checkpoint_of, events_of, launch_of, number_of
from services.trainer.engine import Engine
from services.trainer.events import (
    ActivitySeen,
    Event,
    InstanceEnded,
    PeersChecked,
    ProgressReported,
    SignSeen,
    StacksTold,
)
from services.trainer.log_index import LogIndex
from services.trainer.metrics import Metrics, Point
from services.trainer.state import Key, Unreached

_log = get_logger("trainer.links")
ENDS_AFTER_S = 1.0
"""So long an end that stands in a greeting waits for being told with what came before it."""


class GreetingMissing(InvalidArgument):
    """The first message of an agent is its SeatHello."""


class NodeForbidden(PermissionDenied):
    """An agent speaks for its own node only."""


class Link:
    """One agent's stream."""

    def __init__(self, node: str, incarnation: int) -> None:
        self.node = node
        self.incarnation = incarnation
        self.is_over = False
        self._next = 1
        self._kept: deque[tuple[int, seat_pb2.SeatCommand]] = deque()
        self._unsent = 0
        self._acked_event = 0
        self._wake = asyncio.Event()
        self._attempts: dict[str, int] = {}

    def note(self, seat: seat_pb2.Seat) -> None:
        """Which attempt of its task it is."""
        self._attempts[seat.task_id] = seat.attempt

    def send(self, command: seat_pb2.SeatCommand) -> None:
        """Leaves with the next message."""
        command.attempt = self._attempts.get(command.task_id, 1)
        self._kept.append((self._next, command))
        self._next += 1
        self._unsent += 1
        self._wake.set()

    def acked(self, number: int) -> None:
        """Up to there the agent has taken commands in."""
        while self._kept and self._kept[0][0] <= number:
            self._kept.popleft()

    def ack_events(self, number: int) -> None:
        """Up to there what it said is on disk."""
        self._acked_event = max(self._acked_event, number)
        self._wake.set()

    def end(self) -> None:
        """Another stream of the same node has begun."""
        self.is_over = True
        self._wake.set()

    async def responses(self, epoch: int) -> AsyncIterator[seat_pb2.ConnectSeatsResponse]:
        """What leaves, until the link is over."""
        yield seat_pb2.ConnectSeatsResponse(epoch=epoch)
        told = 0
        while not self.is_over:
            unsent, self._unsent = list(self._kept)[len(self._kept) - self._unsent :], 0
            if unsent or self._acked_event != told:
                told = self._acked_event
                if unsent:
                    failpoint("trainer.before_commands")
                yield seat_pb2.ConnectSeatsResponse(
                    epoch=epoch, ack_event=told, first_number=unsent[0][0] if unsent else 0,
                    commands=[command for _, command in unsent],
                )  # fmt: skip
            self._wake.clear()
            if not self._unsent and self._acked_event == told:
                await self._wake.wait()


class Links(seat_pb2_grpc.SeatServiceServicer):
    """All agents that have seats here; the way in of what they say."""

    def __init__(self, engine: Engine, index: LogIndex, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._index = index
        self._links: dict[str, Link] = {}
        engine.send = self.send

    def send(self, node: str, command: seat_pb2.SeatCommand) -> None:
        """To the agent of that node, if it is there; after its greeting the command follows from the state again."""
        link = self._links.get(node)
        if link is not None:
            link.send(command)

    async def ConnectSeats(
        self, requests: AsyncIterator[seat_pb2.ConnectSeatsRequest], context: Any
    ) -> AsyncIterator[seat_pb2.ConnectSeatsResponse]:
        first = await anext(aiter(requests), None)
        if first is None or not first.HasField("hello"):
            raise GreetingMissing()
        hello, caller = first.hello, principal()
        if caller.node and caller.node != hello.node:
            raise NodeForbidden(f"{caller.node} is not {hello.node}", field="hello.node")
        link = self._greeted(hello)
        reader = asyncio.create_task(self._read(link, hello, requests), name=f"seats-{hello.node}")
        try:
            async for response in link.responses(self._engine.epoch):
                yield response
        finally:
            reader.cancel()
            if self._links.get(hello.node) is link:
                del self._links[hello.node]

    def _greeted(self, hello: seat_pb2.SeatHello) -> Link:
        before = self._links.get(hello.node)
        if before is not None:
            before.end()
        link = self._links[hello.node] = Link(hello.node, hello.incarnation)
        _log.info("agent_greeted", node=hello.node, seats=len(hello.seats))
        return link

    async def _read(
        self, link: Link, hello: seat_pb2.SeatHello, requests: AsyncIterator[seat_pb2.ConnectSeatsRequest]
    ) -> None:
        await self._index.note([began for seat in hello.seats for began in launch_of(seat)])
        ends: list[Event] = []
        for seat in hello.seats:
            link.note(seat)
            if self._engine.wants(number_of(seat.job_id)):
                for event in events_of(seat, hello, is_greeting=True):
                    if isinstance(event, InstanceEnded):
                        ends.append(event)
                    else:
                        self._engine.post(event)
            else:
                link.send(close_command(seat.task_id, (), "the job has ended", is_failure=False))
        # What was not acknowledged is told again in its order: an end after the progress by which it is judged.
        late = asyncio.get_running_loop().call_later(ENDS_AFTER_S, self._post_all, ends)
        try:
            async for request in requests:
                link.acked(request.ack_command)
                if request.HasField("events"):
                    await self._hear(link, hello, request.events)
        finally:
            late.cancel()
            link.end()

    def _post_all(self, events: Sequence[Event]) -> None:
        for event in events:
            self._engine.post(event)

    async def _hear(self, link: Link, hello: seat_pb2.SeatHello, events: seat_pb2.SeatEvents) -> None:
        seats = [event.seat for event in events.events if event.HasField("seat")]
        points = self._points(events)
        noting = asyncio.ensure_future(
            self._index.note([began for seat in seats for began in launch_of(seat)])
        )
        for event in events.events:
            if event.HasField("seat"):
                link.note(event.seat)
            for found in self._events_of(event, hello):
                self._engine.post(found)
        await self._engine.settled()
        await noting
        left_out = await self._metrics.put_heard(points)
        if left_out:
            _log.warning("metrics_left_out", node=hello.node, points=left_out)
        failpoint("trainer.before_ack")
        link.ack_events(events.first_number + len(events.events) - 1)

    def _points(self, events: seat_pb2.SeatEvents) -> list[tuple[int, Key, Point]]:
        """What is told of metrics, each at the step that the same instance had told by then."""
        found: list[tuple[int, Key, Point]] = []
        latest: dict[tuple[int, str, int], Progress] = {}
        for event in events.events:
            at = self._engine.seat_at(event.task_id) if event.HasField("progress") else None
            if at is None:
                continue
            told = event.progress.update_time if event.progress.HasField("update_time") else event.time
            progress = progress_of(event.progress)
            whole = latest[at] = progress.over(latest.get(at) or self._engine.told(*at))
            points = points_of(progress, whole.step, told.ToMilliseconds())
            found += [(at[0], at[1:], point) for point in points]
        return found

    def _events_of(self, event: seat_pb2.SeatEvent, hello: seat_pb2.SeatHello) -> list[Event]:
        if event.HasField("seat"):
            seat = event.seat
            seat.task_id = seat.task_id or event.task_id
            return events_of(seat, hello, is_greeting=False)
        at = self._engine.seat_at(event.task_id)
        if at is None:
            return []
        if event.HasField("sign"):
            return [SignSeen(*at, event.epoch, event.sign.id)]
        if event.HasField("activity"):
            return [ActivitySeen(*at, event.epoch, event.activity.cpu, event.activity.silent_ms)]
        if event.HasField("stacks"):
            return [StacksTold(*at, event.epoch, event.stacks)]
        if event.HasField("progress"):
            return [ProgressReported(*at, progress_of(event.progress), event.epoch)]
        if event.HasField("checkpoint"):
            return [checkpoint_of(at, event.task_id, event.epoch, hello.node, event.checkpoint)]
        if event.HasField("checked"):
            unreached = tuple(
                Unreached(one.role, one.index, one.address, one.error) for one in event.checked.unreached
            )
            return [PeersChecked(*at, event.task_id, event.checked.number, unreached)]
        if event.HasField("refusal"):
            _log.warning(
                "command_refused", node=hello.node, task=event.task_id, reason=event.refusal.reason,
                message=event.refusal.message,
            )  # fmt: skip
        return []
