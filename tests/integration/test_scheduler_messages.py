"""Messages of services about an account's work: told once to who wants to hear of it, whatever is repeated (S1.6)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from modelyard.channel import ACCOUNT_KEY
from modelyard.v1 import contact_pb2 as pb
from modelyard.v1 import task_pb2
from modelyard.v1.account_pb2 import DeleteAccountRequest
from tests.integration.test_scheduler_contacts import BOTH, DELIVERED, add, settled, verified, yard_of
from tests.support.receiver import mailbox, receiver
from tests.support.scheduler_service import SchedulerYard, refusal

pytestmark = pytest.mark.asyncio

SUCCEEDED, FAILED, GATE = (
    task_pb2.NOTIFICATION_EVENT_SUCCEEDED,
    task_pb2.NOTIFICATION_EVENT_FAILED,
    task_pb2.NOTIFICATION_EVENT_GATE_WAITING,
)


def failed_run(contact: str = "", **fields: object) -> pb.NotifyRequest:
    values = {
        "event_id": "r-12 failed", "event": FAILED, "kind": "run.failed", "subject": "r-12", 
        "title": "ocr (r-12) failed",
        "text": "run: r-12\nstate: failed", "facts_json": '{"id": "r-12", "counts": {"error": 2}}', **fields,
    }  # fmt: skip
    notification = task_pb2.Notification(contact=contact) if contact else None
    return pb.NotifyRequest(notification=notification, **values)  # type: ignore[arg-type]


async def tell(
    yard: SchedulerYard, request: pb.NotifyRequest, account: str = "ada"
) -> list[pb.ContactDelivery]:
    metadata = ((ACCOUNT_KEY, account),)
    return list((await yard.service_client.contacts.Notify(request, metadata=metadata)).deliveries)


async def test_webhook_and_mail_are_told_what_a_service_says(tmp_path: Path) -> None:  # S1.6
    pytest.importorskip("apprise")
    async with yard_of(tmp_path) as yard, receiver() as hook, mailbox() as mail:
        ada = await yard.user("ada")
        await verified(ada, "hook", hook.url, default_for=BOTH)
        await verified(ada, "mail", mail.url, default_for=[FAILED])
        told = await tell(yard, failed_run())
        assert sorted((each.contact, each.subject, each.task_id) for each in told) == [
            ("hook", "r-12", ""),
            ("mail", "r-12", ""),
        ]
        document = (await hook.wait(2))[1].document
        assert (document["event"], document["account"], document["contact"]) == ("run.failed", "ada", "hook")
        assert document["run"] == {"id": "r-12", "counts": {"error": 2}}
        assert (document["title"], document["text"]) == ("ocr (r-12) failed", "run: r-12\nstate: failed")
        message = (await mail.wait(2))[1]
        body = message.get_payload(decode=True)
        assert message["subject"] == "ocr (r-12) failed"
        assert isinstance(body, bytes) and b"state: failed" in body
        found = await settled(ada, 2, subject="r-12")
        assert {each.event_id for each in found} == {each.event_id for each in told}
        assert await settled(ada, 0, subject="r-13") == []


async def test_event_that_was_told_is_not_told_again_whatever_has_changed_since(
    tmp_path: Path,
) -> None:  # S1.6
    async with yard_of(tmp_path) as yard, receiver() as hook:
        ada = await yard.user("ada")
        await verified(ada, "hook", hook.url)
        first = await tell(yard, failed_run("hook"))
        await settled(ada, 1, subject="r-12")
        await verified(ada, "later", hook.url, default_for=BOTH)
        await yard.restart()
        for request in (failed_run("hook"), failed_run(), failed_run("hook", text="other words")):
            again = await tell(yard, request)
            assert [each.event_id for each in again] == [each.event_id for each in first]
            assert again[0].state == DELIVERED
        silent = failed_run(event_id="r-13 failed")
        silent.notification.silent = True
        assert await tell(yard, silent) == []
        silent.notification.silent = False
        assert await tell(yard, silent) == [], "it was told, to nobody"
        ends = [m for m in hook.received if m.document["event"] == "run.failed"]
        assert [m.document["text"] for m in ends] == ["run: r-12\nstate: failed"]


async def test_notices_that_come_together_are_one_message(tmp_path: Path) -> None:
    async with yard_of(tmp_path) as yard, receiver() as hook:
        ada = await yard.user("ada")
        await verified(ada, "hook", hook.url)
        told = await asyncio.gather(*[tell(yard, failed_run("hook")) for _ in range(8)])
        assert len({each.event_id for deliveries in told for each in deliveries}) == 1
        # Another account's event of the same name is another one.
        assert await tell(yard, failed_run(), account="default") == []


async def test_gates_are_told_to_named_contacts_and_to_defaults_that_ask_for_them(
    tmp_path: Path,
) -> None:  # S1.6
    async with yard_of(tmp_path) as yard, receiver() as hook:
        ada = await yard.user("ada")
        await verified(ada, "ends", hook.url, default_for=BOTH)
        await verified(ada, "gates", hook.url, default_for=[GATE])
        await verified(ada, "named", hook.url)

        async def who(event: int, number: int, **notification: object) -> list[str]:
            request = failed_run(event=event, event_id=f"event {number}", kind="gate.waiting")
            request.notification.CopyFrom(task_pb2.Notification(**notification))  # type: ignore[arg-type]
            return sorted(each.contact for each in await tell(yard, request))

        assert await who(GATE, 1) == ["gates"]
        assert await who(FAILED, 2) == ["ends"]
        assert await who(GATE, 3, contact="named") == ["named"]
        assert await who(GATE, 4, contact="named", on=[FAILED]) == []
        assert await who(GATE, 5, contact="named", on=[GATE]) == ["named"]
        contacts = (await ada.contacts.ListContacts(pb.ListContactsRequest())).contacts
        assert {c.name: list(c.default_for) for c in contacts} == {"ends": BOTH, "gates": [GATE], "named": []}


async def test_who_cannot_be_told_is_refused_as_a_submission_would(tmp_path: Path) -> None:
    async with yard_of(tmp_path) as yard, receiver() as hook:
        ada = await yard.user("ada")
        await add(ada, "new", hook.url)
        for validate_only in (True, False):
            unknown = await refusal(tell(yard, failed_run("gone", validate_only=validate_only)))
            assert (unknown.reason, unknown.field) == ("CONTACT_NOT_FOUND", "notification.contact")
            unverified = await refusal(tell(yard, failed_run("new", validate_only=validate_only)))
            assert (unverified.reason, unverified.next_step) == (
                "CONTACT_NOT_VERIFIED",
                "yard contacts test new",
            )
        asked = failed_run()
        asked.notification.on.append(SUCCEEDED)
        assert (await refusal(tell(yard, asked))).field == "notification.on"
        await verified(ada, "hook", hook.url)
        asked = await tell(yard, failed_run("hook", validate_only=True))
        assert [(each.contact, each.event_id) for each in asked] == [("hook", "")]
        assert await tell(yard, failed_run(validate_only=True)) == []
        assert await tell(yard, pb.NotifyRequest(validate_only=True)) == []
        assert len(await tell(yard, failed_run("hook"))) == 1, "refusals and checks have told nothing"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_id", ""), ("event_id", "x" * 201), ("title", ""), ("kind", "failed"), ("kind", "task.failed"),
        ("kind", "title.x"), ("subject", ""), ("subject", "t-7"), ("subject", "../r"), ("text", "x" * 70_000),
        ("facts_json", "[1]"), ("facts_json", "{"), ("facts_json", "[" * 100_000), ("event", 9), ("event", 0),
        ("outputs[0]", [task_pb2.Output(name="x", digest="../x")]), ("outputs[0]", [task_pb2.Output(digest="a" * 64)]),
        ("outputs", [task_pb2.Output(name="x", digest="a" * 64)] * 21),
    ],
)  # fmt: skip
async def test_message_that_is_none_is_refused_with_its_field(
    field: str, value: object, tmp_path: Path
) -> None:
    async with yard_of(tmp_path) as yard:
        refused = await refusal(tell(yard, failed_run(**{field.removesuffix("[0]"): value})))
        assert (refused.code, refused.field) == ("INVALID_ARGUMENT", field)


async def test_only_services_may_tell_and_only_for_an_account_that_is_named(tmp_path: Path) -> None:
    async with yard_of(tmp_path) as yard:
        ada = await yard.user("ada")
        assert (await refusal(ada.contacts.Notify(failed_run()))).reason == "ROLE_NOT_ALLOWED"
        bare = yard.service_client.contacts.Notify(failed_run())
        assert (await refusal(bare)).reason == "BEHALF_MISSING"


async def test_task_cannot_wait_for_approval(tmp_path: Path) -> None:
    from tests.support.scheduler_service import command

    async with yard_of(tmp_path) as yard:
        spec = command(notification=task_pb2.Notification(on=[GATE]))
        refused = await refusal(yard.admin.submit(spec))
        assert (refused.reason, refused.field) == ("NOTICE_INVALID", "specs[0].notification.on")


async def test_messages_go_with_their_account_and_with_time(tmp_path: Path) -> None:
    async with yard_of(tmp_path) as yard, receiver() as hook:
        ada = await yard.user("ada")
        await verified(ada, "hook", hook.url)
        await tell(yard, failed_run("hook"))
        await tell(yard, failed_run(event_id="told to nobody"))
        (delivery,) = await settled(ada, 1, subject="r-12")
        database = yard.service._store.database

        async def count() -> int:
            return int(await database.read(lambda c: c.execute("SELECT count(*) FROM message").fetchone()[0]))

        await database.write(lambda c: c.execute("UPDATE message SET create_ms = 1"))
        await yard.service._deliveries.prune()
        assert await count() == 1, "what a delivery says is kept with it"
        await ada.contacts.ReplayDelivery(pb.ReplayDeliveryRequest(event_id=delivery.event_id))
        assert json.loads((await hook.wait(3))[2].body)["run"]["id"] == "r-12"
        await settled(ada, 1, subject="r-12")
        await yard.admin.accounts.DeleteAccount(DeleteAccountRequest(name="ada"))
        assert await count() == 0
