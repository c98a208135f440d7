"""How a call's result reaches a contact: pictures into the store, the message onto our disk, then to the scheduler.

The scheduler has the contacts and the outbox; an event that it was told of it does not tell again.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc.aio

from modelyard.artifacts import put_bytes
from modelyard.errors import YardError
from modelyard.v1 import contact_pb2, task_pb2
from services.chassis.peers import notice
from services.chassis.peers.contacts import Contacts
from services.chassis.steps.errands import Errand, Errands, one_by_one
from services.chassis.storage.sqlite import Database
from services.models.calls.notice import Drawn

KIND = "calls.notice"


class Notices:
    """People of `calls/telling.py`, and the carrier of what they are told."""

    def __init__(
        self, contacts: Contacts, store: grpc.aio.Channel, database: Database, errands: Errands
    ) -> None:
        self._contacts = contacts
        self._store = store
        self._database = database
        self._errands = errands

    async def check(self, account: str, contact: str) -> None:
        """Whether it exists and was verified. Raises as a submission of a task would."""
        await self._contacts.check(account, task_pb2.Notification(contact=contact))

    async def tell(self, account: str, request: contact_pb2.NotifyRequest, files: Sequence[Drawn]) -> str:
        """See People. Pictures that the store does not take stay behind."""
        wrong = ""
        for file in files:
            try:
                kept = await put_bytes(
                    self._store,
                    file.content,
                    name=file.name,
                    account=account,
                    media_type=file.content_type,
                )
            except YardError as error:
                wrong = f"{file.name} does not go along: {error.message}"
                continue
            request.outputs.append(notice.file_of(file.name, kept.digest, len(file.content)))
        errand = self._errands.take(KIND, account, request.SerializeToString())
        await self._database.write(lambda c: self._errands.write(c, (errand,)), is_small=True)
        self._errands.owe((errand,))
        return wrong

    async def carry(self, account: str, errands: Sequence[Errand]) -> None:
        """In the order in which they were accepted."""
        await one_by_one(errands, lambda one: self._carry(account, one.content))

    async def _carry(self, account: str, content: bytes) -> None:
        request = contact_pb2.NotifyRequest.FromString(content)

        async def ready() -> contact_pb2.NotifyRequest:
            return request

        await self._contacts.tell(account, request.notification, request.event, ready)
