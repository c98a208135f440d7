"""To which epoch of an instance the bytes of its log belong: as agents have told where each begins."""

from __future__ import annotations

import asyncio

from modelyard.v1 import task_pb2
from services.trainer.engine import Engine
from services.trainer.records.log_index import LogIndex
from services.trainer.state.jobs import Key

STARTED_S = 2.0
"""How long the first bytes of an epoch wait for the word that it has begun."""

Part = task_pb2.StreamLogsResponse


class Epochs:
    """To which epoch the bytes of one seat belong."""

    def __init__(self, engine: Engine, index: LogIndex, job: int, key: Key, task: str) -> None:
        self._engine = engine
        self._index = index
        self._job = job
        self._key = key
        self._task = task
        self._known: list[tuple[int, tuple[int, int]]] = []
        self._is_read = False
        self._waited_for = 0

    async def cut(self, chunk: Part) -> list[tuple[int, Part]]:
        """The chunk in parts, each of one epoch; 0: before the first."""
        known = await self._learned()
        which = 0 if chunk.stream == task_pb2.LOG_STREAM_STDOUT else 1
        found, epoch = list[tuple[int, Part]](), 0
        data, start = chunk.data, chunk.offset
        for later, begins in known:
            cut = begins[which] - start
            if cut >= len(data):
                break
            if cut > 0:
                found.append((epoch, Part(stream=chunk.stream, offset=start, data=data[:cut])))
                data, start = data[cut:], start + cut
            epoch = later
        return [*found, (epoch, Part(stream=chunk.stream, offset=start, data=data))]

    async def _learned(self) -> list[tuple[int, tuple[int, int]]]:
        """What agents have told; of an epoch that has just begun the word is waited for, but not for long."""
        wanted = self._latest()
        if not self._is_read or (wanted and not self._has(wanted)):
            self._is_read = True
            self._known = await self._index.launches(self._job, self._task)
        if wanted and not self._has(wanted) and self._waited_for < wanted:
            self._waited_for = wanted
            await self._wait(wanted)
        return self._known

    async def _wait(self, wanted: int) -> None:
        with self._engine.watch(self._job) as changed:
            try:
                async with asyncio.timeout(STARTED_S):
                    while not self._has(wanted):
                        await changed.wait()
                        changed.clear()
                        self._known = await self._index.launches(self._job, self._task)
            except TimeoutError:
                return

    def _has(self, epoch: int) -> bool:
        return bool(self._known) and self._known[-1][0] >= epoch

    def _latest(self) -> int:
        """The epoch that was last launched in this seat, as far as the job lives; 0: not known."""
        live = self._engine.state.jobs.get(self._job)
        one = live.instances.get(self._key) if live is not None else None
        return one.epoch if one is not None and one.task == self._task else 0
