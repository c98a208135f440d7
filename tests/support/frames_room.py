"""The room of frames in this process, on a real yard: real agents, seats, frames; versions that a test says.

Doors are as simple as they can be: one connection to each frame, and calls one at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc.aio
import numpy as np

from modelyard.channel import connect
from modelyard.models import Config, Datatype, Format, Runtime, Serving, Tensor
from modelyard.oip.v2 import inference_pb2 as ip
from modelyard.serving.wire import Decoder, Message, encode
from modelyard.v1 import deployment_pb2 as pb
from modelyard.v1 import deployment_pb2_grpc
from services.chassis.access.remote import RemoteAuthenticator
from services.chassis.clock import SystemClock
from services.chassis.errors import NotFound
from services.chassis.peers.outward import Outward, yard_key
from services.chassis.process.supervise import Loops
from services.chassis.requests.answers import Answers
from services.chassis.rpc.server import make_server
from services.chassis.security import ADMIN, Principal
from services.chassis.storage.sqlite import Database, load_migrations, load_queries
from services.models.calls import messages
from services.models.calls.calls import Calls
from services.models.frames.room import FramesRoom
from services.models.frames.source import Frames
from services.models.rules import RULES
from services.models.seams import Served, VersionKey, Way
from services.models.servicer.deployments import DeploymentServicer, add_to_server
from services.models.servicer.explaining import Explaining
from tests.support.wait import wait_until
from tests.support.yard import Yard

ADDER = """
import os

class Adder:
    def __init__(self):
        self.words = {words!r}

    def predict(self, x: int) -> int:
        if x == -1:
            os._exit(3)
        return x + {plus}
"""


class NoSuchModel(NotFound):
    """There is no such model."""


class Shelf:
    """Versions by model; the champion is what a test says, else the latest."""

    def __init__(self) -> None:
        self.known: dict[str, dict[int, Served]] = {}
        self.aliases: dict[tuple[str, str], int] = {}

    def put(self, served: Served) -> Served:
        self.known.setdefault(served.key.model, {})[served.key.version] = served
        return served

    def served(self, model: str, version: str = "") -> Served:
        versions = self.known.get(model, {})
        number = self.aliases.get((model, version or "champion"))
        if number is None:
            number = int(version) if version.isdecimal() else max(versions, default=0)
        if number not in versions:
            raise NoSuchModel(f"there is no version {version!r} of {model}", field="version")
        return versions[number]

    def may(self, account: str, model: str, role: str) -> bool:
        return model in self.known

    def models(self, account: str) -> Sequence[str]:
        return sorted(self.known)


class Door:
    """One connection."""

    def __init__(self) -> None:
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter
        self.decoder = Decoder()
        self.messages: list[Message] = []

    async def dial(self, address: str) -> None:
        if address.startswith("unix://"):
            self.reader, self.writer = await asyncio.open_unix_connection(address.removeprefix("unix://"))
        else:
            host, _, port = address.removeprefix("tcp://").rpartition(":")
            self.reader, self.writer = await asyncio.open_connection(host, int(port))

    def send(self, header: dict[str, Any], buffers: Sequence[bytes] = ()) -> None:
        for piece in encode(header, buffers):
            self.writer.write(piece)

    async def next(self) -> Message:
        """Raises EOFError."""
        while not self.messages:
            data = await self.reader.read(65_536)
            if not data:
                raise EOFError
            view = memoryview(data)
            while len(view):
                room = self.decoder.room()
                count = min(len(room), len(view))
                room[:count] = view[:count]
                self.messages += self.decoder.received(count)
                view = view[count:]
        return self.messages.pop(0)


class PlainDoors:
    """seams.Doors."""

    def __init__(self) -> None:
        self.source: Frames
        self.open_to: dict[int, Door] = {}
        self.whys: dict[int, list[str]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def open(self, number: int, key: VersionKey, way: Way, secret: str) -> None:
        self.close(number)
        self._tasks[number] = asyncio.create_task(self._greet(number, way.address, secret))

    async def _greet(self, number: int, address: str, secret: str) -> None:
        door = Door()
        while True:
            try:
                await door.dial(address)
                door.send({"kind": "hello", "secret": secret})
                assert (await door.next()).kind == "welcome"
                found = await door.next()
                break
            except (OSError, EOFError):
                await asyncio.sleep(0.02)
        header = found.header
        if found.kind == "unloadable":
            door.writer.close()
            self.source.unloadable(number, header["code"], header["field"], header["message"])
            return
        self.open_to[number] = door
        self.source.loaded(number, header["load_s"], header["memory_bytes"], header["golden_digest"])

    async def drain(self, number: int, grace_s: float) -> None:
        if door := self.open_to.get(number):
            door.send({"kind": "end"})
            with suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(grace_s):
                    await door.next()

    def close(self, number: int, why: str = "") -> None:
        if why:
            self.whys.setdefault(number, []).append(why)
        if task := self._tasks.pop(number, None):
            task.cancel()
        if door := self.open_to.pop(number, None):
            door.writer.close()

    async def call(self, number: int, value: int) -> int:
        """The answer of an adder. Raises EOFError: it has ended."""
        door = self.open_to[number]
        x = {"name": "x", "datatype": "INT64", "shape": [1]}
        door.send(
            {"kind": "call", "id": 1, "left_ms": 0, "inputs": [x]}, [np.array([value], np.int64).tobytes()]
        )
        try:
            found = await door.next()
        except (EOFError, OSError):
            self.source.gone(number, "its connection was lost")
            raise EOFError from None
        assert found.kind == "result", found.header
        return int(np.frombuffer(found.buffers[0], np.int64)[0])


class Room:
    """The room, which `restart` ends as kill -9 would, and starts again."""

    def __init__(self, yard: Yard, memory: str = "", *, with_calls: bool = False) -> None:
        """`with_calls`: doors are the service's own, with queues; calls go through `ask`."""
        self.yard = yard
        self.memory = memory
        self.calls: Calls | None = None
        self._with_calls = with_calls
        self.shelf = Shelf()
        self.port = 0
        self.room: FramesRoom
        self.doors: PlainDoors

    @property
    def source(self) -> Frames:
        return self.room.source

    async def start(self) -> None:
        home = self.yard.state
        self._outward = Outward(home, is_tls=False)
        self._database = await Database.open(home / "frames.db", load_migrations("services.models"))
        scheduler = self._outward.connect(self.yard.endpoint)
        self._loops, clock = Loops(), SystemClock()
        tokens = RemoteAuthenticator(scheduler)
        self._loops.start("revocations", tokens.follow())
        self._server = make_server(tokens, RULES)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self.room = FramesRoom(
            self._database, scheduler, self.shelf, clock, self._loops, state_dir=home,
            endpoint=f"127.0.0.1:{self.port}", memory=self.memory,
        )  # fmt: skip
        self.doors = PlainDoors()
        self.doors.source = self.room.source
        answers = Answers(
            self._database,
            load_queries("services.models"),
            clock.now_ms,
            yard_key(home, "models.answers.key"),
        )
        if self._with_calls:
            self.calls = Calls(self.shelf, self.room.source, clock)
        await self.room.open(self.calls or self.doors)
        self.room.register(self._server)
        explaining = Explaining(self.room.engine, self.room.source, scheduler, clock)
        servicer = DeploymentServicer(
            self.room.engine, self.room.source, self.shelf, explaining, answers, clock
        )
        add_to_server(servicer, answers, self._server)
        await self._server.start()
        token = (home / "secrets" / "admin.token").read_text().strip()
        self.channel: grpc.aio.Channel = connect(f"127.0.0.1:{self.port}", token=token)
        self.deployments = deployment_pb2_grpc.DeploymentServiceStub(self.channel)

    async def stop(self) -> None:
        """What is in memory goes; frames live on."""
        await self._loops.close()
        await self.channel.close()
        await self._server.stop(None)
        if self.calls is not None:
            await self.calls.stop()
        for number in [*self.doors.open_to]:
            self.doors.close(number)
        await self._outward.close()
        await self._database.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def add(
        self, model: str, version: int = 1, *, plus: int = 1, code: str = "", **fields: Any
    ) -> Served:
        """A class that adds; its file lies in the yard's store."""
        text = code or ADDER.format(plus=plus, words=model)
        async with self.yard.client() as client:
            found = await client.artifacts.put(text.encode(), name=f"{model}.py")
        one = Tensor(name="x", datatype=Datatype.INT64, shape=(1,))
        serving = fields.pop("serving", Serving())
        runtime = fields.pop("runtime", Runtime(memory_bytes=fields.pop("memory", 256 << 20)))
        config = Config(
            name=model, format=Format.PYTHON, file="adder.py", inputs=(one,), runtime=runtime, serving=serving,
            outputs=(Tensor(name="result", datatype=Datatype.INT64, shape=(1,)),),
        )  # fmt: skip
        return self.shelf.put(
            Served(
                key=VersionKey(model, version, fields.pop("revision", 1)),
                account="default",
                config=config,
                files=(("adder.py", found.digest, len(text)),),
                **fields,
            )
        )

    async def call(self, name: str, value: int, *, version: str = "", deadline_s: float = 30) -> int:
        """As the service does: route, frame, call."""
        route = self.source.route(name, version, "me")
        frame = await self.source.wanted(route, deadline_s)
        now = SystemClock().now_ms
        self.source.used(frame.number, 1, now())
        try:
            return await self.doors.call(frame.number, value)
        finally:
            self.source.used(frame.number, 0, now())

    async def ask(self, model: str, value: int, left_s: float = 60) -> int:
        """A call by way of queue and lane. Raises ServiceError."""
        assert self.calls is not None
        request = ip.ModelInferRequest(model_name=model)
        request.inputs.add(name="x", datatype="INT64", shape=[1])
        request.raw_input_contents.append(np.array([value], np.int64).tobytes())
        caller = Principal(ADMIN, account="default")
        _, answer = await self.calls.infer(caller, messages.decode(request.SerializeToString()), left_s)
        return int(np.frombuffer(answer.buffers[0], np.int64)[0])


@asynccontextmanager
async def frames_room(yard: Yard, memory: str = "", *, with_calls: bool = False) -> AsyncIterator[Room]:
    room = Room(yard, memory, with_calls=with_calls)
    await room.start()
    try:
        yield room
    finally:
        for name in [*room.room.engine.state.deployments]:
            await room.deployments.Undeploy(pb.UndeployRequest(name=name))
        for model in [*room.shelf.known]:
            await room.source.unload(model, "")
        frames = room.room.engine.state.frames
        await wait_until(lambda: not frames, "no frame is left", timeout_s=20, state=lambda: frames)
        await room.stop()
