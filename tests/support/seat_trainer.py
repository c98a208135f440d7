"""The other end of an agent's seats: a real gRPC server that keeps what agents say and sends what a test wants.

It behaves as a trainer has to: commands are kept until they are acknowledged and sent again after a hello, events are
acknowledged, and a seat is what was last said of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from modelyard.v1 import framework_pb2, task_pb2
from modelyard.v1 import seat_pb2 as pb
from modelyard.v1.seat_pb2_grpc import SeatServiceServicer, add_SeatServiceServicer_to_server
from modelyard.v1.task_pb2_grpc import TaskServiceStub
from tests.support.wait import wait_until


class AgentSession:
    """One stream of one agent."""

    def __init__(self, hello: pb.SeatHello, metadata: dict[str, str]) -> None:
        self.hello = hello
        self.metadata = metadata
        self.sent = 0
        self.outgoing: asyncio.Queue[pb.ConnectSeatsResponse | None] = asyncio.Queue()


class SeatTrainer(SeatServiceServicer):
    """Seats by task and attempt, as the agents told them last."""

    def __init__(self, epoch: int = 1) -> None:
        self.epoch = epoch
        self.port = 0
        self.acknowledges = True
        self.seats: dict[str, pb.Seat] = {}
        self.node_of: dict[str, str] = {}
        self.events: list[pb.SeatEvent] = []
        self.hellos: list[pb.SeatHello] = []
        self.sessions: dict[str, AgentSession] = {}
        self._server: grpc.aio.Server

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self, credentials: grpc.ServerCredentials | None = None) -> None:
        """Listens; after a `stop` on the port that it had."""
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        add_SeatServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        address = f"127.0.0.1:{self.port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)
        self.sessions.clear()

    async def ConnectSeats(  # type: ignore[override]
        self, request_iterator: AsyncIterator[pb.ConnectSeatsRequest], context: Any
    ) -> AsyncIterator[pb.ConnectSeatsResponse]:
        first = await anext(aiter(request_iterator))
        metadata = {
            key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)
        }
        session = self._greet(first.hello, metadata)
        hearing = asyncio.ensure_future(self._hear(session, request_iterator))
        try:
            while (answer := await session.outgoing.get()) is not None:
                yield answer
        finally:
            hearing.cancel()

    def _greet(self, hello: pb.SeatHello, metadata: dict[str, str]) -> AgentSession:
        self.hellos.append(hello)
        session = self.sessions[hello.node] = AgentSession(hello, metadata)
        session.outgoing.put_nowait(pb.ConnectSeatsResponse(epoch=self.epoch))
        for seat in hello.seats:
            self._take(hello.node, seat)
        return session

    async def _hear(self, session: AgentSession, requests: AsyncIterator[pb.ConnectSeatsRequest]) -> None:
        async for request in requests:
            for event in request.events.events:
                self.events.append(event)
                if event.HasField("seat"):
                    self._take(session.hello.node, event.seat)
            if request.events.events and self.acknowledges:
                last = request.events.first_number + len(request.events.events) - 1
                session.outgoing.put_nowait(pb.ConnectSeatsResponse(epoch=self.epoch, ack_event=last))
        session.outgoing.put_nowait(None)

    def _take(self, node: str, seat: pb.Seat) -> None:
        key = f"{seat.task_id}/{seat.attempt}"
        self.seats[key] = seat
        self.node_of[key] = node

    # --- as a test uses it

    def command(self, seat: pb.Seat, **command: Any) -> None:
        """Sends one command for a seat."""
        session = self.sessions[self.node_of[f"{seat.task_id}/{seat.attempt}"]]
        session.sent += 1
        answer = pb.ConnectSeatsResponse(epoch=self.epoch, first_number=session.sent)
        answer.commands.append(pb.SeatCommand(task_id=seat.task_id, attempt=seat.attempt, **command))
        session.outgoing.put_nowait(answer)

    def launch(self, seat: pb.Seat, epoch: int, *argvs: Sequence[str], **fields: Any) -> None:
        """Starts processes, one for each argv."""
        env = fields.pop("env", {})
        processes = [framework_pb2.RenderedProcess(argv=argv, env=env) for argv in argvs]
        self.command(seat, launch=pb.LaunchSeat(epoch=epoch, processes=processes, **fields))

    def stop_seat(self, seat: pb.Seat, signal: str = "SIGTERM", grace_ms: int = 5_000) -> None:
        self.command(seat, stop=pb.StopSeat(epoch=2**40, signal=signal, grace_ms=grace_ms))

    def close(self, seat: pb.Seat, *outputs: str, message: str = "", is_failure: bool = False) -> None:
        self.command(seat, close=pb.CloseSeat(outputs=outputs, message=message, is_failure=is_failure))

    def seat(self, task_id: str) -> pb.Seat | None:
        """The latest attempt of a task, as it was told last."""
        attempts = [seat for seat in self.seats.values() if seat.task_id == task_id]
        return max(attempts, key=lambda seat: seat.attempt, default=None)

    async def until(self, task_id: str, state: pb.SeatState.ValueType, epoch: int = 0) -> pb.Seat:
        """Waits until a seat is in a state, with an epoch at least."""

        def found() -> pb.Seat | None:
            seat = self.seat(task_id)
            return seat if seat is not None and seat.state == state and seat.epoch >= epoch else None

        name = pb.SeatState.Name(state)
        found_seat = await wait_until(
            found, f"{task_id} is {name}", timeout_s=30, state=lambda: (self.seats, self.events[-5:])
        )
        assert found_seat is not None
        return found_seat

    async def heard(self, task_id: str, kind: str, where: Callable[[Any], bool] = lambda _: True) -> Any:
        """Waits for an event of a kind."""

        def found() -> Any:
            for event in self.events:
                told = event.WhichOneof("event") == kind and event.task_id == task_id
                if told and where(getattr(event, kind)):
                    return event
            return None

        return await wait_until(found, f"{kind} of {task_id}", timeout_s=30, state=lambda: self.events[-5:])


@asynccontextmanager
async def seat_trainer() -> AsyncIterator[SeatTrainer]:
    """One on a port of its own."""
    trainer = SeatTrainer()
    await trainer.start()
    try:
        yield trainer
    finally:
        await trainer.stop()


def seat_spec(trainer: SeatTrainer | None = None, **fields: Any) -> task_pb2.TaskSpec:
    """A seat as a trainer submits it; fields of SeatWork by name, those of TaskSpec under ``spec``."""
    spec = task_pb2.TaskSpec(**fields.pop("spec", {}))
    spec.delivery = task_pb2.DELIVERY_AT_MOST_ONCE
    seat = {"job_id": "j-1", "role": "worker", **fields}
    seat["ports"] = [
        task_pb2.SeatPort(name=port) if isinstance(port, str) else port for port in seat.get("ports", ())
    ]
    if trainer is not None:
        seat.setdefault("endpoint", trainer.address)
    spec.seat.CopyFrom(task_pb2.SeatWork(**seat))
    return spec


async def submit_seats(
    channel: grpc.aio.Channel, *specs: task_pb2.TaskSpec, account: str = "admin"
) -> list[str]:
    """As a service does, on behalf of an account; the tasks' ids."""
    request = task_pb2.SubmitTasksRequest(specs=specs)
    answer = await TaskServiceStub(channel).SubmitTasks(request, metadata=(("x-yard-account", account),))
    return list(answer.task_ids)
