"""This room put together: what the service opens, starts, and registers."""

from __future__ import annotations

from pathlib import Path

import grpc.aio

from modelyard.quantities import parse_size
from modelyard.v1 import seat_pb2, seat_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.peers.outward import yard_key
from services.chassis.process.supervise import Loops
from services.chassis.storage.sqlite import Database, load_queries
from services.models.frames.clearing import Clearing
from services.models.frames.engine import FrameEngine
from services.models.frames.examples import Examples
from services.models.frames.making_room import MakingRoom
from services.models.frames.model import FrameState
from services.models.frames.resolving import Resolving
from services.models.frames.seats import links_of
from services.models.frames.source import Frames
from services.models.frames.store import FrameStore
from services.models.seams import Doors, Versions
from services.models.surroundings.association import DEFAULT_RUNTIMES, RuntimeMap

PACKAGE = "services.models.frames"


class FramesRoom:
    """`open` before the port is bound; `source` is there at once, for who makes the doors."""

    def __init__(
        self,
        database: Database,
        scheduler: grpc.aio.Channel,
        versions: Versions,
        clock: Clock,
        loops: Loops,
        *,
        state_dir: Path,
        endpoint: str,
        memory: str = "",
        store: grpc.aio.Channel | None = None,
        runtimes: RuntimeMap = DEFAULT_RUNTIMES,
    ) -> None:
        """`endpoint`: where agents find the service; `memory`: what frames may hold together, empty: no limit."""
        self.engine = FrameEngine(
            FrameStore(database, load_queries(PACKAGE)), scheduler, versions, clock, loops, endpoint=endpoint,
            key=yard_key(state_dir, "models.frames.key"), budget_bytes=parse_size(memory) if memory else 0,
            runtimes=runtimes,
        )  # fmt: skip
        if store is not None:
            self.engine.carrying.examples = Examples(store).of
        self.source = Frames(self.engine, clock)
        self._links = links_of(self.engine)
        self._scheduler = scheduler
        self._clock = clock
        self._loops = loops

    async def open(self, doors: Doors) -> None:
        """Takes up what is on disk, and goes on with it."""
        self.engine.carrying.doors = doors
        await self.engine.open()
        self._loops.start("frames", self.engine.run())
        self._loops.start("frames-resolving", Resolving(self.engine, self._clock).run())
        self._loops.start("frames-room", MakingRoom(self.engine, self._scheduler, self._clock).run())
        self._loops.start("frames-clearing", Clearing(self.engine.store, self._clock).run())

    def register(self, server: grpc.aio.Server) -> str:
        """Adds SeatService, for the nodes' agents."""
        seat_pb2_grpc.add_SeatServiceServicer_to_server(self._links, server)
        return seat_pb2.DESCRIPTOR.services_by_name["SeatService"].full_name

    def loaded_on(self, model: str, version: int) -> list[str]:
        """On which nodes a version takes calls."""
        frames = self.engine.state.frames.values()
        return sorted(
            {
                one.at_node
                for one in frames
                if (one.key.model, one.key.version) == (model, version) and one.state is FrameState.READY
            }
        )

    def named_by(self, model: str, version: int) -> list[str]:
        """Which deployments come to a version now, or stand by with it."""
        found = []
        for name, one in self.engine.state.deployments.items():
            keys = [target.key for target in one.targets] + list(one.standby.values())
            if any(key is not None and (key.model, key.version) == (model, version) for key in keys):
                found.append(name)
        return sorted(found)
