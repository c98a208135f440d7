"""The store as the chassis runs it: what is opened in which order, and closed again."""

from collections.abc import Sequence

import grpc.aio

from modelyard.v1.artifact_pb2 import DESCRIPTOR
from modelyard.v1.artifact_pb2_grpc import add_ArtifactServiceServicer_to_server
from services.chassis.access.remote import RemoteAuthenticator
from services.chassis.clock import SystemClock
from services.chassis.errors import InvariantViolation, ServiceError, StartRefused
from services.chassis.metrics.figures import Family, gauge
from services.chassis.peers.outward import Outward
from services.chassis.process.supervise import Loops
from services.chassis.rpc.lineage import add_lineage
from services.chassis.security import Authenticator
from services.store.blobs.blobs import Blobs, storage_of
from services.store.collector import Collector
from services.store.config import StoreConfig
from services.store.engine import Engine
from services.store.lineage import ArtifactLineage
from services.store.rules import RULES
from services.store.servicer.artifacts import ArtifactServicer
from services.store.servicer.fence import Fence
from services.store.servicer.local import LocalFiles
from services.store.store import Store


class StoreService:
    """One store on one state directory."""

    name = "store"
    rules = RULES

    def __init__(self, config: StoreConfig, loops: Loops) -> None:
        self._config = config
        self._loops = loops
        self._blobs = Blobs(storage_of(config.blobs_url, config.home))
        self._store: Store | None = None
        self._engine: Engine | None = None
        self._scheduler: grpc.aio.Channel | None = None
        self._tokens: RemoteAuthenticator | None = None
        self._outward: Outward | None = None

    async def open(self) -> None:
        """Sweeps interrupted uploads, opens the tables, starts the collector. Raises StartRefused leaves."""
        config, clock = self._config, SystemClock()
        self._outward = Outward(config.state_dir, is_tls=config.tls)
        try:
            await self._blobs.open()
        except (ServiceError, OSError) as error:
            raise StartRefused(f"the blobs cannot be kept at {self._where()}: {error}") from error
        self._store = await Store.open(config.home / "store.db")
        self._engine = Engine(self._store, self._blobs, config.limits, clock)
        self._scheduler = self._outward.connect(config.scheduler)
        news = self._outward.connect(config.scheduler, is_apart=True)
        self._tokens = RemoteAuthenticator(self._scheduler, news=news)
        self._loops.start("revocations", self._tokens.follow())
        collector = Collector(self._engine, self._store, self._blobs, config.collect_grace_s, clock)
        self._loops.start("collector", collector.run())

    async def figures(self) -> list[Family]:
        """For whoever scrapes."""
        if self._store is None or self._engine is None:
            return []
        totals, used = await self._store.totals(), await self._store.used_by_account()
        free = await self._blobs.free_bytes()
        return [
            gauge("yard_store_blobs", "Blobs that are kept.", totals.blobs),
            gauge("yard_store_bytes", "Bytes of them.", totals.size_bytes),
            gauge(
                "yard_store_quota_bytes", "What one account may keep; 0: no limit.", self._config.quota_bytes
            ),
            gauge("yard_store_transfers", "Uploads and downloads under way.", self._engine.transfers),
            Family("gauge", "yard_store_account_bytes", "Bytes by account.", ("account",), used),
            *([gauge("yard_store_free_bytes", "Room that is left.", free)] if free is not None else []),
        ]

    def authenticator(self) -> Authenticator:
        """Tokens are the scheduler's: see RemoteAuthenticator."""
        if self._tokens is None:
            raise InvariantViolation("the store is not open")
        return self._tokens

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        """Adds ArtifactService and LineageService."""
        if self._engine is None or self._store is None:
            raise InvariantViolation("the store is not open")
        add_ArtifactServiceServicer_to_server(
            ArtifactServicer(self._engine, Fence(self.authenticator()), LocalFiles(self._config.state_dir)),
            server,
        )
        lineage = add_lineage(server, ArtifactLineage(self._store).sources())
        return [DESCRIPTOR.services_by_name["ArtifactService"].full_name, lineage]

    async def drain(self) -> None:
        """Nothing to do: an upload that the stop cuts short leaves nothing and is sent again."""

    async def close(self) -> None:
        """Finishes what is being published, then closes everything that is open."""
        if self._engine is not None:
            await self._engine.close()
        if self._outward is not None:
            await self._outward.close()
        if self._store is not None:
            await self._store.close()
        self._blobs.close()

    def _where(self) -> str:
        return self._config.blobs_url or str(self._config.home / "blobs")
