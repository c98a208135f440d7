"""Outgoing calls: one session to the scheduler for each account, artefacts in the store.

The session resubmits what was not answered under the same request ids and follows what is open, for as long as the
process lives; so a scheduler that restarts costs time only. All calls carry the service's token and say for which
account they are made.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from typing import Any, Protocol

import grpc
import grpc.aio
import msgspec

from modelyard.channel import ACCOUNT_KEY
from modelyard.errors import YardError, from_rpc_error
from modelyard.v1 import (
    artifact_pb2,
    artifact_pb2_grpc,
    contact_pb2,
    contact_pb2_grpc,
    task_pb2,
    task_pb2_grpc,
)
from services.chassis.logs import get_logger
from services.graph.places import Place

FOLLOW_MOST = 2_000
CALL_S = 20.0
ID_REUSED = "REQUEST_ID_REUSED"
CHUNK_BYTES = 1 << 20
REFERENCES_MOST = 1_000
# The scheduler is there, but not yet or not now.
_AGAIN = frozenset({grpc.StatusCode.UNAVAILABLE.value[0], grpc.StatusCode.DEADLINE_EXCEEDED.value[0]})
_SLOWEST_S = 2.0
REPEAT_S = 1.0
"""Before what was refused for now is asked again."""

_log = get_logger("graph.peers")


def on_behalf_of(account: str) -> tuple[tuple[str, str], ...]:
    """Metadata of a call for an account."""
    return ((ACCOUNT_KEY, account),)


class Batch(msgspec.Struct, frozen=True):
    """A submission that is on disk."""

    number: int
    run: int
    places: tuple[Place, ...]
    request: task_pb2.SubmitTasksRequest


class Listener(Protocol):
    """Hears what becomes of batches; called on the event loop, must not block."""

    def on_accepted(self, account: str, batch: Batch, tasks: Sequence[str]) -> None: ...
    def on_refused(self, account: str, batch: Batch, refusal: task_pb2.Refusal) -> None: ...
    def on_outcomes(self, account: str, outcomes: Sequence[task_pb2.TaskOutcome]) -> None: ...
    def on_unknown(self, account: str, tasks: Sequence[str]) -> None: ...


class Session:
    """One account's stream to the scheduler."""

    def __init__(self, channel: grpc.aio.Channel, account: str, listener: Listener) -> None:
        self._stub = task_pb2_grpc.TaskServiceStub(channel)
        self._account = account
        self._listener = listener
        self._sequence = 0
        self._unanswered: dict[int, Batch] = {}
        self._open: set[str] = set()
        self._early: dict[str, task_pb2.TaskOutcome] = {}
        self._outbox: deque[task_pb2.SessionRequest] = deque()
        self._wake = asyncio.Event()
        self._heard = False

    def submit(self, batch: Batch) -> None:
        """Sends it, and again until it is answered."""
        self._sequence += 1
        self._unanswered[self._sequence] = batch
        self._outbox.append(task_pb2.SessionRequest(sequence=self._sequence, submit=batch.request))
        self._wake.set()

    def follow(self, tasks: Sequence[str]) -> None:
        """Their outcomes are wanted."""
        self._open.update(tasks)
        for start in range(0, len(tasks), FOLLOW_MOST):
            self._sequence += 1
            follow = task_pb2.FollowTasks(task_ids=tasks[start : start + FOLLOW_MOST])
            self._outbox.append(task_pb2.SessionRequest(sequence=self._sequence, follow=follow))
        self._wake.set()

    async def run(self) -> None:
        """Keeps a stream open, for ever."""
        delay_s = 0.05
        while True:
            self._heard = False
            try:
                await self._converse()
            except grpc.aio.AioRpcError as error:
                _log.warning(
                    "session_broke", account=self._account, code=error.code().name, why=error.details()
                )
            if self._heard:
                delay_s = 0.05
            await asyncio.sleep(delay_s * (0.5 + random.random() / 2))
            delay_s = min(delay_s * 2, _SLOWEST_S)
            self._repeat()

    async def _converse(self) -> None:
        call = self._stub.Session(metadata=on_behalf_of(self._account))
        writer = asyncio.create_task(self._write(call), name="graph-session-writer")
        try:
            async for response in call:
                self._heard = True
                self._take(response)
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await writer
            call.cancel()

    async def _write(self, call: Any) -> None:
        while True:
            while self._outbox:
                await call.write(self._outbox.popleft())
            self._wake.clear()
            await self._wake.wait()

    def _repeat(self) -> None:
        """What a new stream has to be told."""
        self._outbox.clear()
        self._early.clear()
        for sequence, batch in self._unanswered.items():
            self._outbox.append(task_pb2.SessionRequest(sequence=sequence, submit=batch.request))
        self._follow_again()

    def _take(self, response: task_pb2.SessionResponse) -> None:
        batch = self._unanswered.pop(response.sequence, None) if response.sequence else None
        if batch is not None and response.HasField("submitted"):
            tasks = list(response.submitted.task_ids)
            self._listener.on_accepted(self._account, batch, tasks)
            known = [self._early.pop(task) for task in tasks if task in self._early]
            self._open.update(tasks)
            if not self._unanswered:
                self._early.clear()
            if known:
                self._tell(known)
        elif batch is not None and response.HasField("refused"):
            self._refused(batch, response.refused)
        elif response.HasField("refused"):
            # A request to follow: nothing of it was done.
            _log.warning("follow_refused", account=self._account, why=response.refused.message)
            asyncio.get_running_loop().call_later(REPEAT_S, self._follow_again)
        if response.HasField("outcomes"):
            self._tell(response.outcomes.outcomes)
        unknown = [task for task in response.unknown_task_ids if task in self._open]
        if unknown:
            self._open.difference_update(unknown)
            self._listener.on_unknown(self._account, unknown)

    def _follow_again(self) -> None:
        self.follow(sorted(self._open))

    def _refused(self, batch: Batch, refusal: task_pb2.Refusal) -> None:
        if refusal.code in _AGAIN:
            asyncio.get_running_loop().call_later(REPEAT_S, self.submit, batch)
            return
        self._listener.on_refused(self._account, batch, refusal)

    def _tell(self, outcomes: Sequence[task_pb2.TaskOutcome]) -> None:
        known = []
        for outcome in outcomes:
            if outcome.task_id in self._open:
                self._open.discard(outcome.task_id)
                known.append(outcome)
            elif self._unanswered:
                self._early[outcome.task_id] = outcome
        if known:
            self._listener.on_outcomes(self._account, known)


class Scheduler:
    """Everything that is asked of the scheduler."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._tasks = task_pb2_grpc.TaskServiceStub(channel)
        self._contacts = contact_pb2_grpc.ContactServiceStub(channel)

    def session(self, account: str, listener: Listener) -> Session:
        return Session(self._channel, account, listener)

    async def cancel(self, account: str, tasks: Sequence[str]) -> None:
        """Asks them to end, all or, where one is not there, none. Idempotent. Raises YardError."""
        request = task_pb2.CancelTasksRequest(task_ids=tasks, comment="its run ended")
        try:
            await self._tasks.CancelTasks(request, metadata=on_behalf_of(account), timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def made_by(self, account: str, request: task_pb2.SubmitTasksRequest) -> Sequence[str]:
        """Tasks of a submission of which it is not known whether it arrived; they are not to start. Raises YardError.

        Under its id the tasks are asked for as held ones: refused means that it arrived, and its tasks are told; else
        they are made now, held. Idempotent.
        """
        held = task_pb2.SubmitTasksRequest()
        held.CopyFrom(request)
        for spec in held.specs:
            spec.hold = True
        try:
            return await self._submit(account, held)
        except YardError as error:
            if error.reason != ID_REUSED:
                raise
        return await self._submit(account, request)

    async def _submit(self, account: str, request: task_pb2.SubmitTasksRequest) -> Sequence[str]:
        try:
            answer = await self._tasks.SubmitTasks(request, metadata=on_behalf_of(account), timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return answer.task_ids

    async def notify(self, account: str, request: contact_pb2.NotifyRequest) -> Sequence[str]:
        """Puts a message into the outbox, or (validate_only) asks whether it could; contacts that are told.

        Idempotent. Raises YardError.
        """
        try:
            answer = await self._contacts.Notify(request, metadata=on_behalf_of(account), timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return [delivery.contact for delivery in answer.deliveries]


class Artifacts:
    """What is asked of the store, always for an account."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = artifact_pb2_grpc.ArtifactServiceStub(channel)

    async def hold(self, account: str, holder: str, digests: Sequence[str]) -> None:
        """The holder refers to them; none: to nothing any more. Idempotent. Raises YardError."""
        try:
            if not digests:
                remove = artifact_pb2.RemoveReferencesRequest(holder=holder)
                await self._stub.RemoveReferences(remove, timeout=CALL_S)
            for start in range(0, len(digests), REFERENCES_MOST):
                some = digests[start : start + REFERENCES_MOST]
                request = artifact_pb2.AddReferencesRequest(account=account, holder=holder, digests=some)
                await self._stub.AddReferences(request, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def put(self, account: str, data: bytes, holder: str) -> str:
        """Keeps the bytes; their digest. Idempotent. Raises YardError."""
        digest = sha256(data).hexdigest()

        async def parts() -> AsyncIterator[artifact_pb2.PutArtifactRequest]:
            header = artifact_pb2.PutArtifactHeader(
                digest=digest, size_bytes=len(data), account=account, holder=holder, name="inputs.json"
            )
            yield artifact_pb2.PutArtifactRequest(header=header)
            for start in range(0, len(data), CHUNK_BYTES):
                yield artifact_pb2.PutArtifactRequest(chunk=data[start : start + CHUNK_BYTES])

        try:
            await self._stub.PutArtifact(parts())
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return digest

    async def read(self, account: str, digest: str, bytes_most: int) -> bytes:
        """The bytes of a small artefact. Raises YardError; ValueError where it is larger."""
        found = bytearray()
        try:
            call = self._stub.GetArtifact(artifact_pb2.GetArtifactRequest(digest=digest, account=account))
            async for part in call:
                found += part.chunk
                if len(found) > bytes_most:
                    raise ValueError(f"the artefact has more than {bytes_most} bytes")
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return bytes(found)
