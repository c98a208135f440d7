"""Whom the scheduler tells on behalf of an account: services ask whether somebody can be told, and hand messages over.

The scheduler has the contacts and the outbox; an event that it was told of it does not tell again.
"""

from collections.abc import Awaitable, Callable

import grpc.aio

from modelyard.errors import YardError, from_rpc_error
from modelyard.v1 import contact_pb2, contact_pb2_grpc, task_pb2
from services.chassis.peers.passing import passed_on
from services.chassis.peers.sessions import on_behalf_of

CALL_S = 20.0

Message = Callable[[], Awaitable[contact_pb2.NotifyRequest]]
"""Puts what happened into words; only called where somebody is told."""


class Contacts:
    """Contacts of accounts, as other services see them."""

    def __init__(self, scheduler: grpc.aio.Channel) -> None:
        self._stub = contact_pb2_grpc.ContactServiceStub(scheduler)

    async def check(self, account: str, notification: task_pb2.Notification) -> None:
        """Whether those that a request names can be told. Raises as a submission of a task would.

        Asks nobody where none is named.
        """
        if notification == task_pb2.Notification():
            return
        asked = contact_pb2.NotifyRequest(notification=notification, validate_only=True)
        try:
            await self._notify(account, asked)
        except YardError as error:
            raise passed_on(error) from error

    async def tell(
        self,
        account: str,
        notification: task_pb2.Notification,
        event: task_pb2.NotificationEvent.ValueType,
        message: Message,
    ) -> None:
        """Puts a message into the outbox; idempotent by its event id. Raises YardError.

        Most accounts have nobody to tell: nothing is read and put into words for them.
        """
        asked = contact_pb2.NotifyRequest(notification=notification, event=event, validate_only=True)
        if (await self._notify(account, asked)).deliveries:
            await self._notify(account, await message())

    async def _notify(self, account: str, request: contact_pb2.NotifyRequest) -> contact_pb2.NotifyResponse:
        try:
            return await self._stub.Notify(request, metadata=on_behalf_of(account), timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
