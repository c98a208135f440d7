"""Scheduler, store and models service with real ports, databases and tokens, in one process, and clients of the last.

There is no agent: what one would find is handed in by `prove`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from modelyard.artifacts import put_bytes
from modelyard.channel import connect
from modelyard.models import Inspection, Provenance, facts_in
from modelyard.v1 import account_pb2, deployment_pb2_grpc, model_pb2, model_pb2_grpc
from services.models.catalogue import events as ev
from services.models.config import ModelsConfig
from services.models.service import ModelsService
from services.store.config import StoreConfig
from services.store.service import StoreService
from tests.support.catalogue_world import TRIED, whole
from tests.support.peer_yard import PeerYard
from tests.support.scheduler_service import SchedulerYard, scheduler_yard


class ModelsClient:
    """The models service as one account sees it."""

    def __init__(self, address: str, token: str) -> None:
        self.token = token
        self.channel = connect(address, token=token)
        self.models = model_pb2_grpc.ModelServiceStub(self.channel)
        self.deployments = deployment_pb2_grpc.DeploymentServiceStub(self.channel)


class StoreClient:
    """The store as one account sees it."""

    def __init__(self, address: str, token: str) -> None:
        self.token = token
        self.channel = connect(address, token=token)


class ModelsYard(PeerYard[ModelsService, ModelsClient]):
    """All three services."""

    def __init__(
        self,
        scheduler: SchedulerYard,
        store: PeerYard[StoreService, StoreClient],
        state_dir: Path,
        **options: Any,
    ) -> None:
        config = ModelsConfig(
            state_dir=state_dir, scheduler=scheduler.address, store=store.address, **options
        )
        super().__init__(scheduler, lambda loops: ModelsService(config, loops), ModelsClient)
        self.store = store

    async def user(
        self, account: str, role: account_pb2.Role.ValueType = account_pb2.ROLE_USER
    ) -> ModelsClient:
        return self.client((await self.scheduler.user(account, role)).token)

    async def file(
        self, content: bytes = b"model", path: str = "model.onnx", client: ModelsClient | None = None
    ) -> model_pb2.ComponentFile:
        """One that the store has for a caller; the administrator's account unless another is given."""
        found = self.store.client((client or self.admin).token)
        kept = await put_bytes(found.channel, content, name=path)
        return model_pb2.ComponentFile(path=path, digest=kept.digest, size_bytes=kept.size_bytes)

    async def create(
        self,
        model: str = "iris",
        content: bytes = b"model",
        client: ModelsClient | None = None,
        **fields: Any,
    ) -> model_pb2.ModelVersion:
        """A new version."""
        files = [await self.file(content, client=client)]
        request = model_pb2.CreateModelVersionRequest(model=model, files=files, **fields)
        return (await (client or self.admin).models.CreateModelVersion(request)).version

    async def prove(self, model: str = "iris", version: int = 1, found: Inspection | None = None) -> None:
        """What agents would find out of it."""
        engine = self.service._engine
        for _ in range(2):
            live = engine.state.find(model, version)
            assert live is not None
            if live.version.work is None:
                return
            number = live.version.work.number
            if live.version.state.value == "inspecting":
                engine.post(ev.Inspected(model, version, number, found or whole()))
            else:
                facts = facts_in(TRIED, Provenance.PROBED)
                engine.post(ev.Probed(model, version, number, facts=facts, golden_digest="sha256:1"))
            with engine.watch((model, version)) as changed:
                await changed.wait()
            async with engine.quiet:
                pass


@asynccontextmanager
async def models_yard(state_dir: Path, **options: Any) -> AsyncIterator[ModelsYard]:
    """All three services without an agent; ``options`` are those of the models service's configuration."""
    async with scheduler_yard(state_dir) as scheduler:
        scheduler.store.has_all = True
        store_config = StoreConfig(state_dir=state_dir, scheduler=scheduler.address, free_space_floor_bytes=0)
        store = PeerYard(scheduler, lambda loops: StoreService(store_config, loops), StoreClient)
        await store.start()
        yard = ModelsYard(scheduler, store, state_dir, **options)
        await yard.start()
        try:
            yield yard
        finally:
            await yard.stop()
            await store.stop()
