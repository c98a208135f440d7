"""Follows what the routes of deployments come to: an alias moves, a configuration is changed, a version becomes ready.

The catalogue is asked from memory, now and then, and whenever somebody deploys.
"""

from __future__ import annotations

from services.chassis.clock import Clock
from services.models.frames import events as ev
from services.models.frames.engine import FrameEngine
from services.models.frames.shapes import targets_of

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
        """Every deployment once."""
        for one in self._engine.state.deployments.values():
            targets, served = targets_of(self._engine.versions, one.routes, one.mirror, one.settings)
            if targets != one.targets:
                for version in served:
                    self._engine.note(version)
                self._engine.post(ev.TargetsFound(one.name, one.wish_revision, targets))
