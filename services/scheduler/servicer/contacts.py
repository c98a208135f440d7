"""ContactService: where people are told how their work ended, and what was sent to them (S0.8)."""

import uuid
from collections.abc import Iterable
from typing import Any

from modelyard.v1 import contact_pb2 as pb
from modelyard.v1 import contact_pb2_grpc
from services.chassis.requests.paging import PageTokenInvalid, decode_token, encode_token, page_size
from services.chassis.security import ADMIN, Principal, principal
from services.scheduler.intake.answers import Answers
from services.scheduler.intake.specs import NAME
from services.scheduler.intake.submission import check_request_id
from services.scheduler.model import parse_task_id
from services.scheduler.notification import event_id
from services.scheduler.notify import notices, telling
from services.scheduler.notify.contacts import Contacts
from services.scheduler.notify.deliveries import Deliveries
from services.scheduler.notify.messages import Messages
from services.scheduler.notify.model import (
    Contact,
    ContactUrlInvalid,
    Delivery,
    DeliveryNotFound,
    DeliveryState,
    NotifyNotInstalled,
)
from services.scheduler.notify.notices import events_in, events_of
from services.scheduler.notify.outbox import Outbox
from services.scheduler.notify.pool import SenderPool
from services.scheduler.notify.schemes import WEBHOOKS, check_url
from services.scheduler.reading.views import timestamp_of
from services.scheduler.refusals import InvalidRequest, NotYourAccount

# Shorter than the longest unary call: where the service is slower the answer says that it is pending.
TEST_S = 25.0
TEST_TITLE = "Test message of your yard"


class ContactServicer(contact_pb2_grpc.ContactServiceServicer):
    """Callers see and change contacts of their own account; administrators every account's."""

    def __init__(
        self,
        contacts: Contacts,
        deliveries: Deliveries,
        messages: Messages,
        outbox: Outbox,
        pool: SenderPool,
        answers: Answers,
    ) -> None:
        self._contacts = contacts
        self._deliveries = deliveries
        self._messages = messages
        self._outbox = outbox
        self._pool = pool
        self._answers = answers

    async def CreateContact(self, request: pb.CreateContactRequest, context: Any) -> pb.CreateContactResponse:
        check_request_id(request.request_id)
        account = _account(principal(), request.account)
        if not NAME.fullmatch(request.name):
            raise InvalidRequest(
                f"{request.name[:80]!r} is not a contact's name", field="name",
                next_step="letters, digits, '_', '-' and '.', beginning with a letter",
            )  # fmt: skip
        scheme = check_url(request.url)
        default_for = _events(request.default_for)
        if scheme not in WEBHOOKS:
            await self._check(request.url)
        kept = self._answers.keep(_created)
        made = await self._contacts.create(account, request.name, scheme, request.url, default_for, kept)
        return _created(made)

    async def _check(self, url: str) -> None:
        """What the library thinks of a URL."""
        answer = await self._pool.ask({"op": "check", "url": url})
        if answer.missing:
            raise NotifyNotInstalled(
                field="url", next_step="on the scheduler's machine: pip install 'modelyard[notify]'; or use jsons://",
            )  # fmt: skip
        if not answer.ok:
            raise ContactUrlInvalid(
                answer.error, field="url", next_step="docs/contacts.md shows one for each service"
            )

    async def GetContact(self, request: pb.GetContactRequest, context: Any) -> pb.GetContactResponse:
        return pb.GetContactResponse(contact=_contact(await self._get(request.account, request.name)))

    async def ListContacts(self, request: pb.ListContactsRequest, context: Any) -> pb.ListContactsResponse:
        account = _account(principal(), request.account)
        size, key = page_size(request.page_size), b"contacts " + account.encode()
        rows = await self._contacts.list(account, decode_token(request.page_token, key), size + 1)
        token = encode_token(rows[size - 1].name, key) if len(rows) > size else ""
        return pb.ListContactsResponse(contacts=map(_contact, rows[:size]), next_page_token=token)

    async def SetDefaultContact(
        self, request: pb.SetDefaultContactRequest, context: Any
    ) -> pb.SetDefaultContactResponse:
        check_request_id(request.request_id)
        contact = await self._get(request.account, request.name)
        kept = self._answers.keep(_changed)
        changed = await self._contacts.set_default(contact, _events(request.default_for), kept)
        return _changed(changed)

    async def TestContact(self, request: pb.TestContactRequest, context: Any) -> pb.TestContactResponse:
        check_request_id(request.request_id)
        contact = await self._get(request.account, request.name)
        event = event_id(contact.id, f"test {request.request_id or uuid.uuid4()}")
        await self._deliveries.add_test(contact, event, TEST_TITLE)
        if (await self._deliveries.get(event)).state == DeliveryState.PENDING:
            await self._outbox.attempt(event, contact.id, TEST_S)
        return pb.TestContactResponse(
            contact=_contact(await self._contacts.get(contact.account, contact.name)),
            delivery=_delivery(await self._deliveries.get(event)),
        )

    async def DeleteContact(self, request: pb.DeleteContactRequest, context: Any) -> pb.DeleteContactResponse:
        check_request_id(request.request_id)
        contact = await self._get(request.account, request.name)
        kept = self._answers.keep(_deleted)
        return _deleted(await self._contacts.delete(contact, kept))

    async def ListDeliveries(
        self, request: pb.ListDeliveriesRequest, context: Any
    ) -> pb.ListDeliveriesResponse:
        account = _account(principal(), request.account)
        subject = _subject(request)
        for state in request.states:
            if int(state) not in {int(known) for known in DeliveryState}:
                raise InvalidRequest(f"states: {state} is not a state", field="states")
        size = page_size(request.page_size)
        wanted = pb.ListDeliveriesRequest()
        wanted.CopyFrom(request)
        wanted.ClearField("page_token")
        wanted.ClearField("page_size")
        key = account.encode() + b" " + wanted.SerializeToString(deterministic=True)
        before = _position(decode_token(request.page_token, key))
        rows = await self._deliveries.list(
            account, before, size + 1, request.contact, subject, request.states
        )
        token = encode_token(str(rows[size - 1].number), key) if len(rows) > size else ""
        return pb.ListDeliveriesResponse(deliveries=map(_delivery, rows[:size]), next_page_token=token)

    async def ReplayDelivery(
        self, request: pb.ReplayDeliveryRequest, context: Any
    ) -> pb.ReplayDeliveryResponse:
        check_request_id(request.request_id)
        caller = principal()
        delivery = await self._deliveries.get(request.event_id)
        if delivery.account != caller.account and caller.role != ADMIN:
            raise DeliveryNotFound(
                f"there is no delivery {request.event_id[:80]!r}", field="event_id",
                next_step="yard contacts deliveries",
            )  # fmt: skip
        # A contact of the same name that was made later is another one.
        contact = await self._contacts.get(delivery.account, delivery.contact)
        if contact.id != delivery.contact_id:
            raise InvalidRequest(
                f"the contact {delivery.contact} of then was deleted", field="event_id",
                next_step="what is told to a contact is not told to another",
            )  # fmt: skip
        replayed = await self._deliveries.replay(delivery)
        self._outbox.wake((delivery.contact_id,))
        return pb.ReplayDeliveryResponse(delivery=_delivery(replayed))

    async def Notify(self, request: pb.NotifyRequest, context: Any) -> pb.NotifyResponse:
        account = principal().account
        check_request_id(request.request_id)
        notice = notices.convert(request.notification)
        if request.validate_only:
            event = notices.events_of(filter(None, [request.event]), "event")
            names = await self._messages.who(account, notice, event)
            return pb.NotifyResponse(deliveries=[pb.ContactDelivery(contact=name) for name in names])
        event = notices.event_of(request.event, "event")
        message = telling.message(account, request)
        told = await self._messages.add(message, notice, event, self._answers.keep(_notified))
        self._outbox.wake(row.contact_id for row in told if row.state == DeliveryState.PENDING)
        return _notified(told)

    async def _get(self, account: str, name: str) -> Contact:
        return await self._contacts.get(_account(principal(), account), name)


def _account(caller: Principal, asked: str) -> str:
    if asked and asked != caller.account and caller.role != ADMIN:
        raise NotYourAccount(f"{asked[:80]} is not your account", field="account")
    return asked or caller.account


def _subject(request: pb.ListDeliveriesRequest) -> str:
    """The task, the run … that is asked for; empty: any."""
    if request.task_id:
        parse_task_id(request.task_id)
    if request.task_id and request.subject and request.task_id != request.subject:
        raise InvalidRequest(
            "task_id and subject name two things", field="subject", next_step="leave one of them out"
        )
    return request.subject or request.task_id


def _events(events: Iterable[int]) -> int:
    return int(events_of(events, "default_for"))


def _position(cursor: str) -> int:
    if not cursor:
        return 1 << 62
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise PageTokenInvalid(field="page_token")
    return int(cursor)


def _created(made: tuple[Contact, str]) -> pb.CreateContactResponse:
    contact, secret = made
    return pb.CreateContactResponse(contact=_contact(contact), secret=secret)


def _changed(contact: Contact) -> pb.SetDefaultContactResponse:
    return pb.SetDefaultContactResponse(contact=_contact(contact))


def _deleted(cancelled_count: int) -> pb.DeleteContactResponse:
    return pb.DeleteContactResponse(cancelled_count=cancelled_count)


def _notified(told: list[Delivery]) -> pb.NotifyResponse:
    return pb.NotifyResponse(deliveries=map(_delivery, told))


def _contact(row: Contact) -> pb.Contact:
    return pb.Contact(
        name=row.name, account=row.account, scheme=row.scheme, address=row.address,
        create_time=timestamp_of(row.create_ms), verify_time=timestamp_of(row.verify_ms),
        default_for=events_in(row.default_for),
    )  # fmt: skip


def _delivery(row: Delivery) -> pb.ContactDelivery:
    return pb.ContactDelivery(
        event_id=row.event_id, contact=row.contact, subject=row.subject,
        task_id=row.subject if row.subject.startswith("t-") else "",
        state=pb.ContactDeliveryState.ValueType(row.state), attempt_count=row.attempt_count,
        create_time=timestamp_of(row.create_ms), attempt_time=timestamp_of(row.attempt_ms),
        next_attempt_time=timestamp_of(row.next_ms) if row.state == DeliveryState.PENDING else None,
        error=row.error, title=row.title,
    )  # fmt: skip
