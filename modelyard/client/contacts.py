"""`client.contacts`: where people are told how their work ended, and what was sent to them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from modelyard.client.connection import Connection, new_request_id
from modelyard.client.specs import InvalidSpecification, events
from modelyard.v1 import contact_pb2, contact_pb2_grpc

STATES = {
    "pending": contact_pb2.CONTACT_DELIVERY_STATE_PENDING,
    "delivered": contact_pb2.CONTACT_DELIVERY_STATE_DELIVERED,
    "dead": contact_pb2.CONTACT_DELIVERY_STATE_DEAD,
}
# A service may take its time to take a test message.
TEST_TIMEOUT_S = 30.0


class Contacts:
    """The contacts of an account; ``account`` of others is for administrators. Raises YardError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def _stub(self) -> contact_pb2_grpc.ContactServiceAsyncStub:
        return contact_pb2_grpc.ContactServiceStub(self._connection.scheduler())

    async def add(
        self, name: str, url: str, *, default: str = "", account: str = ""
    ) -> contact_pb2.CreateContactResponse:
        """Makes a contact; the key that signs a webhook's messages is in this answer and nowhere else.

        ``default``: "success", "failure", "both", "gates", or several with commas between: of what it is told where
        work names no contact. It is told nothing at all before `test` went well.
        """
        request = contact_pb2.CreateContactRequest(
            request_id=new_request_id(),
            name=name,
            url=url,
            account=account,
            default_for=events(default, "default_for"),
        )
        return await self._connection.unary(self._stub.CreateContact, request)

    async def get(self, name: str, *, account: str = "") -> contact_pb2.Contact:
        """One contact, without its credentials."""
        request = contact_pb2.GetContactRequest(name=name, account=account)
        return (await self._connection.unary(self._stub.GetContact, request)).contact

    async def list(
        self, *, page_size: int = 0, page_token: str = "", account: str = ""
    ) -> contact_pb2.ListContactsResponse:
        """One page of contacts, by name."""
        request = contact_pb2.ListContactsRequest(page_size=page_size, page_token=page_token, account=account)
        return await self._connection.unary(self._stub.ListContacts, request)

    async def set_default(self, name: str, default: str = "", *, account: str = "") -> contact_pb2.Contact:
        """Makes it the account's default for "success", "failure", "both", "gates" …, or for nothing."""
        request = contact_pb2.SetDefaultContactRequest(
            request_id=new_request_id(),
            name=name,
            account=account,
            default_for=events(default, "default_for"),
        )
        return (await self._connection.unary(self._stub.SetDefaultContact, request)).contact

    async def test(self, name: str, *, account: str = "") -> contact_pb2.TestContactResponse:
        """Sends a test message; where it is taken the contact is verified."""
        request = contact_pb2.TestContactRequest(request_id=new_request_id(), name=name, account=account)
        return await self._connection.unary(self._stub.TestContact, request, TEST_TIMEOUT_S)

    async def remove(self, name: str, *, account: str = "") -> int:
        """Deletes a contact; how many messages were still to be sent to it and now never are."""
        request = contact_pb2.DeleteContactRequest(request_id=new_request_id(), name=name, account=account)
        return (await self._connection.unary(self._stub.DeleteContact, request)).cancelled_count

    async def deliveries(
        self,
        *,
        contact: str = "",
        task_id: str = "",
        run_id: str = "",
        subject: str = "",
        states: Sequence[str] = (),
        page_size: int = 0,
        page_token: str = "",
        account: str = "",
    ) -> contact_pb2.ListDeliveriesResponse:
        """One page of what was sent, is to be sent or could not be sent, newest first.

        ``subject``: what it is about, of whatever kind: "j-7", or ``Answer.notice`` of a call.
        """
        unknown = [state for state in states if state not in STATES]
        if unknown:
            raise InvalidSpecification(f"{unknown[0]!r} is no state; choose of {', '.join(STATES)}", "states")
        request = contact_pb2.ListDeliveriesRequest(
            contact=contact, task_id=task_id, subject=run_id or subject, states=[STATES[state] for state in states],
            page_size=page_size, page_token=page_token, account=account,
        )  # fmt: skip
        return await self._connection.unary(self._stub.ListDeliveries, request)

    async def replay(self, event_id: str) -> contact_pb2.ContactDelivery:
        """Sends a message again under its event id, or takes one up again that was given up."""
        request = contact_pb2.ReplayDeliveryRequest(request_id=new_request_id(), event_id=event_id)
        return (await self._connection.unary(self._stub.ReplayDelivery, request)).delivery
