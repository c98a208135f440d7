"""What tasks write, on its way to the scheduler: to the very last byte, from where it left off.

Owns the PushLogs stream and, per task and stream, how far the scheduler has it. Tasks that write
nothing cost nothing: files are looked at while a task runs for longer than a moment, or when its end
says that there are bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import grpc.aio
import msgspec

from modelyard.v1 import agent_link_pb2 as pb
from modelyard.v1 import task_pb2
from modelyard.v1.agent_link_pb2_grpc import AgentLinkServiceStub
from services.agent.config import Places
from services.agent.tasks.events import WorkReported
from services.agent.tasks.model import Phase, Task, key_of_work
from services.chassis.logs import get_logger

_log = get_logger("agent.logs")

LOOK_S = 0.2
ACK_S = 0.02
IDLE_S = 30.0
CHUNK_BYTES = 256 * 1024
WINDOW_BYTES = 4 * 1024 * 1024
"""Bytes that may be on their way without an acknowledgement."""
FIRST_PAUSE_S, LAST_PAUSE_S = 0.2, 5.0
STREAMS = {"stdout": task_pb2.LOG_STREAM_STDOUT, "stderr": task_pb2.LOG_STREAM_STDERR}

LogCall: TypeAlias = "grpc.aio.StreamStreamCall[pb.PushLogsRequest, pb.PushLogsResponse]"


class Follow(msgspec.Struct):
    """One stream of one attempt. Offsets in bytes; end -1: it is still being written."""

    key: str
    name: str
    path: Path
    sent: int = 0
    acked: int = 0
    end: int = -1

    @property
    def is_settled(self) -> bool:
        return self.end >= 0 and self.acked >= self.end


class LogPusher:
    """Follows the logs of one node's tasks."""

    def __init__(self, places: Places, channel: Callable[[], Awaitable[grpc.aio.Channel]]) -> None:
        self._places = places
        self._channel = channel
        self._running: dict[str, None] = {}
        self._follows: dict[tuple[str, int], Follow] = {}
        self._work = asyncio.Event()
        self._in_flight = 0
        self._settled = asyncio.Event()
        self._settled.set()

    def on_report(self, report: WorkReported) -> None:
        """Takes note of starts and of ends with bytes; free for silent calls."""
        for begun in report.begun:
            self._running[key_of_work(begun.key)] = None
            self._work.set()
        for done in report.done:
            key = key_of_work(done.key)
            self._running.pop(key, None)
            end = done.exit
            if end.stdout_bytes or end.stderr_bytes or (key, task_pb2.LOG_STREAM_STDOUT) in self._follows:
                self._finish(key, end.stdout_bytes, end.stderr_bytes)

    def on_lost(self, keys: Iterable[str]) -> None:
        """Tasks whose worker is gone: what stands in the files is all there will be."""
        for key in keys:
            self._running.pop(key, None)
            sizes = [self._size(key, name) for name in STREAMS]
            if any(sizes):
                self._finish(key, *sizes)

    def follow_left(self, tasks: Iterable[Task]) -> None:
        """After a restart of the agent: everything once more; the scheduler says what it has."""
        for task in tasks:
            if task.phase in (Phase.HANDED, Phase.RUNNING):
                self._running[task.key] = None
                self._work.set()
            elif task.exit is not None and (task.exit.stdout_bytes or task.exit.stderr_bytes):
                self._finish(task.key, task.exit.stdout_bytes, task.exit.stderr_bytes)

    def is_busy(self, key: str) -> bool:
        """Whether bytes of this attempt are not at the scheduler yet."""
        return any((key, stream) in self._follows for stream in STREAMS.values())

    async def drained(self, timeout_s: float) -> bool:
        """Waits until everything is at the scheduler; whether it is."""
        try:
            await asyncio.wait_for(self._settled.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Pushes for ever; cancel it to stop."""
        pause_s = FIRST_PAUSE_S
        while True:
            await self._work.wait()
            try:
                await self._push_until_idle()
                pause_s = FIRST_PAUSE_S
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                # The latter where the stream has ended between two messages.
                _log.info("log_stream_lost", reason=str(error))
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LAST_PAUSE_S)

    # --- one stream

    async def _push_until_idle(self) -> None:
        """Opens a stream once there are bytes and keeps it while there are more."""
        self._look()
        while not self._follows:
            if not self._running:
                self._work.clear()
                return
            await asyncio.sleep(LOOK_S)
            self._look()
        channel = await self._channel()
        try:
            call: LogCall = AgentLinkServiceStub(channel).PushLogs()
            self._rewind()
            hearing = asyncio.ensure_future(self._hear(call))
            try:
                await self._speak(call, hearing)
                await call.done_writing()
            finally:
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)
        finally:
            await channel.close()

    def _rewind(self) -> None:
        self._in_flight = 0
        for follow in self._follows.values():
            follow.sent = follow.acked

    async def _speak(self, call: LogCall, hearing: asyncio.Future[None]) -> None:
        while True:
            self._look()
            chunks = self._chunks()
            if chunks:
                await call.write(pb.PushLogsRequest(chunks=chunks))
            elif hearing.done():
                hearing.result()
                return
            elif self._follows:
                await asyncio.wait({hearing}, timeout=LOOK_S if self._running else ACK_S)
            elif self._running:
                await asyncio.sleep(LOOK_S)
            elif not await self._wait_for_work(hearing):
                return

    async def _wait_for_work(self, hearing: asyncio.Future[None]) -> bool:
        """Keeps the stream for a while; whether there is something to do again."""
        self._work.clear()
        waiting = asyncio.ensure_future(self._work.wait())
        parts: set[asyncio.Future[Any]] = {waiting, hearing}
        try:
            await asyncio.wait(parts, timeout=IDLE_S, return_when=asyncio.FIRST_COMPLETED)
            return waiting.done()
        finally:
            waiting.cancel()

    async def _hear(self, call: LogCall) -> None:
        while True:
            answer = await call.read()
            if answer is grpc.aio.EOF:
                return
            assert isinstance(answer, pb.PushLogsResponse)
            for position in answer.positions:
                self._on_position(position)

    def _on_position(self, position: pb.LogPosition) -> None:
        follow = self._follows.get((f"{position.task_id}/{position.attempt}", position.stream))
        if follow is None or position.offset <= follow.acked:
            return
        self._in_flight = max(0, self._in_flight - (position.offset - follow.acked))
        follow.acked = position.offset
        follow.sent = max(follow.sent, follow.acked)
        if follow.is_settled:
            self._forget(follow)

    # --- files

    def _look(self) -> None:
        """Finds streams of running tasks that have bytes by now."""
        for key in self._running:
            for name, stream in STREAMS.items():
                if (key, stream) not in self._follows and self._size(key, name):
                    self._follow(key, name)

    def _chunks(self) -> list[pb.LogChunk]:
        chunks: list[pb.LogChunk] = []
        size = 0
        for follow in list(self._follows.values()):
            if self._in_flight >= WINDOW_BYTES or size >= 4 * CHUNK_BYTES:
                break
            data = self._read(follow)
            if not data:
                continue
            task_id, _, attempt = follow.key.rpartition("/")
            chunk = pb.LogChunk(task_id=task_id, attempt=int(attempt), offset=follow.sent, data=data)
            chunk.stream = STREAMS[follow.name]
            chunks.append(chunk)
            follow.sent += len(data)
            size += len(data)
            self._in_flight += len(data)
        return chunks

    def _read(self, follow: Follow) -> bytes:
        if 0 <= follow.end <= follow.sent:
            return b""
        try:
            with follow.path.open("rb") as file:
                file.seek(follow.sent)
                most = CHUNK_BYTES if follow.end < 0 else min(CHUNK_BYTES, follow.end - follow.sent)
                data = file.read(most)
        except FileNotFoundError:
            data = b""
        if not data and follow.end >= 0:
            # The file is shorter than its end says, or gone: nothing more will come.
            _log.warning("log_cut_short", task=follow.key, stream=follow.name, offset=follow.sent)
            follow.end = follow.acked
            self._forget(follow)
        return data

    def _size(self, key: str, name: str) -> int:
        try:
            return (self._places.task(key) / name).stat().st_size
        except OSError:
            return 0

    def _follow(self, key: str, name: str) -> Follow:
        follow = Follow(key, name, self._places.task(key) / name)
        self._follows[(key, STREAMS[name])] = follow
        self._settled.clear()
        return follow

    def _finish(self, key: str, *sizes: int) -> None:
        """The task has ended with so many bytes of stdout and stderr."""
        for (name, stream), size in zip(STREAMS.items(), sizes, strict=True):
            follow = self._follows.get((key, stream))
            if follow is None and size:
                follow = self._follow(key, name)
            if follow is not None:
                follow.end = size
                if follow.is_settled:
                    self._forget(follow)
        self._work.set()

    def _forget(self, follow: Follow) -> None:
        self._follows.pop((follow.key, STREAMS[follow.name]), None)
        if not self._follows:
            self._settled.set()
