"""Contacts over real gRPC, with real senders, against real web and mail servers that fail in every way (S0.8)."""

from __future__ import annotations

import asyncio
import hmac
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import grpc.aio
import pytest

from modelyard.errors import from_rpc_error
from modelyard.v1 import contact_pb2 as pb
from modelyard.v1 import task_pb2
from modelyard.v1.account_pb2 import ROLE_VIEWER, DeleteAccountRequest
from tests.support.receiver import HANG, mailbox, receiver
from tests.support.scheduler_service import Client, SchedulerYard, command, refusal, scheduler_yard
from tests.support.scripted_agent import connected, succeed

pytestmark = pytest.mark.asyncio

BOTH = [task_pb2.NOTIFICATION_EVENT_SUCCEEDED, task_pb2.NOTIFICATION_EVENT_FAILED]
DELIVERED, DEAD = pb.CONTACT_DELIVERY_STATE_DELIVERED, pb.CONTACT_DELIVERY_STATE_DEAD


@asynccontextmanager
async def yard_of(
    tmp_path: Path, allow: str = "127.0.0.0/8", **hello: object
) -> AsyncIterator[SchedulerYard]:
    """A yard whose one agent succeeds in everything, and that may tell this machine."""
    options = {"notify_allow": allow, "notify_backoff_s": 0.05}
    async with scheduler_yard(tmp_path, **options) as yard, connected(yard, script=succeed, **hello):
        yield yard


async def add(client: Client, name: str, url: str, **fields: object) -> pb.CreateContactResponse:
    return await client.contacts.CreateContact(pb.CreateContactRequest(name=name, url=url, **fields))  # type: ignore[arg-type]


async def verified(client: Client, name: str, url: str, **fields: object) -> str:
    """Adds a contact and has it verified; its secret."""
    secret = (await add(client, name, url, **fields)).secret
    answer = await client.contacts.TestContact(pb.TestContactRequest(name=name))
    assert answer.delivery.state == DELIVERED, answer.delivery.error
    assert answer.contact.HasField("verify_time")
    return secret


async def settled(client: Client, count: int, **wanted: object) -> list[pb.ContactDelivery]:
    """The deliveries, once so many are no longer pending."""
    request = pb.ListDeliveriesRequest(**wanted)  # type: ignore[arg-type]
    async with asyncio.timeout(20):
        while True:
            found = list((await client.contacts.ListDeliveries(request)).deliveries)
            if sum(d.state != pb.CONTACT_DELIVERY_STATE_PENDING for d in found) >= count:
                return found
            await asyncio.sleep(0.02)


def named(contact: str) -> task_pb2.TaskSpec:
    return command(notification=task_pb2.Notification(contact=contact))


async def test_webhook_is_signed_and_tells_how_the_task_ended(tmp_path: Path) -> None:  # S0.8
    async with yard_of(tmp_path) as yard, receiver() as hook:
        ada = await yard.user("ada")
        secret = await verified(ada, "hook", hook.url)
        [task_id] = await ada.submit(command(name="fit", notification=task_pb2.Notification(contact="hook")))
        _, message = await hook.wait(2)
        signature = hmac.new(secret.encode(), message.body, sha256).hexdigest()
        assert message.headers["x-yard-signature"] == f"sha256={signature}"
        document = message.document
        assert (document["event"], document["event_id"]) == ("task.succeeded", message.event_id)
        assert (document["task"]["id"], document["task"]["node"]) == (task_id, "n0")
        (delivery,) = await settled(ada, 1, task_id=task_id)
        assert (delivery.state, delivery.attempt_count, delivery.event_id) == (DELIVERED, 1, message.event_id)


async def test_task_that_names_a_contact_without_test_message_is_refused(tmp_path: Path) -> None:  # S0.8
    async with yard_of(tmp_path) as yard, receiver() as hook:
        ada = await yard.user("ada")
        await add(ada, "hook", hook.url, default_for=BOTH)
        refused = await refusal(ada.submit(named("hook")))
        assert (refused.reason, refused.field) == ("CONTACT_NOT_VERIFIED", "specs[0].notification.contact")
        assert refused.next_step == "yard contacts test hook"
        unknown = await refusal(ada.submit(named("other")))
        assert (unknown.reason, unknown.field) == ("CONTACT_NOT_FOUND", "specs[0].notification.contact")
        [task_id] = await ada.submit(command())
        await ada.wait(task_id)
        await ada.contacts.TestContact(pb.TestContactRequest(name="hook"))
        assert [message.document["event"] for message in hook.received] == ["test"]


async def test_message_that_was_refused_comes_again_under_its_event_id(tmp_path: Path) -> None:  # S0.8
    async with yard_of(tmp_path) as yard, receiver() as hook:
        ada = await yard.user("ada")
        await verified(ada, "hook", hook.url)
        hook.answers.extend((500, 503, 429))
        [task_id] = await ada.submit(named("hook"))
        messages = (await hook.wait(5))[1:]
        assert len({message.event_id for message in messages}) == 1
        assert len({message.body for message in messages}) == 1
        (delivery,) = await settled(ada, 1, task_id=task_id)
        assert (delivery.state, delivery.attempt_count) == (DELIVERED, 4)


async def test_service_that_is_down_gets_its_messages_when_it_is_back(tmp_path: Path) -> None:  # S0.8
    async with yard_of(tmp_path) as yard, receiver() as hook:
        ada = await yard.user("ada")
        await verified(ada, "hook", hook.url)
        await hook.stop()
        ids = await ada.submit(named("hook"), named("hook"), named("hook"))
        for task_id in ids:
            await ada.wait(task_id)
        await yard.restart()
        await hook.start()
        messages = (await hook.wait(4))[1:]
        assert {message.document["task"]["id"] for message in messages} == set(ids)
        found = await settled(ada, 4)
        assert {delivery.state for delivery in found} == {DELIVERED}


async def test_redirect_is_followed_by_neither_webhook_nor_library(tmp_path: Path) -> None:  # S0.8
    async with yard_of(tmp_path) as yard, receiver() as hook, receiver() as target:
        ada = await yard.user("ada")
        await add(ada, "hook", hook.url)
        await add(ada, "ntfy", f"ntfy://127.0.0.1:{hook.port}/topic")
        hook.location = f"http://127.0.0.1:{target.port}/metadata"
        for status in (302, 307):
            hook.answers.append(status)
            answer = await ada.contacts.TestContact(pb.TestContactRequest(name="hook"))
            assert answer.delivery.state == DEAD
            assert f"{status}, a redirect" in answer.delivery.error
            assert not answer.contact.HasField("verify_time")
            hook.answers.append(status)
            answer = await ada.contacts.TestContact(pb.TestContactRequest(name="ntfy"))
            assert answer.delivery.state == DEAD, answer
        assert len(hook.received) == 4
        assert target.received == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"]
)
async def test_private_address_is_refused_when_connecting(host: str, tmp_path: Path) -> None:  # S0.8
    async with yard_of(tmp_path, allow="192.0.2.0/24") as yard, receiver() as hook:
        ada = await yard.user("ada")
        for name, url in (
            ("own", f"json://{host}:{hook.port}/x"),
            ("library", f"gotify://{host}:{hook.port}/abcdef"),
        ):
            try:
                await add(ada, name, url)
            except grpc.aio.AioRpcError as error:
                assert from_rpc_error(error).reason == "CONTACT_URL_INVALID"
                continue
            answer = await ada.contacts.TestContact(pb.TestContactRequest(name=name))
            assert answer.delivery.state == DEAD
            assert "address" in answer.delivery.error or "resol" in answer.delivery.error, (
                answer.delivery.error
            )
        assert hook.received == []


async def test_contact_that_hangs_does_not_hold_up_others(tmp_path: Path) -> None:  # S0.8
    async with yard_of(tmp_path) as yard, receiver() as slow, receiver() as hook:
        ada, bob = await yard.user("ada"), await yard.user("bob")
        await verified(bob, "hook", hook.url)
        await verified(ada, "slow", slow.url)
        slow.answers.extend([HANG] * 10)
        await ada.submit(*[named("slow")] * 3)
        await slow.wait(2)
        await bob.submit(*[named("hook")] * 20)
        await hook.wait(21)
        assert len(slow.received) == 2


async def test_mail_says_it_all_and_is_sent_by_the_library(tmp_path: Path) -> None:  # S0.8
    pytest.importorskip("apprise")
    async with yard_of(tmp_path) as yard, mailbox() as mail:
        ada = await yard.user("ada")
        await verified(ada, "mail", mail.url)
        [task_id] = await ada.submit(command(name="fit", notification=task_pb2.Notification(contact="mail")))
        _, message = await mail.wait(2)
        assert message["Subject"] == f"fit ({task_id}) succeeded"
        assert message["To"] == "ada@example.org"
        text = message.get_payload(decode=True)
        assert isinstance(text, bytes)
        assert b"state: succeeded" in text
        (delivery,) = await settled(ada, 1, task_id=task_id)
        assert delivery.event_id.encode() in text


async def test_address_and_keys_are_neither_shown_nor_stored_in_clear(tmp_path: Path) -> None:  # S0.8
    async with yard_of(tmp_path) as yard, receiver() as hook:
        ada = await yard.user("ada")
        url = f"json://ada:hunter2pw@127.0.0.1:{hook.port}/hook?token=tok3nvalue"
        secret = await verified(ada, "hook", url)
        hook.answers.append(500)
        await ada.contacts.TestContact(pb.TestContactRequest(name="hook"))
        assert hook.received[0].headers["authorization"].startswith("Basic ")
        shown = str(await ada.contacts.ListContacts(pb.ListContactsRequest()))
        shown += str(await ada.contacts.ListDeliveries(pb.ListDeliveriesRequest()))
        files = b"".join(path.read_bytes() for path in (tmp_path / "scheduler").glob("scheduler.db*"))
        for word in ("hunter2pw", "tok3nvalue", secret):
            assert word not in shown
            assert word.encode() not in files


async def test_request_id_gives_the_first_answer_with_its_secret_again(tmp_path: Path) -> None:  # S0.8
    async with yard_of(tmp_path) as yard, receiver() as hook:
        ada = await yard.user("ada")
        request_id = str(uuid.uuid4())
        first = await add(ada, "hook", hook.url, request_id=request_id)
        assert await add(ada, "hook", hook.url, request_id=request_id) == first
        assert first.secret
        other = await refusal(add(ada, "hook2", hook.url, request_id=request_id))
        assert other.reason == "REQUEST_ID_REUSED"
        again = await refusal(add(ada, "hook", hook.url))
        assert again.reason == "CONTACT_EXISTS"
        test_id = str(uuid.uuid4())
        for _ in range(2):
            answer = await ada.contacts.TestContact(pb.TestContactRequest(name="hook", request_id=test_id))
            assert answer.delivery.state == DELIVERED
        assert len(hook.received) == 1


async def test_contacts_are_their_accounts_own(tmp_path: Path) -> None:  # S0.8
    async with yard_of(tmp_path) as yard, receiver() as hook:
        ada, bob = await yard.user("ada"), await yard.user("bob")
        viewer = await yard.user("ada", ROLE_VIEWER)
        await verified(ada, "hook", hook.url)
        assert (
            await refusal(bob.contacts.GetContact(pb.GetContactRequest(name="hook")))
        ).reason == "CONTACT_NOT_FOUND"
        stolen = pb.GetContactRequest(name="hook", account="ada")
        assert (await refusal(bob.contacts.GetContact(stolen))).reason == "NOT_YOUR_ACCOUNT"
        assert (await yard.admin.contacts.GetContact(stolen)).contact.account == "ada"
        assert (await viewer.contacts.GetContact(pb.GetContactRequest(name="hook"))).contact.name == "hook"
        write = pb.TestContactRequest(name="hook")
        assert (await refusal(viewer.contacts.TestContact(write))).reason == "ROLE_NOT_ALLOWED"
        (delivery,) = await settled(ada, 1)
        replay = pb.ReplayDeliveryRequest(event_id=delivery.event_id)
        assert (await refusal(bob.contacts.ReplayDelivery(replay))).reason == "DELIVERY_NOT_FOUND"
        assert (await refusal(bob.submit(named("hook")))).reason == "CONTACT_NOT_FOUND"


async def test_message_is_replayed_under_its_event_id_and_a_dead_one_taken_up(tmp_path: Path) -> None:  # S0.8
    async with yard_of(tmp_path) as yard, receiver() as hook:
        ada = await yard.user("ada")
        await verified(ada, "hook", hook.url)
        hook.answers.append(500)
        dead = (await ada.contacts.TestContact(pb.TestContactRequest(name="hook"))).delivery
        assert (dead.state, dead.error) == (DEAD, "it answered 500 Said: ok")
        for count in (3, 4):
            await ada.contacts.ReplayDelivery(pb.ReplayDeliveryRequest(event_id=dead.event_id))
            messages = await hook.wait(count)
            assert messages[-1].event_id == dead.event_id
            await settled(ada, 2)
        (found,) = [d for d in await settled(ada, 2) if d.event_id == dead.event_id]
        assert (found.state, found.attempt_count, found.error) == (DELIVERED, 3, "")


async def test_deleted_contact_gets_nothing_more_and_says_how_much_that_was(tmp_path: Path) -> None:  # S0.8
    async with yard_of(tmp_path) as yard, receiver() as hook:
        ada = await yard.user("ada")
        await verified(ada, "hook", hook.url, default_for=BOTH)
        hook.answers.extend([500] * 1000)
        for task_id in await ada.submit(command(), command()):
            await ada.wait(task_id)
        await hook.wait(2)
        answer = await ada.contacts.DeleteContact(pb.DeleteContactRequest(name="hook"))
        assert answer.cancelled_count == 2
        found = await settled(ada, 3)
        assert [d.error for d in found[:2]] == ["the contact was deleted"] * 2
        assert yard.engine.state.contacts == {}
        replay = pb.ReplayDeliveryRequest(event_id=found[0].event_id)
        assert (await refusal(ada.contacts.ReplayDelivery(replay))).reason == "CONTACT_NOT_FOUND"


async def test_defaults_can_be_changed_and_deliveries_are_listed_in_pages(tmp_path: Path) -> None:  # S0.8
    async with yard_of(tmp_path) as yard, receiver() as hook:
        ada = await yard.user("ada")
        await verified(ada, "hook", hook.url)
        request = pb.SetDefaultContactRequest(name="hook", default_for=BOTH)
        assert list((await ada.contacts.SetDefaultContact(request)).contact.default_for) == BOTH
        ids = await ada.submit(command(), command(), command(notification=task_pb2.Notification(silent=True)))
        for task_id in ids:
            await ada.wait(task_id)
        await hook.wait(3)
        await settled(ada, 3)
        seen, token = [], ""
        while True:
            page = await ada.contacts.ListDeliveries(pb.ListDeliveriesRequest(page_size=2, page_token=token))
            seen += [delivery.task_id for delivery in page.deliveries]
            token = page.next_page_token
            if not token:
                break
        assert seen == [ids[1], ids[0], ""]
        await ada.contacts.SetDefaultContact(pb.SetDefaultContactRequest(name="hook"))
        [task_id] = await ada.submit(command())
        await ada.wait(task_id)
        assert (
            len((await ada.contacts.ListDeliveries(pb.ListDeliveriesRequest(task_id=task_id))).deliveries)
            == 0
        )
        wrong = pb.ListDeliveriesRequest(states=[9])  # type: ignore[list-item]
        assert (await refusal(ada.contacts.ListDeliveries(wrong))).field == "states"


async def test_deleted_account_takes_its_contacts_along(tmp_path: Path) -> None:
    async with yard_of(tmp_path) as yard, receiver() as hook:
        ada = await yard.user("ada")
        await verified(ada, "hook", hook.url)
        await yard.admin.accounts.DeleteAccount(DeleteAccountRequest(name="ada"))
        assert yard.engine.state.contacts == {}
        await yard.restart()
        assert yard.engine.state.contacts == {}


async def test_url_that_the_library_does_not_understand_is_refused_with_its_reason(tmp_path: Path) -> None:
    pytest.importorskip("apprise")
    async with yard_of(tmp_path) as yard:
        ada = await yard.user("ada")
        refused = await refusal(add(ada, "bad", "slack://nonsensetoken"))
        assert (refused.reason, refused.field) == ("CONTACT_URL_INVALID", "url")
        assert "nonsensetoken" not in refused.message
        assert (await refusal(add(ada, "file", "file:///etc/passwd"))).reason == "CONTACT_SCHEME_REFUSED"
        assert (await refusal(add(ada, "../x", "json://h"))).field == "name"
        assert list((await ada.contacts.ListContacts(pb.ListContactsRequest())).contacts) == []


async def test_sender_that_dies_is_replaced_and_the_message_arrives(tmp_path: Path) -> None:  # S0.8
    async with yard_of(tmp_path) as yard, receiver() as hook:
        ada = await yard.user("ada")
        await verified(ada, "hook", hook.url)
        hook.answers.append(HANG)
        [task_id] = await ada.submit(named("hook"))
        await hook.wait(2)
        (busy,) = yard.service._senders._busy
        busy.kill()
        await hook.wait(3)
        (delivery,) = await settled(ada, 1, task_id=task_id)
        assert (delivery.state, delivery.attempt_count) == (DELIVERED, 2)


async def test_calls_of_operators_in_a_session_tell_defaults_only_where_they_say_so(
    tmp_path: Path,
) -> None:  # S0.8
    async with yard_of(tmp_path, operators={"echo": "{}"}) as yard, receiver() as hook:
        ada = await yard.user("ada")
        await verified(ada, "hook", hook.url, default_for=BOTH)
        call = task_pb2.TaskSpec(operator=task_pb2.OperatorWork(operator="echo"))
        asked = task_pb2.TaskSpec(
            operator=call.operator, notification=task_pb2.Notification(on=BOTH), name="asked"
        )
        session = ada.tasks.Session()
        request_id = str(uuid.uuid4())
        submit = task_pb2.SubmitTasksRequest(request_id=request_id, specs=[call, asked, command()])
        await session.write(task_pb2.SessionRequest(sequence=1, submit=submit))
        answer = await asyncio.wait_for(session.read(), 10)
        assert isinstance(answer, task_pb2.SessionResponse) and not answer.refused.reason, answer
        first = list(answer.submitted.task_ids)
        # The same request is the same, whichever way it comes.
        again = await ada.tasks.SubmitTasks(submit)
        assert list(again.task_ids) == first
        await session.done_writing()
        [direct] = await ada.submit(call)
        told = {d.task_id for d in await settled(ada, 4) if d.task_id}
        assert told == {first[1], first[2], direct}
