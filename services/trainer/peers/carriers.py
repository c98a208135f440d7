"""How the trainer's errands are done: seats that nobody wants are cancelled. Files are kept by `chassis.references`."""

from collections.abc import Sequence

import grpc.aio
import msgspec

from modelyard.errors import from_rpc_error
from modelyard.v1 import task_pb2, task_pb2_grpc
from services.chassis.peers.sessions import on_behalf_of
from services.chassis.steps.errands import Errand, one_by_one

CALL_S = 20.0
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
