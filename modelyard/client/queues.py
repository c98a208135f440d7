"""`client.queues`: in which order accounts share the machines."""

from __future__ import annotations

from functools import cached_property
from typing import Unpack

from modelyard.client.connection import Connection, new_request_id
from modelyard.client.sharing import QueueChanges, fill_queue
from modelyard.v1 import queue_pb2, queue_pb2_grpc


class Queues:
    """The queues that tasks wait in; changed by administrators."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def _stub(self) -> queue_pb2_grpc.QueueServiceAsyncStub:
        return queue_pb2_grpc.QueueServiceStub(self._connection.scheduler())

    async def add(self, name: str, **settings: Unpack[QueueChanges]) -> queue_pb2.Queue:
        """Makes a queue."""
        request = queue_pb2.CreateQueueRequest(request_id=new_request_id(), queue=queue_pb2.Queue(name=name))
        fill_queue(request.queue, settings)
        return (await self._connection.unary(self._stub.CreateQueue, request)).queue

    async def get(self, name: str) -> queue_pb2.Queue:
        """One queue with what is held, what waits, and the shares of those who use it."""
        return (await self._connection.unary(self._stub.GetQueue, queue_pb2.GetQueueRequest(name=name))).queue

    async def list(self, *, page_size: int = 0, page_token: str = "") -> queue_pb2.ListQueuesResponse:
        """One page of queues, by name."""
        request = queue_pb2.ListQueuesRequest(page_size=page_size, page_token=page_token)
        return await self._connection.unary(self._stub.ListQueues, request)

    async def set(self, name: str, **changes: Unpack[QueueChanges]) -> queue_pb2.Queue:
        """Changes what is named here; the rest stays."""
        request = queue_pb2.UpdateQueueRequest(request_id=new_request_id(), queue=queue_pb2.Queue(name=name))
        request.update_mask.paths.extend(fill_queue(request.queue, changes))
        return (await self._connection.unary(self._stub.UpdateQueue, request)).queue

    async def remove(self, name: str) -> None:
        """Ends a queue. Refused while unfinished tasks are in it, and for "default"."""
        request = queue_pb2.DeleteQueueRequest(request_id=new_request_id(), name=name)
        await self._connection.unary(self._stub.DeleteQueue, request)
