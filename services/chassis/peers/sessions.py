"""One account's stream to the scheduler, for services that submit tasks on behalf of accounts.

A session resubmits what was not answered under the same request ids and follows what is open, for as long as the
process lives; so a scheduler that restarts costs time only. Calls carry the service's token and name the account.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

import grpc
import grpc.aio

from modelyard.channel import ACCOUNT_KEY
from modelyard.v1 import task_pb2, task_pb2_grpc
from services.chassis.logs import get_logger

FOLLOW_MOST = 2_000
# The scheduler is there, but not yet or not now.
_AGAIN = frozenset({grpc.StatusCode.UNAVAILABLE.value[0], grpc.StatusCode.DEADLINE_EXCEEDED.value[0]})
_SLOWEST_S = 2.0
REPEAT_S = 1.0
"""Before what was refused for now is asked again."""

_log = get_logger("chassis.sessions")


def on_behalf_of(account: str) -> tuple[tuple[str, str], ...]:
    """Metadata of a call for an account."""
    return ((ACCOUNT_KEY, account),)


class Submission(Protocol):
    """A submission that is on disk, with the id under which it is repeated."""

    @property
    def request(self) -> task_pb2.SubmitTasksRequest: ...


B = TypeVar("B", bound=Submission)
Heard = TypeVar("Heard", bound=Submission, contravariant=True)


class Listener(Protocol[Heard]):
    """Hears what becomes of batches; called on the event loop, must not block."""

    def on_accepted(self, account: str, batch: Heard, tasks: Sequence[str]) -> None: ...
    def on_refused(self, account: str, batch: Heard, refusal: task_pb2.Refusal) -> None: ...
    def on_outcomes(self, account: str, outcomes: Sequence[task_pb2.TaskOutcome]) -> None: ...
    def on_unknown(self, account: str, tasks: Sequence[str]) -> None: ...


class Session(Generic[B]):
    """One account's stream to the scheduler."""

    def __init__(self, channel: grpc.aio.Channel, account: str, listener: Listener[B]) -> None:
        self._stub = task_pb2_grpc.TaskServiceStub(channel)
        self._account = account
        self._listener = listener
        self._sequence = 0
        self._unanswered: dict[int, B] = {}
        self._open: set[str] = set()
        self._early: dict[str, task_pb2.TaskOutcome] = {}
        self._outbox: deque[task_pb2.SessionRequest] = deque()
        self._wake = asyncio.Event()
        self._heard = False

    def submit(self, batch: B) -> None:
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
        writer = asyncio.create_task(self._write(call), name="session-writer")
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

    def _refused(self, batch: B, refusal: task_pb2.Refusal) -> None:
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
