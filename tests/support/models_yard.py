"""A scheduler, and a models service beside it, with real ports, databases and tokens, in one process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from modelyard.channel import connect
from modelyard.v1 import model_pb2_grpc
from services.models.config import ModelsConfig
from services.models.service import ModelsService
from tests.support.peer_yard import PeerYard
from tests.support.scheduler_service import SchedulerYard, scheduler_yard


class ModelsClient:
    """The models service as one account sees it."""

    def __init__(self, address: str, token: str) -> None:
        self.token = token
        self.channel = connect(address, token=token)
        self.models = model_pb2_grpc.ModelServiceStub(self.channel)


class ModelsYard(PeerYard[ModelsService, ModelsClient]):
    """Both services."""

    def __init__(self, scheduler: SchedulerYard, state_dir: Path) -> None:
        config = ModelsConfig(state_dir=state_dir, scheduler=scheduler.address)
        super().__init__(scheduler, lambda loops: ModelsService(config, loops), ModelsClient)


@asynccontextmanager
async def models_yard(state_dir: Path) -> AsyncIterator[ModelsYard]:
    """Both services without an agent."""
    async with scheduler_yard(state_dir) as scheduler:
        yard = ModelsYard(scheduler, state_dir)
        await yard.start()
        try:
            yield yard
        finally:
            await yard.stop()
