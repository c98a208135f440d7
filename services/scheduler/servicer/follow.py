"""Reading what tasks wrote, to the very last byte."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

from modelyard.v1 import agent_link_pb2
from modelyard.v1 import task_pb2 as pb
from services.chassis.security import Principal
from services.scheduler.archive.logs import STREAMS, LogFiles
from services.scheduler.engine import Engine
from services.scheduler.model import TERMINAL, TaskState
from services.scheduler.reading.tasks import Tasks
from services.scheduler.records.rows import ChangeRow
from services.scheduler.records.store import SchedulerStore
from services.scheduler.refusals import InvalidRequest
from services.scheduler.state.effects import RecordChange

# How long the last bytes of an attempt may be on their way once it has ended; its agent may be gone. Counted from when
# the end is seen by who follows, and by others from the end itself.
STRAGGLER_S = 20.0
END_OF_ATTEMPT = frozenset({*TERMINAL, TaskState.QUEUED})


class _End(NamedTuple):
    """Of an attempt: how many bytes it wrote in all, by stream, and when it ended."""

    sizes: dict[int, int]
    time_ms: int = 0


class _Waker:
    """Wakes one follower when its task has written something, or has ended."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    def on_outcome(self, outcome: RecordChange) -> None:
        self.changed.set()


class LogFollower:
    """Sends files as they grow; an attempt is over when the bytes that its end announced have been sent."""

    def __init__(self, engine: Engine, tasks: Tasks, store: SchedulerStore, files: LogFiles) -> None:
        self._engine = engine
        self._tasks = tasks
        self._store = store
        self._files = files

    async def follow(
        self, key: int, request: pb.StreamLogsRequest, caller: Principal
    ) -> AsyncIterator[pb.StreamLogsResponse]:
        """What there is, of an attempt that has just ended all of it; with ``follow`` what comes, through later
        attempts too, until the task has ended."""
        if request.attempt < 0:
            raise InvalidRequest(f"attempt: {request.attempt} is negative", field="attempt")
        offsets = {1: max(request.stdout_offset, 0), 2: max(request.stderr_offset, 0)}
        attempt = request.attempt or max(self._attempt(key) or await self._last_attempt(key), 1)
        # How far each attempt was told: an earlier one may be the current one again.
        told: dict[int, dict[int, int]] = {}
        waker = _Waker()
        self._files.watch(key, waker.changed)
        self._engine.follow(key, waker)
        try:
            while True:
                async for response in self._one(
                    key, attempt, offsets, waker.changed, is_following=request.follow
                ):
                    yield response
                newer = self._attempt(key) or await self._last_attempt(key)
                if (
                    not request.follow
                    or request.attempt
                    or (key not in self._engine.state.tasks and newer <= attempt)
                ):
                    return
                if newer != attempt:
                    told[attempt] = offsets
                    attempt = attempt + 1 if newer > attempt else newer
                    offsets = told.get(attempt) or {1: 0, 2: 0}
                else:
                    await self._pause(waker.changed)
        finally:
            self._engine.unfollow(key, waker)
            self._files.unwatch(key, waker.changed)

    async def _one(
        self, key: int, attempt: int, offsets: dict[int, int], changed: asyncio.Event, *, is_following: bool
    ) -> AsyncIterator[pb.StreamLogsResponse]:
        deadline: float | None = None
        loop = asyncio.get_running_loop()
        while True:
            changed.clear()
            end = await self._end(key, attempt)
            for stream in STREAMS:
                while data := self._files.read(key, attempt, stream, offsets[stream]):
                    offset = offsets[stream]
                    offsets[stream] += len(data)
                    yield pb.StreamLogsResponse(attempt=attempt, stream=stream, offset=offset, data=data)  # type: ignore[arg-type]
            if end is None and not is_following:
                return
            if end is not None:
                if all(offsets[stream] >= end.sizes[stream] for stream in STREAMS):
                    return
                ago_s = 0.0 if is_following else (self._engine.clock.now_ms() - end.time_ms) / 1000
                deadline = deadline or loop.time() + STRAGGLER_S - ago_s
                if loop.time() > deadline:
                    return
            await self._pause(changed)

    async def _pause(self, changed: asyncio.Event) -> None:
        """Until something changes; a second at most, for stragglers and for attempts that end without a byte."""
        try:
            async with asyncio.timeout(1.0):
                await changed.wait()
        except TimeoutError:
            return

    def _attempt(self, key: int) -> int:
        task = self._engine.state.tasks.get(key)
        return task.attempt if task is not None else 0

    async def _last_attempt(self, key: int) -> int:
        stored = await self._store.get_task(key)
        return stored[1][-1].attempt if stored and stored[1] else 0

    async def _end(self, key: int, attempt: int) -> _End | None:
        """None: it has not ended."""
        task = self._engine.state.tasks.get(key)
        if task is not None and task.attempt == attempt and task.state is not TaskState.QUEUED:
            return None
        if task is not None and task.attempt == 0:
            return None
        is_unfinished = self._engine.is_unfinished(key)
        stored = await self._store.get_task(key)
        if stored is None and not is_unfinished:
            # An element of an array that ended before its turn came.
            return _End({1: 0, 2: 0})
        for change in reversed(stored[1]) if stored else ():
            if change.attempt == attempt and change.state in END_OF_ATTEMPT:
                return _End(_sizes(change), change.time_ms)
        is_over = stored and stored[1] and (stored[1][-1].state in TERMINAL or _is_left(stored[1], attempt))
        if is_over:
            # It ended, or goes on, without this attempt.
            return _End({1: 0, 2: 0})
        return None


def _is_left(changes: list[ChangeRow], attempt: int) -> bool:
    """Whether an attempt began and another one is the current one."""
    return changes[-1].attempt != attempt and any(change.attempt == attempt for change in changes)


def _sizes(change: ChangeRow) -> dict[int, int]:
    exited = agent_link_pb2.TaskExited.FromString(change.payload)
    return {1: exited.stdout_bytes, 2: exited.stderr_bytes}
