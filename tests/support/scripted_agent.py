"""An agent that speaks AgentLinkService and does what the test's script says; it runs nothing.

Keeps what it was told to start, reports what it is told to report, and pushes logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from modelyard.v1 import agent_link_pb2 as pb
from modelyard.v1 import node_pb2, operator_pb2, task_pb2
from tests.support.scheduler_service import SchedulerYard
from tests.support.wait import wait_until

Script = Callable[["ScriptedAgent", pb.StartTask], Any]


def succeed(agent: ScriptedAgent, start: pb.StartTask) -> None:
    """Says at once that the task ended well."""
    agent.exit(start)


def ignore(agent: ScriptedAgent, start: pb.StartTask) -> None:
    """Keeps the task; the test goes on with it."""


class ScriptedAgent:
    """Open with `connected`."""

    def __init__(self, yard: SchedulerYard, node: str, script: Script, hello: Mapping[str, Any]) -> None:
        self.node = node
        self.starts: list[pb.StartTask] = []
        self.stops: list[pb.StopTask] = []
        self.retracts: list[pb.RetractTask] = []
        self.modifies: list[pb.ModifyTask] = []
        self.bodies: dict[int, task_pb2.TaskSpec] = {}
        self.welcomes: list[pb.Welcome] = []
        self.farewells: list[str] = []
        self.acked = 0
        self.sent = 0
        self.incarnation = 0
        self._yard = yard
        self._script = script
        self._hello = dict(hello)
        self._call: Any = None
        self._client: Any = None
        self._outgoing: asyncio.Queue[pb.ConnectRequest] = asyncio.Queue()
        self._loops: list[asyncio.Task[None]] = []

    # --- life

    async def connect(self, *held: pb.HeldTask) -> pb.Welcome:
        """Says hello and waits for the welcome."""
        self._client = self._client or await self._yard.agent_client(self.node)
        self.incarnation += 1
        self.sent = 0
        self._outgoing = asyncio.Queue()
        self._call = self._client.links.Connect()
        hello = pb.Hello(
            node=self.node, boot_id="boot", incarnation=self.incarnation, protocol_version=1,
            capacity=node_pb2.NodeCapacity(cpu=self._hello.get("cpu", 8), memory_bytes=1 << 33),
            labels=self._hello.get("labels", {}), tasks=held,
            operators=[operator_pb2.Operator(name=n, params_schema_json=s)
                       for n, s in self._hello.get("operators", {}).items()] + self._hello.get("described", []),
        )  # fmt: skip
        await self._call.write(pb.ConnectRequest(hello=hello))
        known = len(self.welcomes)
        self._loops = [
            asyncio.ensure_future(self._hear(self._call)),
            asyncio.ensure_future(self._speak(self._call)),
        ]
        await wait_until(lambda: len(self.welcomes) > known, "the welcome", state=lambda: self.farewells)
        return self.welcomes[-1]

    async def disconnect(self) -> None:
        """Breaks the stream without a word."""
        if self._call is not None:
            self._call.cancel()
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._loops = []

    async def leave(self) -> None:
        """Says goodbye for good: nothing of it runs any more."""
        await self._call.write(pb.ConnectRequest(bye=pb.Bye(reason="the agent was stopped")))
        await self._call.done_writing()
        nodes = self._yard.engine.state.cluster.nodes
        await wait_until(lambda: not nodes[self.node].session, "its goodbye was taken")
        await self.disconnect()

    async def _speak(self, call: Any) -> None:
        while True:
            await call.write(await self._outgoing.get())

    async def _hear(self, call: Any) -> None:
        async for message in call:
            self.acked = max(self.acked, message.ack_event)
            kind = message.WhichOneof("message")
            if kind == "welcome":
                self.welcomes.append(message.welcome)
            elif kind == "commands":
                self._obey(message.commands)
            elif kind == "go_away":
                self.farewells.append(message.go_away.reason)

    def _obey(self, commands: pb.Commands) -> None:
        for body in commands.bodies:
            self.bodies[body.body] = task_pb2.TaskSpec.FromString(body.spec)
        for command in commands.commands:
            kind = command.WhichOneof("command")
            if kind == "start":
                self.starts.append(command.start)
                self._script(self, command.start)
            elif kind == "stop":
                self.stops.append(command.stop)
            elif kind == "modify":
                self.modifies.append(command.modify)
            else:
                self.retracts.append(command.retract)

    # --- what it says

    def say(self, **message: Any) -> None:
        self._outgoing.put_nowait(pb.ConnectRequest(**message))

    def events(self, *events: pb.TaskEvent) -> None:
        first = self.sent + 1
        self.sent += len(events)
        self.say(events=pb.Events(first_number=first, events=events))

    def started(self, start: pb.StartTask) -> None:
        self.events(_event(start, started=pb.TaskStarted()))

    def exit(self, start: pb.StartTask, **exited: Any) -> None:
        """How a task ended; well unless ``error`` says otherwise."""
        now_ms = time.time_ns() // 1_000_000
        self.events(
            _event(start, exited=pb.TaskExited(start_time_ms=now_ms - 1_000, end_time_ms=now_ms, **exited))
        )

    def fail(self, start: pb.StartTask, **exited: Any) -> None:
        error = task_pb2.TaskError(cause=task_pb2.TASK_CAUSE_EXIT, message="code 3", exit_code=3)
        self.exit(start, error=error, **exited)

    def modified(self, start: pb.StartTask, revision: int, *paths: str, refusal: str = "") -> None:
        """What became of these fields of a modification: they hold, unless there is a refusal."""
        kind = task_pb2.FIELD_VERDICT_KIND_REJECTED if refusal else task_pb2.FIELD_VERDICT_KIND_APPLIED
        fields = [task_pb2.FieldVerdict(path=path, kind=kind, message=refusal) for path in paths]
        self.events(_event(start, modified=pb.TaskModified(revision=revision, fields=fields)))

    def held(self, start: pb.StartTask, **held: Any) -> pb.HeldTask:
        """What its hello says of a task that it still has."""
        held.setdefault("state", pb.HELD_STATE_RUNNING)
        return pb.HeldTask(task_id=start.task_id, attempt=start.attempt, epoch=start.epoch, **held)

    async def push_logs(self, *chunks: pb.LogChunk) -> list[pb.LogPosition]:
        """Pushes chunks in one message; what the scheduler says is safe."""

        async def requests() -> AsyncIterator[pb.PushLogsRequest]:
            yield pb.PushLogsRequest(chunks=chunks)

        return [
            position
            async for answer in self._client.links.PushLogs(requests())
            for position in answer.positions
        ]

    async def log(self, start: pb.StartTask, data: bytes, offset: int = 0, stream: int = 1) -> None:
        await self.push_logs(
            pb.LogChunk(task_id=start.task_id, attempt=start.attempt, stream=stream, offset=offset, data=data)  # type: ignore[arg-type]
        )

    # --- waiting for what it is told

    async def start(self, number: int = 0) -> pb.StartTask:
        """The start command of that number, when it has come."""
        await wait_until(
            lambda: len(self.starts) > number, f"start command {number}", state=lambda: self.starts
        )
        return self.starts[number]

    async def stop(self, number: int = 0) -> pb.StopTask:
        await wait_until(lambda: len(self.stops) > number, f"stop command {number}")
        return self.stops[number]

    async def modify(self, number: int = 0) -> pb.ModifyTask:
        await wait_until(lambda: len(self.modifies) > number, f"modify command {number}")
        return self.modifies[number]


def _event(start: pb.StartTask, **event: Any) -> pb.TaskEvent:
    return pb.TaskEvent(task_id=start.task_id, attempt=start.attempt, epoch=start.epoch, **event)


@contextlib.asynccontextmanager
async def connected(
    yard: SchedulerYard, node: str = "n0", script: Script = ignore, **hello: Any
) -> AsyncIterator[ScriptedAgent]:
    """An agent that was welcomed. ``hello``: cpu, labels, operators (name → schema as JSON)."""
    agent = ScriptedAgent(yard, node, script, hello)
    try:
        await agent.connect()
        yield agent
    finally:
        await agent.disconnect()
