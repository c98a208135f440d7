"""A scheduler and a trainer with real ports, databases and tokens, in one process, and clients of the second."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from modelyard.channel import connect
from modelyard.v1 import (
    framework_pb2,
    framework_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    seat_pb2_grpc,
    sweep_pb2,
    sweep_pb2_grpc,
)
from services.trainer.config import TrainerConfig
from services.trainer.service import TrainerService
from tests.support.peer_yard import PeerYard
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


class TrainerYard(PeerYard[TrainerService, TrainerClient]):
    """Both services."""

    def __init__(self, scheduler: SchedulerYard, state_dir: Path) -> None:
        config = TrainerConfig(state_dir=state_dir, scheduler=scheduler.address)
        super().__init__(scheduler, lambda loops: TrainerService(config, loops), TrainerClient)


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
