"""A scheduler of a few lines that speaks AgentLinkService: it sends what a test says and keeps what it hears."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc
import grpc.aio

from modelyard.v1 import agent_link_pb2 as pb
from modelyard.v1 import artifact_pb2, task_pb2
from modelyard.v1.agent_link_pb2_grpc import AgentLinkServiceServicer, add_AgentLinkServiceServicer_to_server
from modelyard.v1.artifact_pb2_grpc import ArtifactServiceServicer, add_ArtifactServiceServicer_to_server

TIMEOUT_S = 20.0


class FakeStore(ArtifactServiceServicer):
    """Artefacts in memory, for every account."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.holders: dict[str, str] = {}
        self.fetches = 0
        # At which offsets downloads break off, each once; and where those that came began.
        self.breaks_at: list[int] = []
        self.offsets: list[int] = []

    def add(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    async def GetArtifact(
        self, request: artifact_pb2.GetArtifactRequest, context: Any
    ) -> AsyncIterator[artifact_pb2.GetArtifactResponse]:
        self.fetches += 1
        data = await self._find(request.digest, context)
        self.offsets.append(request.offset)
        for offset in range(request.offset, max(len(data), 1), 1 << 20):
            if offset in self.breaks_at:
                self.breaks_at.remove(offset)
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the store is going down")
            chunk = data[offset : offset + (1 << 20)]
            yield artifact_pb2.GetArtifactResponse(chunk=chunk, offset=offset, size_bytes=len(data))

    async def StatArtifact(
        self, request: artifact_pb2.StatArtifactRequest, context: Any
    ) -> artifact_pb2.StatArtifactResponse:
        data = await self._find(request.digest, context)
        artifact = artifact_pb2.Artifact(digest=request.digest, size_bytes=len(data))
        return artifact_pb2.StatArtifactResponse(artifact=artifact)

    async def PutArtifact(
        self, requests: AsyncIterator[artifact_pb2.PutArtifactRequest], context: Any
    ) -> artifact_pb2.PutArtifactResponse:
        header = (await anext(requests)).header
        if header.HasField("local_file"):
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "it is elsewhere")
        data = b"".join([request.chunk async for request in requests])
        digest = self.add(data)
        self.holders[digest] = header.holder
        artifact = artifact_pb2.Artifact(digest=digest, size_bytes=len(data), name=header.name)
        return artifact_pb2.PutArtifactResponse(artifact=artifact)

    async def _find(self, digest: str, context: Any) -> bytes:
        if digest not in self.blobs:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such artefact")
        return self.blobs[digest]


class Session:
    """One stream of an agent."""

    def __init__(self, hello: pb.Hello) -> None:
        self.hello = hello
        self.outgoing: asyncio.Queue[pb.ConnectResponse | None] = asyncio.Queue()
        self.command = 0
        self.acked_command = 0
        self.bodies: dict[tuple[str, bytes], int] = {}
        self.is_over = False


class FakeScheduler(AgentLinkServiceServicer):
    """Acknowledges at once unless `acknowledges` is off; verdicts are those of `verdict_of`."""

    def __init__(self) -> None:
        self.epoch = 1
        self.lease_ms = 15_000
        self.beat_ms = 200
        self.credits = 0
        self.acknowledges = True
        self.answers_beats = True
        self.sessions: list[Session] = []
        self.events: list[pb.TaskEvent] = []
        self.messages: list[str] = []
        self.beats: list[pb.Beat] = []
        self.exits: dict[str, pb.TaskExited] = {}
        self.logs: dict[tuple[str, int, int], bytearray] = {}
        self.joined: list[str] = []
        self.verdict_of: Callable[[pb.HeldTask], int] = default_verdict
        self.store = FakeStore()
        self.address = ""
        self._server: grpc.aio.Server | None = None
        self._changed = asyncio.Event()

    async def start(self, port: int = 0) -> None:
        self._server = grpc.aio.server()
        add_AgentLinkServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        add_ArtifactServiceServicer_to_server(self.store, self._server)  # type: ignore[no-untyped-call]
        self.address = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    @property
    def session(self) -> Session:
        return self.sessions[-1]

    async def until(self, fact: Callable[[], Any], what: str = "") -> None:
        """Waits for something to become true of what was heard."""
        async with asyncio.timeout(TIMEOUT_S):
            while not fact():
                self._changed.clear()
                try:
                    await asyncio.wait_for(self._changed.wait(), 15.0)
                except TimeoutError:
                    raise AssertionError(
                        f"waited for {what or fact}: {self.events[-5:]} {self.messages[-9:]}"
                    ) from None

    async def exited(self, *task_ids: str) -> list[pb.TaskExited]:
        """The ends of these tasks, once all have come."""
        await self.until(
            lambda: all(task_id in self.exits for task_id in task_ids), f"ends of {task_ids[:9]}"
        )
        return [self.exits[task_id] for task_id in task_ids]

    def kinds(self, task_id: str) -> list[str]:
        """What was told of a task, in order."""
        return [e.WhichOneof("event") or "" for e in self.events if e.task_id == task_id]

    def log(self, task_id: str, stream: int = task_pb2.LOG_STREAM_STDOUT, attempt: int = 1) -> bytes:
        return bytes(self.logs.get((task_id, attempt, stream), b""))

    # --- what it says

    def start_tasks(
        self,
        spec: task_pb2.TaskSpec,
        task_ids: Iterable[str],
        *,
        account: str = "ann",
        attempt: int = 1,
        **fields: Any,
    ) -> None:
        session = self.session
        commands = pb.Commands()
        raw = spec.SerializeToString(deterministic=True)
        body = session.bodies.get((account, raw))
        if body is None:
            body = session.bodies[(account, raw)] = len(session.bodies) + 1
            commands.bodies.add(body=body, spec=raw, account=account)
        fields.setdefault("array_index", -1)
        for task_id in task_ids:
            commands.commands.add().start.CopyFrom(
                pb.StartTask(task_id=task_id, attempt=attempt, epoch=self.epoch, body=body, **fields)
            )
        self.command_all(commands)

    def stop_task(
        self, task_id: str, grace_ms: int = 2_000, cause: int = task_pb2.TASK_CAUSE_CANCELLED
    ) -> None:
        stop = pb.StopTask(task_id=task_id, attempt=1, grace_ms=grace_ms, message="cancelled by a test")
        stop.cause = cause  # type: ignore[assignment]
        self.command_all(pb.Commands(commands=[pb.Command(stop=stop)]))

    def retract(self, *task_ids: str) -> None:
        commands = [pb.Command(retract=pb.RetractTask(task_id=task_id, attempt=1)) for task_id in task_ids]
        self.command_all(pb.Commands(commands=commands))

    def command_all(self, commands: pb.Commands) -> None:
        session = self.session
        commands.first_number = session.command + 1
        session.command += len(commands.commands)
        self.say(pb.ConnectResponse(commands=commands))

    def say(self, message: pb.ConnectResponse) -> None:
        message.epoch = self.epoch
        self.session.outgoing.put_nowait(message)

    def cut(self) -> None:
        """Ends the present stream."""
        self.session.outgoing.put_nowait(None)

    # --- the service

    async def Join(self, request: pb.JoinRequest, context: Any) -> pb.JoinResponse:
        self.joined.append(request.join_token)
        return pb.JoinResponse(node=request.node, credentials=pb.NodeCredentials(token="yard_agent_test"))

    async def Connect(
        self, requests: AsyncIterator[pb.ConnectRequest], context: Any
    ) -> AsyncIterator[pb.ConnectResponse]:
        first = await anext(requests)
        session = Session(first.hello)
        for held in first.hello.tasks:
            if held.HasField("exited"):
                self.exits[held.task_id] = held.exited
        self.sessions.append(session)
        self._changed.set()
        welcome = pb.Welcome(lease_ms=self.lease_ms, beat_ms=self.beat_ms, event_credits=self.credits)
        for held in first.hello.tasks:
            verdict = welcome.verdicts.add(task_id=held.task_id, attempt=held.attempt)
            verdict.kind = self.verdict_of(held)  # type: ignore[assignment]
        yield pb.ConnectResponse(epoch=self.epoch, welcome=welcome)
        hearing = asyncio.create_task(self._hear(session, requests))
        try:
            while (message := await session.outgoing.get()) is not None:
                yield message
        finally:
            session.is_over = True
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            self._changed.set()

    async def _hear(self, session: Session, requests: AsyncIterator[pb.ConnectRequest]) -> None:
        async for message in requests:
            session.acked_command = max(session.acked_command, message.ack_command)
            kind = message.WhichOneof("message") or "ack"
            self.messages.append(kind)
            if kind == "events":
                self._on_events(session, message.events)
            elif kind == "beat":
                self.beats.append(message.beat)
                if self.answers_beats:
                    answer = pb.ConnectResponse(
                        epoch=self.epoch, beat_ack=pb.BeatAck(number=message.beat.number)
                    )
                    session.outgoing.put_nowait(answer)
            self._changed.set()
        session.outgoing.put_nowait(None)

    def _on_events(self, session: Session, events: pb.Events) -> None:
        self.events.extend(events.events)
        for event in events.events:
            if event.HasField("exited"):
                self.exits[event.task_id] = event.exited
        if self.acknowledges:
            last = events.first_number + len(events.events) - 1
            answer = pb.ConnectResponse(
                epoch=self.epoch, ack_event=last, acknowledgement=pb.Acknowledgement()
            )
            session.outgoing.put_nowait(answer)

    async def PushLogs(
        self, requests: AsyncIterator[pb.PushLogsRequest], context: Any
    ) -> AsyncIterator[pb.PushLogsResponse]:
        async for request in requests:
            answer = pb.PushLogsResponse()
            for chunk in request.chunks:
                log = self.logs.setdefault((chunk.task_id, chunk.attempt, chunk.stream), bytearray())
                if chunk.offset <= len(log):
                    log[chunk.offset :] = (
                        chunk.data if chunk.offset + len(chunk.data) > len(log) else log[chunk.offset :]
                    )
                answer.positions.add(
                    task_id=chunk.task_id, attempt=chunk.attempt, stream=chunk.stream, offset=len(log)
                )
            self._changed.set()
            yield answer


def default_verdict(held: pb.HeldTask) -> int:
    """Keeps what runs or waits, forgets what has ended."""
    return pb.VERDICT_KIND_FORGET if held.state == pb.HELD_STATE_ENDED else pb.VERDICT_KIND_KEEP
