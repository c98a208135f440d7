"""What instances wrote: read at the scheduler on behalf of the job's account, seat after seat (S3.10, I6).

Owns no byte. The log of an instance is that of all its seats in order, as if it were one; offsets count through them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Container

import grpc.aio

from modelyard.errors import from_rpc_error
from modelyard.v1 import job_pb2, task_pb2, task_pb2_grpc
from services.chassis.errors import Unavailable
from services.chassis.peers.sessions import on_behalf_of
from services.trainer.engine import Engine
from services.trainer.logs.epochs import Epochs, Part
from services.trainer.records.log_index import LogIndex, SeatLog
from services.trainer.state.jobs import Job, Key
from services.trainer.telling.jobs import Jobs

STDOUT, STDERR = task_pb2.LOG_STREAM_STDOUT, task_pb2.LOG_STREAM_STDERR
CALL_S = 10.0
PAUSE_S = 0.5
"""Before what goes on without a word is asked for again."""
_ENDED = (task_pb2.TASK_STATE_SUCCEEDED, task_pb2.TASK_STATE_FAILED, task_pb2.TASK_STATE_CANCELLED)

Chunk = job_pb2.StreamJobLogsResponse


class LogsUnreachable(Unavailable):
    """What the job wrote lies with the scheduler, which cannot be reached; go on from the offsets in a moment."""


class LogSource:
    """What readers need."""

    def __init__(self, engine: Engine, jobs: Jobs, index: LogIndex, scheduler: grpc.aio.Channel) -> None:
        self.engine = engine
        self.jobs = jobs
        self.index = index
        self.tasks = task_pb2_grpc.TaskServiceStub(scheduler)

    async def has_ended(self, number: int) -> bool:
        """Whether nothing more comes of the job."""
        live = self.engine.state.jobs.get(number)
        if live is not None and not live.job.state.has_ended:
            return False
        return (await self.jobs.state_of(number))[0].state.has_ended

    def is_known(self, number: int, role: str, keys: Container[Key]) -> bool:
        """Whether the job lives and has, of this role or of all, no other instances than these."""
        live = self.engine.state.jobs.get(number)
        if live is None or live.job.state.has_ended:
            return False
        return all(key in keys for key in live.instances if role in ("", key[0]))

    async def keys(self, number: int) -> list[Key]:
        """Every instance that has, or had, a seat or is to have one; in the order of the job's roles."""
        job, _, instances = await self.jobs.state_of(number)
        found = {*await self.index.seated(number), *(one.key for one in instances)}
        order = {role: place for place, role in enumerate(job.counts)}
        return sorted(found, key=lambda key: (order.get(key[0], len(order)), key))


class InstanceLog:
    """One instance, from offsets on."""

    def __init__(
        self, source: LogSource, job: Job, key: Key, offsets: tuple[int, int], *, is_following: bool
    ) -> None:
        self._source = source
        self._job = job
        self.key = key
        self._wanted = {STDOUT: offsets[0], STDERR: offsets[1]}
        self._base = {STDOUT: 0, STDERR: 0}
        """Bytes of the seats before the present one."""
        self._is_following = is_following

    async def chunks(self) -> AsyncIterator[Chunk]:
        """In the order of each stream. Raises LogsUnreachable."""
        done: set[int] = set()
        with self._source.engine.watch(self._job.number) as changed:
            while True:
                changed.clear()
                is_over = await self._source.has_ended(self._job.number)
                seats = await self._source.index.seats(self._job.number, self.key)
                for seat in seats:
                    if seat.number not in done:
                        done.add(seat.number)
                        is_last = seat is seats[-1] and not is_over
                        async for chunk in self._of_seat(seat, is_last=is_last):
                            yield chunk
                if is_over or not self._is_following:
                    return
                await changed.wait()

    async def _of_seat(self, seat: SeatLog, *, is_last: bool) -> AsyncIterator[Chunk]:
        """``is_last``: it may go on; an earlier one is read to its end, which comes by itself."""
        if seat.sizes is not None and self._is_behind(seat.sizes):
            self._go_on(seat.sizes)
            return
        told, epochs = (
            _SeatPosition(),
            Epochs(self._source.engine, self._source.index, self._job.number, self.key, seat.task),
        )
        await self._skip(seat, told, is_last=is_last)
        is_following, attempt = self._is_following or not is_last, 1
        while True:
            async for chunk in self._of_attempt(seat.task, attempt, told, is_following=is_following):
                for epoch, part in await epochs.cut(chunk):
                    if placed := self._placed(part, epoch, told):
                        yield placed
            task = await self._task(seat.task)
            has_ended = task is None or task.state in _ENDED
            if task is not None and task.attempt > attempt:
                attempt += 1
                told.next_attempt()
            elif has_ended or not is_following:
                break
            else:
                await asyncio.sleep(PAUSE_S)
        if has_ended and is_following and not told.has_skipped:
            await self._source.index.close(seat, told.sizes)
        self._go_on(told.sizes)

    async def _skip(self, seat: SeatLog, told: _SeatPosition, *, is_last: bool) -> None:
        """What was had is not read again where it is known to lie in this seat's one attempt; else it is read, to know
        where it ends."""
        had = {stream: max(0, self._wanted[stream] - base) for stream, base in self._base.items()}
        if not any(had.values()) or (seat.sizes is None and not is_last):
            return
        task = await self._task(seat.task)
        if task is None or task.attempt > 1:
            return
        if seat.sizes is not None:
            had = {s: min(size, most) for (s, size), most in zip(had.items(), seat.sizes, strict=True)}
        told.skip(had)

    async def _of_attempt(
        self, task: str, attempt: int, told: _SeatPosition, *, is_following: bool
    ) -> AsyncIterator[Part]:
        request = task_pb2.StreamLogsRequest(
            task_id=task, attempt=attempt, follow=is_following,
            stdout_offset=told.here[STDOUT], stderr_offset=told.here[STDERR],
        )  # fmt: skip
        call = self._source.tasks.StreamLogs(request, metadata=on_behalf_of(self._job.account))
        try:
            async for chunk in call:
                yield chunk
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise _unreachable(error) from error
            # The scheduler has forgotten the task, and what it wrote.
        finally:
            call.cancel()

    async def _task(self, task: str) -> task_pb2.Task | None:
        """None: the scheduler has forgotten it."""
        try:
            request = task_pb2.GetTaskRequest(task_id=task)
            metadata = on_behalf_of(self._job.account)
            return (await self._source.tasks.GetTask(request, metadata=metadata, timeout=CALL_S)).task
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise _unreachable(error) from error

    def _is_behind(self, sizes: tuple[int, int]) -> bool:
        """Whether all of a seat was had before."""
        return all(
            self._wanted[stream] >= self._base[stream] + size
            for stream, size in zip(self._base, sizes, strict=True)
        )

    def _go_on(self, sizes: tuple[int, int]) -> None:
        """The next seat begins where this one has ended."""
        for stream, size in zip(self._base, sizes, strict=True):
            self._base[stream] += size

    def _placed(self, part: Part, epoch: int, told: _SeatPosition) -> Chunk | None:
        """With its offset in the log of the instance; without what was had before."""
        stream = part.stream
        offset = self._base[stream] + told.take(part)
        data = part.data[max(0, self._wanted[stream] - offset) :]
        if not data:
            return None
        offset = max(offset, self._wanted[stream])
        return Chunk(
            role=self.key[0], index=self.key[1], epoch=epoch, stream=stream, offset=offset, data=data
        )


class _SeatPosition:
    """How far a seat's log was read; its attempts follow each other."""

    def __init__(self) -> None:
        self.here = {STDOUT: 0, STDERR: 0}
        """In the present attempt."""
        self._before = {STDOUT: 0, STDERR: 0}
        self.has_skipped = False

    def skip(self, sizes: dict[task_pb2.LogStream.ValueType, int]) -> None:
        """These bytes of the first attempt are not asked for."""
        self.here.update(sizes)
        self.has_skipped = True

    def take(self, part: Part) -> int:
        """Where it begins in the seat's log."""
        self.here[part.stream] = part.offset + len(part.data)
        return self._before[part.stream] + part.offset

    def next_attempt(self) -> None:
        """What comes now has offsets from 0 again."""
        for stream in self.here:
            self._before[stream] += self.here[stream]
            self.here[stream] = 0

    @property
    def sizes(self) -> tuple[int, int]:
        """What was read of it."""
        found = [self._before[stream] + self.here[stream] for stream in (STDOUT, STDERR)]
        return found[0], found[1]


def _unreachable(error: grpc.aio.AioRpcError) -> LogsUnreachable:
    return LogsUnreachable(metadata={"code": error.code().name, "why": from_rpc_error(error).message[:200]})
