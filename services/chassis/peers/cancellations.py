"""Tasks that nobody needs any more are cancelled, as errands."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import grpc.aio

from modelyard.errors import from_rpc_error
from modelyard.v1 import task_pb2, task_pb2_grpc
from services.chassis.peers.sessions import on_behalf_of
from services.chassis.steps.errands import Errand, one_by_one

CALL_S = 20.0


class Cancellations:
    """Of tasks wherever they are; those that have ended stay as they are. `tasks_of` reads what an errand says, `why`
    is the comment that tasks are cancelled with."""

    def __init__(
        self, scheduler: grpc.aio.Channel, tasks_of: Callable[[bytes], Sequence[str]], why: str
    ) -> None:
        self._tasks = task_pb2_grpc.TaskServiceStub(scheduler)
        self._tasks_of = tasks_of
        self._why = why

    async def carry(self, account: str, errands: Sequence[Errand]) -> None:
        """One by one: a task that the scheduler has forgotten refuses those with it."""
        await one_by_one(errands, lambda one: self._cancel(account, self._tasks_of(one.content)))

    async def _cancel(self, account: str, tasks: Sequence[str]) -> None:
        request = task_pb2.CancelTasksRequest(task_ids=tasks, comment=self._why)
        try:
            await self._tasks.CancelTasks(request, metadata=on_behalf_of(account), timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
