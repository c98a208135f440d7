"""Follows what the routes of deployments come to: an alias moves, a configuration is changed, a version becomes ready;
and what is loaded, whether it is still there.

The catalogue is asked from memory, now and then, and whenever somebody deploys.
"""

from __future__ import annotations

from services.chassis.clock import Clock
from services.chassis.errors import NotFound, ServiceError
from services.models.frames import events as ev
from services.models.frames.engine import FrameEngine
from services.models.frames.shapes import targets_of
from services.models.seams import VersionKey

ROUND_S = 0.25


class Resolving:
    """`run` is a loop that the service starts."""

    def __init__(self, engine: FrameEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def run(self) -> None:
        """For ever."""
        while True:
            self.look()
            await self._clock.sleep(ROUND_S)

    def look(self) -> None:
        """Every deployment once, then every version that is loaded, or waited for."""
        for one in self._engine.state.deployments.values():
            targets, served = targets_of(self._engine.versions, one.routes, one.mirror, one.settings)
            if targets != one.targets:
                for version in served:
                    self._engine.known.note(version)
                self._engine.post(ev.TargetsFound(one.name, one.wish_revision, targets))
        state = self._engine.state
        keys = {one.key for one in state.frames.values() if one.state.serves}
        for key in sorted(keys | {key for key, _ in state.demands}):
            if self._is_deleted(key):
                self._engine.known.forget(key)
                self._engine.post(ev.VersionGone(key, "the version was deleted"))

    def _is_deleted(self, key: VersionKey) -> bool:
        try:
            self._engine.versions.served(key.model, str(key.version))
        except NotFound:
            return True
        except ServiceError:
            # It is there, and serves nothing at the moment.
            return False
        return False
