"""What passes through the store for work: our own code and configurations go there, what was found comes from there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc.aio

from modelyard import artifacts
from modelyard.errors import YardError, from_rpc_error
from modelyard.v1 import artifact_pb2, artifact_pb2_grpc, task_pb2
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.steps.errands import is_final
from services.models.catalogue import events as ev
from services.models.catalogue import program, tasks
from services.models.catalogue.model import Cause
from services.models.catalogue.state import Version

AGAIN_S, SLOWEST_S = 0.2, 10.0
CLOSE_S = 5.0
_log = get_logger("models.supplies")


class Supplies:
    """Made by `open`."""

    def __init__(self, store: grpc.aio.Channel, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.digest = ""
        """Of our own code, as tasks find it."""
        self._sending: set[asyncio.Task[object]] = set()

    async def open(self, room: Path) -> None:
        """Packs our own code."""
        self._program, self.digest = await asyncio.to_thread(program.packed, room)

    async def supply(self, account: str, config: bytes = b"") -> None:
        """Puts what a task finds beside the component into the store. Idempotent. Raises YardError."""
        await self._put(self._program, "modelyard.tar.gz", account)
        if config:
            await self._put(config, tasks.CONFIG, account)

    async def _put(self, content: bytes, name: str, account: str) -> None:
        """What is begun is sent to its end, whoever waits for it."""
        sending = asyncio.ensure_future(artifacts.put_bytes(self._store, content, name=name, account=account))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        await asyncio.shield(sending)

    async def close(self) -> None:
        """Waits a little for what is being sent."""
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=CLOSE_S)
            for one in late:
                one.cancel()

    async def read(self, version: Version, outcome: task_pb2.TaskOutcome) -> ev.WorkEvent:
        """What the version's work came to; while the store is away it is asked again."""
        if outcome.state != task_pb2.TASK_STATE_SUCCEEDED:
            return tasks.failure_of(version, outcome)
        digest, size = tasks.found_in(outcome)
        if not digest:
            return tasks.failed(
                version, Cause.SENSELESS, f"it wrote nothing; yard tasks logs {outcome.task_id}"
            )
        if size > tasks.FOUND_BYTES_MOST:
            message = f"it wrote {size} bytes, {tasks.FOUND_BYTES_MOST} are the most"
            return tasks.failed(version, Cause.SENSELESS, message)
        delay_s = AGAIN_S
        while True:
            try:
                event, example = tasks.read(version, await self._content(version.account, digest))
                if example:
                    await self._put(example, "example.json", version.account)
                return event
            except YardError as error:
                if is_final(error):
                    return tasks.failed(version, Cause.LOST, error.message)
                _log.warning("found_waits", task=outcome.task_id, reason=error.reason, message=error.message)
            await self._clock.sleep(delay_s)
            delay_s = min(2 * delay_s, SLOWEST_S)

    async def _content(self, account: str, digest: str) -> bytes:
        request, found = artifact_pb2.GetArtifactRequest(digest=digest, account=account), bytearray()
        try:
            async for part in artifact_pb2_grpc.ArtifactServiceStub(self._store).GetArtifact(request):
                found += part.chunk
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return bytes(found)
