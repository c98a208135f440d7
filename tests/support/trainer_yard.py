"""A scheduler and a trainer with real ports, databases and tokens, in one process, and clients of the second."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from modelyard.channel import connect
from modelyard.v1 import (
    account_pb2,
    framework_pb2,
    framework_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    seat_pb2_grpc,
    sweep_pb2,
    sweep_pb2_grpc,
)
from services.chassis.server import add_health_and_reflection, make_server
from services.chassis.supervise import Loops
from services.trainer.config import TrainerConfig
from services.trainer.service import TrainerService
from tests.support.scheduler_service import SchedulerYard, scheduler_yard

JOB = """kind: Job
framework: plain
name: one
roles:
  worker: {count: 2, argv: [sleep, "60"]}
"""
OTHER = JOB.replace("one", "other")
SWEEP = """kind: Sweep
name: some
space: {seconds: [50, 60, 70]}
search: grid
parallel: 2
job:
  framework: plain
  argv: [sleep, "${sweep.seconds}"]
"""
FRAMEWORK = """kind: Framework
id: own
roles:
  worker: {count: {default: 1}, functions: {create: {argv: [work]}}}
"""


class TrainerClient:
    """The trainer as one account sees it."""

    def __init__(self, address: str, token: str) -> None:
        self.token = token
        self.channel = connect(address, token=token)
        self.frameworks = framework_pb2_grpc.FrameworkServiceStub(self.channel)
        self.jobs = job_pb2_grpc.JobServiceStub(self.channel)
        self.sweeps = sweep_pb2_grpc.SweepServiceStub(self.channel)
        self.seats = seat_pb2_grpc.SeatServiceStub(self.channel)

    async def create(self, text: str = JOB) -> str:
        """A new job's id."""
        request = job_pb2.CreateJobRequest(job=framework_pb2.JobDocument(text=text))
        return str((await self.jobs.CreateJob(request)).job.id)

    async def begin(self, text: str = SWEEP) -> str:
        """A new sweep's id."""
        request = sweep_pb2.CreateSweepRequest(text=text)
        return str((await self.sweeps.CreateSweep(request)).sweep.id)


class TrainerYard:
    """Both services; `restart` ends the trainer and starts it again on the same state."""

    def __init__(self, scheduler: SchedulerYard, state_dir: Path) -> None:
        self.scheduler = scheduler
        self._state_dir = state_dir
        self._clients: list[TrainerClient] = []

    async def start(self) -> None:
        self._loops = Loops()
        config = TrainerConfig(state_dir=self._state_dir, scheduler=self.scheduler.address)
        self.service = TrainerService(config, self._loops)
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

    def client(self, token: str) -> TrainerClient:
        client = TrainerClient(self.address, token)
        self._clients.append(client)
        return client

    async def user(
        self, account: str, role: account_pb2.Role.ValueType = account_pb2.ROLE_USER
    ) -> TrainerClient:
        return self.client((await self.scheduler.user(account, role)).token)


@asynccontextmanager
async def trainer_yard(state_dir: Path) -> AsyncIterator[TrainerYard]:
    """Both services without an agent: jobs wait for their places."""
    async with scheduler_yard(state_dir) as scheduler:
        yard = TrainerYard(scheduler, state_dir)
        await yard.start()
        try:
            yield yard
        finally:
            await yard.stop()
