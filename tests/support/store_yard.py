"""A store for tests: real gRPC on port 0, real SQLite, real files; the clock and the tokens are given."""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from modelyard.channel import connect
from modelyard.v1 import account_pb2, account_pb2_grpc
from modelyard.v1 import artifact_pb2 as pb
from modelyard.v1.artifact_pb2_grpc import ArtifactServiceStub, add_ArtifactServiceServicer_to_server
from services.chassis.rpc.server import bind, make_server
from services.chassis.security import Authenticator, Principal, TokenInvalid
from services.store.blobs.blobs import Blobs, Storage
from services.store.blobs.directory import Directory
from services.store.collector import Collector
from services.store.engine import Engine
from services.store.model import Limits
from services.store.rules import RULES
from services.store.servicer.artifacts import ArtifactServicer
from services.store.servicer.fence import Fence
from services.store.servicer.local import LocalFiles
from services.store.store import Store
from tests.support.fake_clock import FakeClock

ROOT = Path(__file__).parents[2]
GRACE_S = 3600.0

PRINCIPALS = {
    "ada": Principal("user", "ada"),
    "bob": Principal("user", "bob"),
    "viewer": Principal("viewer", "ada"),
    "admin": Principal("admin", "admin"),
    "agent": Principal("agent", node="n1"),
    "service": Principal("service"),
    "task": Principal("task", "ada", task_id="t-1"),
}
"""Token -> who it stands for."""


class Desk:
    """An Authenticator over PRINCIPALS."""

    async def authenticate(self, secret: str) -> Principal:
        if secret not in PRINCIPALS:
            raise TokenInvalid
        return PRINCIPALS[secret]


@dataclass
class StoreYard:
    """A running store and what is inside of it."""

    address: str
    root: Path
    store: Store
    blobs: Blobs
    engine: Engine
    collector: Collector
    clock: FakeClock

    def files(self) -> list[str]:
        """Every file below the blobs' directory, temporary ones, too."""
        return sorted(str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file())

    def blob_path(self, digest: str) -> Path:
        return self.root / digest[:2] / digest


@asynccontextmanager
async def store_yard(
    folder: Path,
    *,
    limits: Limits | None = None,
    storage: Storage | None = None,
    authenticator: Authenticator | None = None,
) -> AsyncIterator[StoreYard]:
    """A store on `folder`, without its background loop: tests call the collector."""
    limits = limits or Limits(collect_grace_s=GRACE_S)
    clock, root = FakeClock(), folder / "blobs"
    blobs = Blobs(storage or Directory(root))
    await blobs.open()
    store = await Store.open(folder / "store.db")
    engine = Engine(store, blobs, limits, clock)
    desk = authenticator or Desk()
    server = make_server(desk, RULES)
    add_ArtifactServiceServicer_to_server(
        ArtifactServicer(engine, Fence(desk), LocalFiles(root.parent)), server
    )
    port = bind(server, "127.0.0.1", 0)
    await server.start()
    collector = Collector(engine, store, blobs, limits.collect_grace_s, clock)
    try:
        yield StoreYard(f"127.0.0.1:{port}", root, store, blobs, engine, collector, clock)
    finally:
        await server.stop(1)
        await engine.close()
        await store.close()
        blobs.close()


class Client:
    """The raw RPCs for one token."""

    def __init__(self, address: str, token: str) -> None:
        self.channel = connect(address, token=token)
        self.stub = ArtifactServiceStub(self.channel)

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()

    async def put(self, data: bytes, chunk_bytes: int = 1 << 20, **header: object) -> pb.Artifact:
        """Uploads; says digest and size unless the header given says something else."""
        said: dict[str, object] = {"digest": sha256(data), "size_bytes": len(data), **header}
        chunks = (data[i : i + chunk_bytes] for i in range(0, len(data), chunk_bytes))
        return await self.put_parts(pb.PutArtifactHeader(**said), chunks)  # type: ignore[arg-type]

    async def put_parts(self, header: pb.PutArtifactHeader, chunks: Iterable[bytes]) -> pb.Artifact:
        async def requests() -> AsyncIterator[pb.PutArtifactRequest]:
            yield pb.PutArtifactRequest(header=header)
            for chunk in chunks:
                yield pb.PutArtifactRequest(chunk=chunk)

        return (await self.stub.PutArtifact(requests())).artifact

    async def get(self, digest: str, offset: int = 0, account: str = "") -> bytes:
        request = pb.GetArtifactRequest(digest=digest, offset=offset, account=account)
        return b"".join([answer.chunk async for answer in self.stub.GetArtifact(request)])

    async def stat(self, digest: str, account: str = "") -> pb.Artifact:
        return (await self.stub.StatArtifact(pb.StatArtifactRequest(digest=digest, account=account))).artifact

    async def refer(self, holder: str, *digests: str, account: str = "") -> None:
        await self.stub.AddReferences(
            pb.AddReferencesRequest(account=account, holder=holder, digests=digests)
        )

    async def release(self, holder: str) -> None:
        await self.stub.RemoveReferences(pb.RemoveReferencesRequest(holder=holder))

    async def delete(self, digest: str, request_id: str = "", account: str = "") -> None:
        request = pb.DeleteArtifactRequest(digest=digest, request_id=request_id, account=account)
        await self.stub.DeleteArtifact(request)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class _Accounts(account_pb2_grpc.AccountServiceServicer):
    async def ResolveToken(
        self, request: account_pb2.ResolveTokenRequest, context: object
    ) -> account_pb2.ResolveTokenResponse:
        found = PRINCIPALS.get(request.secret)
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown token")  # type: ignore[attr-defined]
        role = account_pb2.Role.Value(f"ROLE_{found.role.upper()}")
        identity = account_pb2.Identity(
            role=role, account=found.account, node=found.node, task_id=found.task_id
        )
        return account_pb2.ResolveTokenResponse(identity=identity)


@asynccontextmanager
async def account_desk() -> AsyncIterator[str]:
    """The one RPC of a scheduler that a store process needs; gives its address."""
    server = grpc.aio.server()
    account_pb2_grpc.add_AccountServiceServicer_to_server(_Accounts(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


class StoreProcess:
    """A real `yard-store`."""

    def __init__(self, process: subprocess.Popen[bytes], state: Path, log: Path) -> None:
        self.process = process
        self.state = state
        self.log = log
        self.address = ""

    @property
    def blobs(self) -> Path:
        return self.state / "store" / "blobs"

    async def ready(self) -> None:
        """Waits for the ready file of this very process."""
        file = self.state / "run" / "store.json"
        for _ in range(400):
            if self.process.poll() is not None:
                break
            with suppress(FileNotFoundError):
                ready = json.loads(file.read_text())
                if ready["pid"] == self.process.pid:
                    self.address = ready["address"]
                    return
            await asyncio.sleep(0.05)
        raise AssertionError(f"the store is not ready, rc {self.process.poll()}:\n{self.log.read_text()}")

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Signals it and waits for its end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, 20)


@asynccontextmanager
async def store_process(
    state: Path, scheduler: str, *options: str, wrapper: tuple[str, ...] = (), wait: bool = True
) -> AsyncIterator[StoreProcess]:
    """Starts a store on port 0; `wrapper` is put before its command line."""
    running = _start(state, scheduler, options, wrapper)
    try:
        if wait:
            await running.ready()
        yield running
    finally:
        await running.stop(signal.SIGKILL)


def _start(state: Path, scheduler: str, options: tuple[str, ...], wrapper: tuple[str, ...]) -> StoreProcess:
    state.mkdir(parents=True, exist_ok=True)
    log = state / "store.log"
    command = [*wrapper, sys.executable, "-m", "services.store", "--state", str(state), "--port", "0"]
    command += ["--scheduler", scheduler, "--free-space-floor-bytes", "0", *options]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("YARD_")}
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT, env=environment)
    return StoreProcess(process, state, log)
