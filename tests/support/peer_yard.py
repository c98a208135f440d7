"""A service beside a scheduler, with real ports, databases and tokens, in one process, and its clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import grpc.aio

from modelyard.v1 import account_pb2
from services.chassis.process.bootstrap import Service
from services.chassis.process.supervise import Loops
from services.chassis.rpc.server import add_health_and_reflection, make_server
from tests.support.scheduler_service import SchedulerYard


class PeerClient(Protocol):
    """The service as one account sees it."""

    token: str
    channel: grpc.aio.Channel


C = TypeVar("C", bound=PeerClient)
S = TypeVar("S", bound=Service)


class PeerYard(Generic[S, C]):
    """Both services; `restart` ends the peer and starts it again on the same state."""

    def __init__(
        self,
        scheduler: SchedulerYard,
        make_service: Callable[[Loops], S],
        make_client: Callable[[str, str], C],
    ) -> None:
        self.scheduler = scheduler
        self._make_service = make_service
        self._make_client = make_client
        self._clients: list[C] = []

    async def start(self) -> None:
        self._loops = Loops()
        self.service = self._make_service(self._loops)
        await self.service.open()
        self._server = make_server(self.service.authenticator(), self.service.rules)
        names = self.service.register(self._server)
        await add_health_and_reflection(self._server, names)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        self.admin = self.client(self.scheduler.admin.token)

    async def stop(self) -> None:
        for client in self._clients:
            await client.channel.close()
        self._clients.clear()
        await self._server.stop(0)
        await self._loops.close()
        await self.service.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def client(self, token: str) -> C:
        client = self._make_client(self.address, token)
        self._clients.append(client)
        return client

    async def user(self, account: str, role: account_pb2.Role.ValueType = account_pb2.ROLE_USER) -> C:
        return self.client((await self.scheduler.user(account, role)).token)
