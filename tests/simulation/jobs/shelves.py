"""Checkpoints in the directories of seats: written while processes live, told, stored, handed on, put aside when torn.

What services/agent's checkpoint files do for a trainer (docs: services/trainer/README.md, "Checkpoints"), as messages.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING

from modelyard.v1 import artifact_pb2
from modelyard.v1 import seat_pb2 as pb

if TYPE_CHECKING:
    from tests.simulation.jobs.machines import Machine, Seat

MARGIN_S = 0.05


class Store:
    """Files by their digests, and who holds them."""

    def __init__(self) -> None:
        self.blobs: set[str] = set()
        self.held: dict[str, tuple[str, ...]] = {}

    def answer(
        self, request: artifact_pb2.AddReferencesRequest | artifact_pb2.RemoveReferencesRequest
    ) -> artifact_pb2.AddReferencesResponse | artifact_pb2.RemoveReferencesResponse:
        """Asked twice, nothing changes."""
        if isinstance(request, artifact_pb2.RemoveReferencesRequest):
            self.held.pop(request.holder, None)
            return artifact_pb2.RemoveReferencesResponse()
        missing = [digest for digest in request.digests if digest not in self.blobs]
        assert not missing, f"{request.holder} wants to hold {missing}, which nobody has stored"
        self.held[request.holder] = tuple(request.digests)
        return artifact_pb2.AddReferencesResponse()


class Written:
    """One that is complete."""

    def __init__(self, name: str, digest: str, time_ms: int, *, is_stored: bool = False) -> None:
        self.name = name
        self.digest = digest
        self.time_ms = time_ms
        self.is_stored = is_stored

    def message(self, flaw: str = "") -> pb.SeatCheckpoint:
        found = pb.SeatCheckpoint(name=self.name, digest=self.digest, size_bytes=1, is_stored=self.is_stored)
        found.files.add(path=self.name, digest=self.digest, size_bytes=1)
        found.time.FromMilliseconds(self.time_ms)
        found.flaw = flaw
        return found


class Shelf:
    """The directory of one seat; outlives its processes and its agent."""

    def __init__(self, machine: Machine, seat: Seat) -> None:
        self._machine = machine
        self._seat = seat
        self._world = machine.world
        self._step = 0
        self.found: dict[str, Written] = {}

    @property
    def has_rules(self) -> bool:
        """Whether the job wants checkpoints at all."""
        return bool(self._world.plan(self._seat.task.job).job.checkpoints.directory)

    def messages(self) -> list[pb.SeatCheckpoint]:
        """What a greeting tells."""
        return [written.message() for written in self.found.values()]

    def resume(self, wanted: pb.SeatCheckpoint) -> str:
        """Makes one ready to go on from; what is wrong with it, or nothing."""
        here = self.found.get(wanted.name)
        weather = self._world.weather
        if self._machine.chance.random() < weather.tears:
            self.found.pop(wanted.name, None)
            return "it is torn"
        if here is None or here.digest != wanted.digest:
            copy = Written(wanted.name, wanted.digest, self._world.clock.now_ms(), is_stored=True)
            self.found[wanted.name] = copy
        self._step = int(wanted.name.rpartition("-")[2])
        return ""

    def begin(self, epoch: int) -> None:
        """Processes write from now on."""
        if self.has_rules:
            self._world.go(self._write(epoch))

    async def _write(self, epoch: int) -> None:
        chance = self._machine.chance
        pace_s = chance.choice((1.0, 3.0, 8.0))
        while True:
            await asyncio.sleep(MARGIN_S + pace_s * chance.random())
            if not self._machine.is_well or self._seat.epoch != epoch or not self._seat.is_writing:
                return
            self._step += 1
            name = f"step-{self._step}"
            digest = sha256(f"{self._seat.task.id} {epoch} {name}".encode()).hexdigest()
            written = self.found[name] = Written(name, digest, self._world.clock.now_ms())
            self._machine.tell_checkpoint(self._seat, written.message())
            self._world.go(self._send(written))

    async def _send(self, written: Written) -> None:
        """Into the store; the seat, its processes and its agent may change meanwhile."""
        await asyncio.sleep(self._machine.chance.choice((0.05, 1.0, 8.0)) * self._machine.chance.random())
        if self._machine.is_well and self.found.get(written.name) is written:
            self._store(written)

    def _store(self, written: Written) -> None:
        if written.is_stored or self._machine.seats.get(self._seat.task.id) is not self._seat:
            return
        self._world.store.blobs.add(written.digest)
        written.is_stored = True
        self._machine.tell_checkpoint(self._seat, written.message())

    def give(self) -> None:
        """The seat closes in order: everything is stored first."""
        for written in [*self.found.values()]:
            self._store(written)

    def drop(self, names: list[str]) -> None:
        """They are not wanted any more."""
        for name in names:
            self.found.pop(name, None)
