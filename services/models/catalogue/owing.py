"""What a step wants of scheduler and store, as errands: their rows go with the step's, and stay until they are done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

import grpc.aio
import msgspec

from modelyard.errors import from_rpc_error
from modelyard.v1 import task_pb2, task_pb2_grpc
from services.chassis.peers.sessions import on_behalf_of
from services.chassis.steps.errands import Errand, Errands, one_by_one
from services.models.catalogue import effects as e

CALL_S = 20.0
_PACK = msgspec.msgpack.Encoder().encode
_TASK = msgspec.msgpack.Decoder(str)


class Kind(StrEnum):
    """Also the text in the table."""

    CANCELLATION = "catalogue.cancellation"
    """Work that nobody needs."""
    REFERENCES = "catalogue.references"
    """What the store keeps for a version, or lets go."""


def owed(wishes: Iterable[e.Wish], errands: Errands) -> list[Errand]:
    """New errands, to be handed over once their rows are on disk."""
    found = []
    for wish in wishes:
        if isinstance(wish, e.Cancel):
            found.append(errands.take(Kind.CANCELLATION, wish.account, _PACK(wish.task)))
        elif isinstance(wish, e.Hold):
            found.append(errands.take(Kind.REFERENCES, wish.account, _PACK((wish.holder, wish.digests))))
    return found


class Cancellations:
    """Tasks, wherever they are; those that have ended stay as they are."""

    def __init__(self, scheduler: grpc.aio.Channel) -> None:
        self._tasks = task_pb2_grpc.TaskServiceStub(scheduler)

    async def carry(self, account: str, errands: Sequence[Errand]) -> None:
        await one_by_one(errands, lambda one: self._cancel(account, _TASK.decode(one.content)))

    async def _cancel(self, account: str, task: str) -> None:
        request = task_pb2.CancelTasksRequest(task_ids=[task], comment="its version needs it no more")
        try:
            await self._tasks.CancelTasks(request, metadata=on_behalf_of(account), timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
