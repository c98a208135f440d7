"""Logs of a whole job: one instance after the other, or merged in whole lines as they arrive (S3.10).

Owns the order between instances and how much is under way. Whoever reads slowly slows the reading down.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from modelyard.v1 import job_pb2
from services.chassis.errors import InvalidArgument, ResourceExhausted
from services.trainer.logs.source import STDERR, STDOUT, Chunk, InstanceLog, LogSource
from services.trainer.model import InstanceUnknown, RoleUnknown
from services.trainer.state.jobs import Job, Key

STREAMS_MOST, STREAMS_OF_ACCOUNT_MOST = 100, 20
"""At a time."""
MERGED_MOST = 400
"""Instances that one caller follows at a time."""
READERS_MOST = 800
"""Instances that are read at a time by all: each is a call to the scheduler, which takes 1,024 on a connection."""
READ_MOST = 16
"""Instances that are read at a time where nobody follows."""
QUEUED_MOST = 16
"""Chunks of at most 256 KiB that wait for a slow reader."""
LINE_BYTES = 64 << 10
"""A longer line is broken."""
_NAMES = {"stdout": 0, "stderr": 1}


class LogStreamsBusy(ResourceExhausted):
    """Too many logs are being read at the moment."""


class TooManyInstances(ResourceExhausted):
    """So many instances cannot be followed in one stream."""


class LogOffsetInvalid(InvalidArgument):
    """Offsets are counts of bytes by "role-index/stdout" and "role-index/stderr"."""


class JobLogs:
    """Gives the streams, each within what all may use."""

    def __init__(self, source: LogSource) -> None:
        self._source = source
        self._open: Counter[str] = Counter()
        self._readers = 0

    async def stream(
        self, job: Job, request: job_pb2.StreamJobLogsRequest, account: str
    ) -> AsyncIterator[Chunk]:
        """Raises RoleUnknown, InstanceUnknown, LogOffsetInvalid, LogStreamsBusy, TooManyInstances, LogsUnreachable."""
        offsets = _offsets(request)
        wanted = await self._wanted(job, request)
        is_alone = request.HasField("index")
        is_merged = request.merge and not is_alone
        readers = min(len(wanted), MERGED_MOST if request.follow else READ_MOST) if is_merged else 1
        with self._within_bounds(account, readers):
            if is_merged:
                if request.follow and len(wanted) > MERGED_MOST:
                    raise TooManyInstances(
                        f"{len(wanted)} instances; at most {MERGED_MOST} can be followed in one stream",
                        field="role", next_step=f"yard train logs j-{job.number} ROLE-INDEX --follow",
                    )  # fmt: skip
                merge = _Merge(self._source, job, request, offsets)
                try:
                    async for chunk in merge.chunks(wanted):
                        yield chunk
                finally:
                    await merge.close()
                return
            done: set[Key] = set()
            while left := [key for key in wanted if key not in done]:
                for key in left:
                    done.add(key)
                    log = _log(self._source, job, key, offsets, request)
                    async for chunk in log.chunks():
                        yield chunk
                wanted = await self._wanted(job, request) if request.follow and not is_alone else []

    async def _wanted(self, job: Job, request: job_pb2.StreamJobLogsRequest) -> list[Key]:
        keys = await self._source.keys(job.number)
        of_role = [key for key in keys if request.role in ("", key[0])]
        if request.role and not of_role and request.role not in job.counts:
            raise RoleUnknown(
                f"j-{job.number} has no role {request.role[:80]!r}", field="role",
                next_step=f"it has: {', '.join(job.counts)}",
            )  # fmt: skip
        if not request.HasField("index"):
            return of_role
        key = (request.role, request.index)
        if key not in of_role:
            raise InstanceUnknown(
                f"j-{job.number} has no instance {request.role[:80]}-{request.index}", field="index",
                next_step=f"yard train get j-{job.number}",
            )  # fmt: skip
        return [key]

    @contextmanager
    def _within_bounds(self, account: str, readers: int) -> Iterator[None]:
        is_full = self._open[account] >= STREAMS_OF_ACCOUNT_MOST or self._open.total() >= STREAMS_MOST
        if is_full or (self._readers and self._readers + readers > READERS_MOST):
            raise LogStreamsBusy(next_step="end another one, or come again in a moment")
        self._open[account] += 1
        self._readers += readers
        try:
            yield
        finally:
            self._readers -= readers
            self._open[account] -= 1
            if not self._open[account]:
                del self._open[account]


Offsets = dict[str, list[int]]


def _offsets(request: job_pb2.StreamJobLogsRequest) -> Offsets:
    found: Offsets = {}
    for name, offset in request.offsets.items():
        instance, _, stream = name.rpartition("/")
        if stream not in _NAMES or offset < 0:
            raise LogOffsetInvalid(f"{name[:80]!r}: {offset} has no meaning", field="offsets")
        found.setdefault(instance, [0, 0])[_NAMES[stream]] = offset
    return found


def _log(
    source: LogSource, job: Job, key: Key, offsets: Offsets, request: job_pb2.StreamJobLogsRequest
) -> InstanceLog:
    stdout, stderr = offsets.get(f"{key[0]}-{key[1]}", (0, 0))
    return InstanceLog(source, job, key, (stdout, stderr), is_following=request.follow)


class _Merge:
    """Many instances, read side by side."""

    def __init__(
        self, source: LogSource, job: Job, request: job_pb2.StreamJobLogsRequest, offsets: Offsets
    ) -> None:
        self._source = source
        self._job = job
        self._request = request
        self._offsets = offsets
        self._queue: asyncio.Queue[Chunk] = asyncio.Queue(QUEUED_MOST)
        self._turns = asyncio.Semaphore(MERGED_MOST if request.follow else READ_MOST)
        self._readers: dict[Key, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[Any]] = []
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Everything was read, or something could not be."""

    async def chunks(self, keys: list[Key]) -> AsyncIterator[Chunk]:
        """Whole lines, each chunk of one instance."""
        self._begin(self._feed(keys), "feed")
        while not self._over.done() or not self._queue.empty():
            if self._queue.empty():
                getting = asyncio.ensure_future(self._queue.get())
                try:
                    await asyncio.wait((getting, self._over), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not getting.done():
                        getting.cancel()
                if not getting.done():
                    continue
                yield getting.result()
            else:
                yield self._queue.get_nowait()
        self._over.result()

    async def close(self) -> None:
        """Nothing of it goes on."""
        self._over.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=f"logs-j-{self._job.number}-{name}")
        task.add_done_callback(self._on_done)
        self._tasks.append(task)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._over.done():
            self._over.set_exception(error)

    async def _feed(self, keys: list[Key]) -> None:
        """Begins with every instance, and with those that come later; the stream ends after the last."""
        number, role = self._job.number, self._request.role
        with self._source.engine.watch(number) as changed:
            while True:
                changed.clear()
                is_over = await self._source.has_ended(number)
                for key in keys:
                    if key not in self._readers:
                        self._readers[key] = self._begin(self._read(key), f"{key[0]}-{key[1]}")
                if is_over or not self._request.follow:
                    break
                while self._source.is_known(number, role, self._readers):
                    await changed.wait()
                    changed.clear()
                keys = [key for key in await self._source.keys(number) if role in ("", key[0])]
        await asyncio.gather(*self._readers.values())
        if not self._over.done():
            self._over.set_result(None)

    async def _read(self, key: Key) -> None:
        async with self._turns:
            log = _log(self._source, self._job, key, self._offsets, self._request)
            lines = Lines()
            async for chunk in log.chunks():
                for whole in lines.take(chunk):
                    await self._queue.put(whole)
            for rest in lines.rest():
                await self._queue.put(rest)


class Lines:
    """Holds back the line that is not whole yet, of each stream."""

    def __init__(self) -> None:
        self._held: dict[int, Chunk] = {}

    def take(self, chunk: Chunk) -> list[Chunk]:
        """What is whole by now, in order."""
        found: list[Chunk] = []
        held = self._held.pop(chunk.stream, None)
        if held is not None and (held.epoch != chunk.epoch or held.offset + len(held.data) != chunk.offset):
            found.append(held)
            held = None
        data = held.data + chunk.data if held is not None else chunk.data
        offset = held.offset if held is not None else chunk.offset
        cut = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if len(data) - cut > LINE_BYTES:
            cut = len(data)
        if cut:
            found.append(_part(chunk, offset, data[:cut]))
        if cut < len(data):
            self._held[chunk.stream] = _part(chunk, offset + cut, data[cut:])
        return found

    def rest(self) -> list[Chunk]:
        """Nothing more comes: what is there is whole."""
        return [self._held[stream] for stream in (STDOUT, STDERR) if stream in self._held]


def _part(chunk: Chunk, offset: int, data: bytes) -> Chunk:
    return Chunk(
        role=chunk.role, index=chunk.index, epoch=chunk.epoch, stream=chunk.stream, offset=offset, data=data
    )
