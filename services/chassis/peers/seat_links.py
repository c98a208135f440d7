"""The streams of agents that have seats of this service: SeatService, whoever the owner of the seats is.

Commands are numbered a link and kept until they are acknowledged; after a greeting they follow from the owner's state
again, so a link that breaks loses nothing. What an agent says is acknowledged once the owner has it on disk. What seats
are for, what is wanted of them and what follows from what they say is the owner's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

from modelyard.v1 import seat_pb2, seat_pb2_grpc
from services.chassis.errors import InvalidArgument, PermissionDenied
from services.chassis.failpoints import failpoint
from services.chassis.logs import get_logger
from services.chassis.security import principal

_log = get_logger("chassis.seat_links")
ENDS_AFTER_S = 1.0
"""So long what a greeting leaves for later waits for what was said before it and not acknowledged."""
CLOSED_MOST = 64
"""Seats that are closed and may still be spoken of: the asking for their end and the word of it may cross."""

Return = Callable[[seat_pb2.Seat, str], None]
"""Gives a seat back that nobody wants; why, in words."""


class GreetingMissing(InvalidArgument):
    """The first message of an agent is its SeatHello."""


class NodeForbidden(PermissionDenied):
    """An agent speaks for its own node only."""


class Owner(Protocol):
    """Whose seats they are."""

    @property
    def epoch(self) -> int:
        """+1 at each start of the service: an agent refuses a lower one than it has met."""
        ...

    async def greeted(self, hello: seat_pb2.SeatHello, give_back: Return) -> Callable[[], None]:
        """An agent is there, with all seats that it has of this owner. What is returned is called a moment later:
        what was not acknowledged is told again in its order, and an end after the progress by which it is judged."""
        ...

    async def heard(self, hello: seat_pb2.SeatHello, events: Sequence[seat_pb2.SeatEvent]) -> None:
        """What it says. On return it is on disk, or follows from what is."""
        ...


class Met:
    """Which seats an owner has seen as they are, in each agent's present stream.

    An agent that has just begun may not know its own seats yet: it greets with them as being prepared, and what it is
    told of them meanwhile is lost. So the first that is told of such a seat is its greeting.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, tuple[seat_pb2.SeatHello, set[str]]] = {}

    def greeted(self, hello: seat_pb2.SeatHello) -> None:
        """A stream has begun."""
        seats = {one.task_id for one in hello.seats if one.state != seat_pb2.SEAT_STATE_PREPARING}
        self._nodes[hello.node] = (hello, seats)

    def meets(self, hello: seat_pb2.SeatHello, seat: seat_pb2.Seat) -> bool:
        """Whether a seat that is told in the stream of this greeting is seen for the first time."""
        present, seats = self._nodes.get(hello.node, (None, set[str]()))
        if seat.state == seat_pb2.SEAT_STATE_CLOSED:
            seats.discard(seat.task_id)
        is_told = seat.state not in (seat_pb2.SEAT_STATE_PREPARING, seat_pb2.SEAT_STATE_CLOSED)
        if present is not hello or not is_told or seat.task_id in seats:
            return False
        seats.add(seat.task_id)
        return True


class Link:
    """One agent's stream."""

    def __init__(self, owner: str, node: str, incarnation: int) -> None:
        """`owner`: the service's name, as its failpoints have it."""
        self.node = node
        self.incarnation = incarnation
        self.is_over = False
        self._owner = owner
        self._next = 1
        self._kept: deque[tuple[int, seat_pb2.SeatCommand]] = deque()
        self._unsent = 0
        self._acked_event = 0
        self._wake = asyncio.Event()
        self._attempts: dict[str, int] = {}
        self._closed: deque[tuple[str, int]] = deque()

    def note(self, seat: seat_pb2.Seat) -> None:
        """Which attempt of its task it is; of seats that are closed only the latest are remembered."""
        self._attempts[seat.task_id] = seat.attempt
        if seat.state == seat_pb2.SEAT_STATE_CLOSED:
            self._closed.append((seat.task_id, seat.attempt))
        if len(self._closed) > CLOSED_MOST:
            task, attempt = self._closed.popleft()
            if self._attempts.get(task) == attempt:
                del self._attempts[task]

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
                    failpoint(f"{self._owner}.before_commands")
                yield seat_pb2.ConnectSeatsResponse(
                    epoch=epoch, ack_event=told, first_number=unsent[0][0] if unsent else 0,
                    commands=[command for _, command in unsent],
                )  # fmt: skip
            self._wake.clear()
            if not self._unsent and self._acked_event == told:
                await self._wake.wait()


class SeatLinks(seat_pb2_grpc.SeatServiceServicer):
    """All agents that have seats here; the way in of what they say, and the way out of what is wanted of them."""

    def __init__(self, name: str, owner: Owner) -> None:
        """`name`: of the service, as its failpoints have it."""
        self._name = name
        self._owner = owner
        self._links: dict[str, Link] = {}

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
            async for response in link.responses(self._owner.epoch):
                yield response
        finally:
            reader.cancel()
            if self._links.get(hello.node) is link:
                del self._links[hello.node]

    def _greeted(self, hello: seat_pb2.SeatHello) -> Link:
        before = self._links.get(hello.node)
        if before is not None:
            before.end()
        link = self._links[hello.node] = Link(self._name, hello.node, hello.incarnation)
        _log.info("agent_greeted", owner=self._name, node=hello.node, seats=len(hello.seats))
        return link

    async def _read(
        self, link: Link, hello: seat_pb2.SeatHello, requests: AsyncIterator[seat_pb2.ConnectSeatsRequest]
    ) -> None:
        for seat in hello.seats:
            link.note(seat)

        def give_back(seat: seat_pb2.Seat, why: str) -> None:
            link.send(close_command(seat.task_id, (), why, is_failure=False))

        finish = await self._owner.greeted(hello, give_back)
        late = asyncio.get_running_loop().call_later(ENDS_AFTER_S, finish)
        try:
            async for request in requests:
                link.acked(request.ack_command)
                if request.HasField("events"):
                    await self._hear(link, hello, request.events)
        finally:
            late.cancel()
            link.end()

    async def _hear(self, link: Link, hello: seat_pb2.SeatHello, events: seat_pb2.SeatEvents) -> None:
        for event in events.events:
            if event.HasField("seat"):
                event.seat.task_id = event.seat.task_id or event.task_id
                link.note(event.seat)
        await self._owner.heard(hello, events.events)
        failpoint(f"{self._name}.before_ack")
        link.ack_events(events.first_number + len(events.events) - 1)


def close_command(task: str, keep: Sequence[str], message: str, *, is_failure: bool) -> seat_pb2.SeatCommand:
    """Ends the task of a seat; what matches `keep` is kept."""
    close = seat_pb2.CloseSeat(outputs=keep, message=message, is_failure=is_failure)
    return seat_pb2.SeatCommand(task_id=task, close=close)
