"""How the trainer's errands are done: seats that nobody wants are cancelled, files are kept in the store or let go."""

from collections.abc import Sequence

import grpc.aio
import msgspec

from modelyard.errors import from_rpc_error
from modelyard.v1 import artifact_pb2, artifact_pb2_grpc, task_pb2, task_pb2_grpc
from services.chassis.errands import Errand, one_by_one
from services.chassis.sessions import on_behalf_of

CALL_S = 20.0
_REFERENCES = msgspec.msgpack.Decoder(tuple[str, tuple[str, ...]])
_TASKS = msgspec.msgpack.Decoder(tuple[str, ...])


class Cancellations:
    """Tasks of seats, wherever they are; those that have ended stay as they are."""

    def __init__(self, scheduler: grpc.aio.Channel) -> None:
        self._tasks = task_pb2_grpc.TaskServiceStub(scheduler)

    async def carry(self, account: str, errands: Sequence[Errand]) -> None:
        """One by one: a task that the scheduler has forgotten refuses those with it."""
        await one_by_one(errands, lambda one: self._cancel(account, _TASKS.decode(one.content)))

    async def _cancel(self, account: str, tasks: Sequence[str]) -> None:
        request = task_pb2.CancelTasksRequest(task_ids=tasks, comment="its job wants no place any more")
        try:
            await self._tasks.CancelTasks(request, metadata=on_behalf_of(account), timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error


class References:
    """In their order: what a holder lets go of it may have been given just before."""

    def __init__(self, store: grpc.aio.Channel) -> None:
        self._artifacts = artifact_pb2_grpc.ArtifactServiceStub(store)

    async def carry(self, account: str, errands: Sequence[Errand]) -> None:
        """One by one: a file that is gone refuses those with it."""
        await one_by_one(errands, lambda one: self._hold(account, *_REFERENCES.decode(one.content)))

    async def _hold(self, account: str, holder: str, digests: tuple[str, ...]) -> None:
        try:
            if digests:
                wanted = artifact_pb2.AddReferencesRequest(account=account, holder=holder, digests=digests)
                await self._artifacts.AddReferences(wanted, timeout=CALL_S)
            else:
                left = artifact_pb2.RemoveReferencesRequest(holder=holder)
                await self._artifacts.RemoveReferences(left, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
