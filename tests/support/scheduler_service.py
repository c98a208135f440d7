"""The real scheduler service in this process: real gRPC on port 0, real SQLite, in a directory that goes away.

Owns its loops; `restart` closes everything and opens it anew on the same state and port, as another process would.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from modelyard.channel import connect
from modelyard.errors import YardError, from_rpc_error
from modelyard.v1 import account_pb2 as accounts
from modelyard.v1 import agent_link_pb2 as links
from modelyard.v1 import artifact_pb2, artifact_pb2_grpc
from modelyard.v1 import task_pb2 as pb
from modelyard.v1.account_pb2_grpc import AccountServiceStub
from modelyard.v1.agent_link_pb2_grpc import AgentLinkServiceStub
from modelyard.v1.contact_pb2_grpc import ContactServiceStub
from modelyard.v1.node_pb2_grpc import NodeServiceStub
from modelyard.v1.operator_pb2_grpc import OperatorServiceStub
from modelyard.v1.queue_pb2_grpc import QueueServiceStub
from modelyard.v1.task_pb2_grpc import TaskServiceStub
from services.chassis.access.admission import Access
from services.chassis.process.supervise import Loops
from services.chassis.rpc.interceptors import RpcInterceptor
from services.chassis.rpc.server import add_health_and_reflection, bind, server_with
from services.chassis.security import ensure_secret
from services.scheduler.config import SchedulerConfig
from services.scheduler.service import SchedulerService

KNOWN_DIGEST = "a" * 64
"""The one artefact that the store of these tests has."""


class Client:
    """Every stub for one token."""

    def __init__(self, address: str, token: str) -> None:
        self.token = token
        self.channel = connect(address, token=token)
        self.tasks = TaskServiceStub(self.channel)
        self.nodes = NodeServiceStub(self.channel)
        self.accounts = AccountServiceStub(self.channel)
        self.operators = OperatorServiceStub(self.channel)
        self.contacts = ContactServiceStub(self.channel)
        self.queues = QueueServiceStub(self.channel)
        self.links = AgentLinkServiceStub(self.channel)

    async def submit(self, *specs: pb.TaskSpec, **request: Any) -> list[str]:
        answer = await self.tasks.SubmitTasks(pb.SubmitTasksRequest(specs=specs or [command()], **request))
        return list(answer.task_ids)

    async def get(self, task_id: str) -> pb.Task:
        return (await self.tasks.GetTask(pb.GetTaskRequest(task_id=task_id))).task

    async def wait(self, task_id: str, seconds: int = 10) -> pb.Task:
        request = pb.WaitTaskRequest(task_id=task_id)
        request.wait_timeout.FromSeconds(seconds)
        answer = await self.tasks.WaitTask(request)
        assert answer.ended, f"{task_id} is {pb.TaskState.Name(answer.task.state)}"
        return answer.task

    async def cancel(self, *task_ids: str) -> list[pb.Task]:
        return list((await self.tasks.CancelTasks(pb.CancelTasksRequest(task_ids=task_ids))).tasks)


def command(*argv: str, **spec: Any) -> pb.TaskSpec:
    """A task that runs a command, `true` unless another is given."""
    return pb.TaskSpec(command=pb.CommandWork(argv=argv or ["true"]), **spec)


async def refusal(call: Any) -> YardError:
    """The error that a call, or the first read of a stream, is refused with."""
    try:
        await (anext(aiter(call)) if isinstance(call, grpc.aio.UnaryStreamCall) else call)
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)
    raise AssertionError("it was not refused")


class _Store(artifact_pb2_grpc.ArtifactServiceServicer):
    """The one RPC of a store that the scheduler needs."""

    def __init__(self) -> None:
        self.holders: list[str] = []
        self.has_all = False
        """Where another store keeps what tasks name."""

    async def AddReferences(
        self, request: artifact_pb2.AddReferencesRequest, context: Any
    ) -> artifact_pb2.AddReferencesResponse:
        if not self.has_all and set(request.digests) != {KNOWN_DIGEST}:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such artefact")
        self.holders.append(request.holder)
        return artifact_pb2.AddReferencesResponse()


class SchedulerYard:
    """A running scheduler, the tokens of its principals, and the channels opened to it."""

    def __init__(self, state: Path, **options: Any) -> None:
        self.state = state
        self._options = options
        self.store = _Store()  # type: ignore[abstract]
        self.port = 0
        self.service: SchedulerService
        self.loops: Loops
        self._server: grpc.aio.Server
        self._store_server: grpc.aio.Server | None = None
        self._store_port = 0
        self._clients: dict[str, Client] = {}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def engine(self) -> Any:
        return self.service._engine

    async def start(self) -> None:
        if self._store_server is None:
            self._store_server = grpc.aio.server()
            artifact_pb2_grpc.add_ArtifactServiceServicer_to_server(self.store, self._store_server)
            self._store_port = self._store_server.add_insecure_port("127.0.0.1:0")
            await self._store_server.start()
        config = SchedulerConfig(
            state_dir=self.state, port=self.port, store=f"127.0.0.1:{self._store_port}", validate=True,
            low_disk_bytes=0, **self._options,
        )  # fmt: skip
        self.loops = Loops()
        self.service = SchedulerService(config, self.loops)
        await self.service.open()
        access = Access(self.service.authenticator(), self.service.rules)
        self._server = server_with(RpcInterceptor(access))
        await add_health_and_reflection(self._server, self.service.register(self._server))
        self.port = bind(self._server, "127.0.0.1", self.port)
        await self._server.start()

    async def stop(self) -> None:
        """As on SIGTERM."""
        await self.service.drain()
        await self._server.stop(0.2)
        await self.loops.close()
        await self.service.close()
        crash = self.loops.crash
        assert crash is None, f"a loop crashed: {crash!r}"

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def close(self) -> None:
        for client in self._clients.values():
            await client.channel.close()
        await self.stop()
        if self._store_server is not None:
            await self._store_server.stop(0)

    def client(self, token: str) -> Client:
        """For any token; its channel is closed with the yard."""
        if token not in self._clients:
            self._clients[token] = Client(self.address, token)
        return self._clients[token]

    @property
    def admin(self) -> Client:
        return self.client(ensure_secret(self.state / "secrets" / "admin.token", "admin"))

    @property
    def service_client(self) -> Client:
        return self.client(ensure_secret(self.state / "secrets" / "service.token", "service"))

    async def user(self, account: str, role: accounts.Role.ValueType = accounts.ROLE_USER) -> Client:
        """A caller of an account, which is made if need be."""
        listed = await self.admin.accounts.ListAccounts(accounts.ListAccountsRequest(page_size=1000))
        if account not in {found.name for found in listed.accounts}:
            await self.admin.accounts.CreateAccount(accounts.CreateAccountRequest(name=account))
        request = accounts.CreateTokenRequest(account=account, role=role)
        return self.client((await self.admin.accounts.CreateToken(request)).secret)

    async def agent_client(self, node: str) -> Client:
        """A caller with the credentials of a node."""
        join = ensure_secret(self.state / "secrets" / "join.token", "join")
        request = links.JoinRequest(join_token=join, node=node)
        return self.client((await self.client("").links.Join(request)).credentials.token)


@asynccontextmanager
async def scheduler_yard(state: Path, **options: Any) -> AsyncIterator[SchedulerYard]:
    """A serving scheduler; ``options`` are those of its configuration."""
    yard = SchedulerYard(state, **options)
    await yard.start()
    try:
        yield yard
    finally:
        await yard.close()


def names(items: Sequence[Any]) -> list[str]:
    """Ids or names of what a list answered."""
    return [getattr(item, "id", "") or item.name for item in items]
