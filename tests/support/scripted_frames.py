"""Frames without a process, which answer as a test tells them; versions and a source of frames in memory."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc.aio

from modelyard.models.values import Config, Datatype, Format, Runtime, Serving, Tensor
from modelyard.serving.wire import Decoder, Message, encode
from modelyard.v1 import contact_pb2
from services.chassis.clock import SystemClock
from services.chassis.errors import DeadlineExceeded, NotFound, ServiceError
from services.chassis.rpc.server import Limits, bind, make_server
from services.chassis.security import ADMIN, TASK, USER, VIEWER, Principal, TokenInvalid
from services.models.calls.calls import Calls
from services.models.calls.notice import Drawn
from services.models.calls.telling import Telling
from services.models.catalogue.model import ModelNotFound, ModelVersionNotFound, VersionNotReady
from services.models.rules import RULES
from services.models.seams import ReadyFrame, Route, Served, VersionKey, Way
from services.models.servicer.inference import InferenceServicer, add_to_server
from tests.support.wait import wait_until

SECRET = "secret-of-frames"
DATATYPES = tuple(datatype.value for datatype in Datatype)


class ScriptedFrame:
    """A server on a Unix socket. `conduct` says what it does with a call; at first it gives inputs back as outputs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls: list[dict[str, Any]] = []
        """Heads, in the order in which they came."""
        self.batches: list[list[int]] = []
        self.cancelled: list[int] = []
        self.is_told_to_end = False
        self.said: dict[str, Any] = {
            "kind": "loaded",
            "load_s": 0.1,
            "memory_bytes": 1000,
            "golden_digest": "",
        }
        self.conduct: Callable[[dict[str, Any], list[memoryview]], Awaitable[None]] = self.echo
        self._listener: socket.socket | None = None
        self._opened: list[socket.socket] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._serving: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"unix://{self.path}"

    async def start(self) -> None:
        # Not asyncio's server: one that is closed while somebody connects leaves that connection open.
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(str(self.path))
        self._listener.listen(16)
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            opened, _ = listener.accept()
            self._opened.append(opened)
            task = asyncio.create_task(self._attend(opened))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _attend(self, opened: socket.socket) -> None:
        try:
            opened.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=opened)
            self._writers.append(writer)
            with contextlib.suppress(ConnectionError):
                await self._read(reader)
            writer.transport.abort()
        finally:
            opened.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        decoder = Decoder()
        while data := await reader.read(1 << 16):
            while data:
                room = decoder.room()
                room[: len(data)] = data[: len(room)]
                messages = decoder.received(min(len(room), len(data)))
                data = data[len(room) :]
                for message in messages:
                    self._take(message)

    def _take(self, message: Message) -> None:
        kind = message.kind
        if kind == "hello":
            assert message.header["secret"] == SECRET
            self.send({"kind": "welcome", "pid": 1, "python": "3.11"})
            self.send(self.said)
        elif kind in ("call", "batch"):
            heads = message.header["calls"] if kind == "batch" else [message.header]
            self.batches.append([head["id"] for head in heads])
            buffers = deque(message.buffers)
            for head in heads:
                self.calls.append(head)
                own = [buffers.popleft() for _ in head["inputs"]]
                task = asyncio.create_task(self._conduct(head, own))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        elif kind == "cancel":
            self.cancelled.append(message.header["id"])
        elif kind == "end":
            self.is_told_to_end = True

    async def _conduct(self, head: dict[str, Any], buffers: list[memoryview]) -> None:
        await self.conduct(head, buffers)

    def send(self, header: dict[str, Any], buffers: Sequence[Any] = ()) -> None:
        self._writers[-1].writelines(encode(header, buffers))

    async def echo(self, head: dict[str, Any], buffers: list[memoryview]) -> None:
        self.answer(head, buffers)

    async def silence(self, head: dict[str, Any], buffers: list[memoryview]) -> None:
        """It never answers."""

    def answer(self, head: dict[str, Any], buffers: Sequence[Any], kind: str = "result", **more: Any) -> None:
        outputs = [
            {"name": one["name"].replace("in", "out", 1), "datatype": one["datatype"], "shape": one["shape"]}
            for one in head["inputs"]
        ]
        times = {"wait": 1, "input": 10, "compute": 100, "output": 10}
        header = {"kind": kind, "id": head["id"], "outputs": outputs, "times_ns": times, **more}
        self.send(header, buffers if header["outputs"] else ())

    def fail(self, head: dict[str, Any], code: str, field: str = "", message: str = "no") -> None:
        self.send({"kind": "failure", "id": head["id"], "code": code, "field": field, "message": message})

    def cut(self) -> None:
        """The connection is lost; it listens on, and has forgotten its calls."""
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()

    async def die(self) -> None:
        """As a process does: the socket is closed, and nobody listens any more."""
        if self._listener is None:
            return
        tasks = [*self._serving, *self._tasks]
        for task in tasks:
            task.cancel()
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        self._listener = None
        self.path.unlink(missing_ok=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        for opened in self._opened:
            opened.close()


class MemoryVersions:
    """`models` by name, then by version's number; who may what, by account and model."""

    def __init__(self) -> None:
        self.served_by: dict[tuple[str, str], Served] = {}
        self.not_ready: set[str] = set()
        self.roles: dict[tuple[str, str], str] = {}

    def add(self, config: Config, version: int = 1, account: str = "alice") -> Served:
        key = VersionKey(config.name, version, 1)
        made = Served(key=key, account=account, config=config, files=())
        self.served_by[config.name, str(version)] = made
        self.served_by.setdefault((config.name, ""), made)
        return made

    def served(self, model: str, version: str = "") -> Served:
        if model in self.not_ready:
            raise VersionNotReady(f"{model} is not ready")
        found = self.served_by.get((model, version))
        if found is None:
            known = any(name == model for name, _ in self.served_by)
            raise (ModelVersionNotFound if known else ModelNotFound)(
                f"no {model} {version}", field="model_name"
            )
        return found

    def may(self, account: str, model: str, role: str) -> bool:
        order = ("", "viewer", "caller", "manager")
        owners = {served.account for (name, _), served in self.served_by.items() if name == model}
        has = "manager" if account in owners else self.roles.get((account, model), "")
        return order.index(has) >= order.index(role)

    def models(self, account: str) -> Sequence[str]:
        return sorted({name for name, _ in self.served_by if self.may(account, name, "caller")})


class MemoryFrames:
    """`start` says how a frame comes to be when one is wanted; at first none ever does."""

    def __init__(self, versions: MemoryVersions) -> None:
        self._versions = versions
        self.start: Callable[[Route], Awaitable[ReadyFrame]] | None = None
        self.frames: dict[int, ReadyFrame] = {}
        self.wanted_count = 0
        self.told: list[tuple[Any, ...]] = []
        self.active: dict[int, int] = {}
        self.mirrors: dict[str, Served] = {}
        self.settings: dict[str, Any] = {}
        self.sticky: dict[str, str] = {}
        self.sticky_seen: list[str] = []

    def route(self, name: str, version: str, sticky: str) -> Route:
        self.sticky_seen.append(sticky)
        served = self._versions.served(name, version)
        serving = served.config.serving
        settings = {
            "queue_most": serving.queue_most, "max_batch": serving.max_batch, "deadline_s": serving.deadline_s,
            "batch_delay_ms": serving.batch_delay_ms, **self.settings,
        }  # fmt: skip
        return Route(served=served, mirror=self.mirrors.get(name), **settings)

    def sticky_parameter(self, name: str) -> str:
        return self.sticky.get(name, "")

    def ready(self, key: VersionKey) -> Sequence[ReadyFrame]:
        return [frame for frame in self.frames.values() if frame.key == key]

    async def wanted(self, route: Route, deadline_s: float) -> ReadyFrame:
        self.wanted_count += 1
        if self.start is not None:
            return await self.start(route)
        for frame in self.ready(route.served.key):
            return frame
        await asyncio.sleep(deadline_s)
        raise DeadlineExceeded("no frame")

    async def unload(self, model: str, version: str) -> None:
        self.told.append(("unload", model, version))

    def used(self, number: int, active: int, now_ms: int) -> None:
        self.active[number] = active

    def loaded(self, number: int, load_s: float, memory_bytes: int, golden_digest: str) -> None:
        self.told.append(("loaded", number))

    def unloadable(self, number: int, code: str, field: str, message: str) -> None:
        self.told.append(("unloadable", number, code, field, message))

    def gone(self, number: int, why: str) -> None:
        self.told.append(("gone", number, why))
        self.frames.pop(number, None)


TOKENS = {
    "yard_user_" + "a" * 43: Principal(USER, account="alice"),
    "yard_user_" + "b" * 43: Principal(USER, account="bob"),
    "yard_viewer_" + "v" * 43: Principal(VIEWER, account="alice"),
    "yard_admin_" + "r" * 43: Principal(ADMIN, account="root"),
    "yard_task_" + "t" * 43: Principal(TASK, account="alice", task_id="t-1"),
}
ALICE, BOB, ALICE_VIEWER, ROOT, ALICE_TASK = TOKENS


class _Tokens:
    async def authenticate(self, secret: str) -> Principal:
        if secret not in TOKENS:
            raise TokenInvalid
        return TOKENS[secret]


class MemoryPeople:
    """Contacts, and what they are told; `trouble` is raised in its place."""

    def __init__(self) -> None:
        self.known: set[tuple[str, str]] = set()
        self.told: list[tuple[str, contact_pb2.NotifyRequest, Sequence[Drawn]]] = []
        self.trouble: ServiceError | None = None

    async def check(self, account: str, contact: str) -> None:
        if (account, contact) not in self.known:
            raise NotFound(f"there is no contact {contact!r}", field="contact")

    async def tell(self, account: str, request: contact_pb2.NotifyRequest, files: Sequence[Drawn]) -> str:
        if self.trouble is not None:
            raise self.trouble
        self.told.append((account, request, files))
        return ""


class CallsWorld:
    """Calls with everything around them in memory, and a real gRPC server in front when asked for."""

    def __init__(self, directory: Path) -> None:
        self.versions = MemoryVersions()
        self.source = MemoryFrames(self.versions)
        self.calls = Calls(self.versions, self.source, SystemClock())
        self.people = MemoryPeople()
        self.frames: dict[int, ScriptedFrame] = {}
        self._directory = directory
        self._server: grpc.aio.Server | None = None
        self.address = ""

    async def frame(self, served: Served, node: str = "n0", *, is_silent: bool = False) -> ScriptedFrame:
        """One more, to which a door is open."""
        number = len(self.frames) + 1
        frame = ScriptedFrame(self._directory / f"{number}.sock")
        self.frames[number] = frame
        await frame.start()
        if is_silent:
            frame.conduct = frame.silence
        self.source.frames[number] = ReadyFrame(number=number, key=served.key, node=node)
        self.calls.open(number, served.key, Way(frame.address), SECRET)
        await self.until(lambda: ("loaded", number) in self.source.told)
        return frame

    async def until(self, holds: Callable[[], bool]) -> None:
        await wait_until(holds, "it", state=lambda: (self.source.told, self.frames.keys()))

    async def serve(self) -> str:
        """host:port of the protocol's front."""
        self._server = make_server(_Tokens(), RULES, limits=Limits(message_bytes_most=64 << 20))
        add_to_server(
            InferenceServicer(self.calls, Telling(self.calls, self.people, SystemClock())), self._server
        )
        self.address = f"127.0.0.1:{bind(self._server, '127.0.0.1', 0)}"
        await self._server.start()
        return self.address

    async def close(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
        await self.calls.stop()
        for frame in self.frames.values():
            await frame.die()


@contextlib.asynccontextmanager
async def calls_world(directory: Path) -> AsyncIterator[CallsWorld]:
    world = CallsWorld(directory)
    try:
        yield world
    finally:
        await world.close()


def echo_config(name: str = "echo", datatypes: Sequence[str] = ("FP32",), **serving: Any) -> Config:
    """`in_fp32` [-1, -1] and so on are given back as `out_fp32`."""

    def tensors(prefix: str) -> tuple[Tensor, ...]:
        return tuple(
            Tensor(name=f"{prefix}_{datatype.lower()}", datatype=Datatype(datatype), shape=(-1, -1))
            for datatype in datatypes
        )

    return Config(
        name=name, format=Format.PYTHON, file="model.py", inputs=tensors("in"), outputs=tensors("out"),
        runtime=Runtime(), serving=Serving(**serving),
    )  # fmt: skip
