"""S0.8 as a user sees it: a task names a contact, and however often things die that contact hears how it ended."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from modelyard.client.specs import command_spec
from tests.support.processes import Processes
from tests.support.receiver import Mailbox, Receiver, mailbox, receiver
from tests.support.wait import wait_until, wait_until_sync
from tests.support.yard import Yard, new_yard

pytestmark = pytest.mark.asyncio
ENVIRON = {"YARD_SCHEDULER_NOTIFY_ALLOW": "127.0.0.0/8", "YARD_SCHEDULER_NOTIFY_BACKOFF_S": "0.2"}
POINTS = ("scheduler.before_notify", "scheduler.after_notify", "scheduler.after_notified")


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: services live longer than one, and `processes` looks at the end."""


@pytest.fixture(scope="module")
def processes() -> Iterator[tuple[Yard, Processes]]:
    with new_yard(is_up=False, agents=2) as yard:
        made = Processes(yard, ENVIRON)
        yield yard, made
        made.stop()
        wait_until_sync(lambda: not yard.processes(), "every process gone", state=yard.processes)
        assert not yard.left_over()


@asynccontextmanager
async def contact(yard: Yard, name: str) -> AsyncIterator[Receiver]:
    """A verified webhook, taken away at the end."""
    async with receiver() as hook:
        for words in (("add", name, hook.url), ("test", name)):
            done = await asyncio.to_thread(yard.cli, "contacts", *words)
            assert done.code == 0, done.stderr
        yield hook
        await asyncio.to_thread(yard.cli, "contacts", "rm", name, "--yes")


async def delivered(yard: Yard, task_id: str) -> dict[str, str]:
    """The one delivery about a task, once it is delivered."""

    async def found() -> dict[str, str] | None:
        answer = await asyncio.to_thread(yard.json, "contacts", "deliveries", "--task", task_id)
        (delivery,) = answer.get("deliveries") or [None]
        return delivery if delivery and delivery["state"] == "CONTACT_DELIVERY_STATE_DELIVERED" else None

    done = await wait_until(found, f"the message about {task_id} is delivered", timeout_s=30)
    assert done is not None
    return done


async def test_command_line_makes_tests_and_uses_a_contact(processes: tuple[Yard, Processes]) -> None:  # S0.8
    yard, _ = processes
    async with receiver() as hook:
        cli = lambda *words: asyncio.to_thread(yard.cli, *words)  # noqa: E731
        added = await cli("contacts", "add", "team", hook.url + "?token=tok3n", "--default", "failure")
        assert added.code == 0, added.stderr
        assert "yard_webhook_" in added.stderr
        assert "tok3n" not in added.stdout + added.stderr
        refused = await cli("run", "--contact", "team", "--", "true")
        assert refused.code == 6
        assert "next: yard contacts test team" in refused.stderr
        tested = await cli("contacts", "test", "team")
        assert (tested.code, hook.received[0].document["event"]) == (0, "test")
        failed = await cli("run", "--name", "fit", "--", "sh", "-c", "exit 3")
        assert failed.code == 3
        document = (await hook.wait(2))[1].document
        assert (document["event"], document["task"]["error"]["exit_code"]) == ("task.failed", 3)
        assert document["task"]["error"]["message"]
        for words in (
            ("--silent", "--", "false"),
            ("--", "true"),
            ("--contact", "team", "--notify", "failure", "--", "true"),
        ):
            await cli("run", *words)
        named = await cli("run", "--contact", "team", "--notify", "success", "--", "true")
        assert named.code == 0, named.stderr
        assert (await hook.wait(3))[2].document["event"] == "task.succeeded"
        called = await cli("call", "echo", "--param", "value=7", "--contact", "team")
        assert (called.code, called.stdout.strip()) == (0, "7")
        assert (await hook.wait(4))[3].document["task"]["figures"] == {"result": 7}
        listed = await asyncio.to_thread(yard.json, "contacts", "deliveries", "--contact", "team")
        assert [item["title"].split()[-1] for item in listed["deliveries"]] == [
            "succeeded",
            "succeeded",
            "failed",
            "yard",
        ]
        event_id = listed["deliveries"][2]["eventId"]
        assert (await cli("contacts", "replay", event_id)).code == 0
        assert (await hook.wait(5))[4].event_id == event_id
        shown = await cli("contacts", "ls")
        assert "failure" in shown.stdout
        assert "tok3n" not in shown.stdout
        assert (await cli("contacts", "default", "team", "none")).code == 0
        assert (await cli("contacts", "rm", "team", "--yes")).code == 0
        assert (await cli("contacts", "get", "team")).code == 3
        for path in (yard.state / "logs").glob("*.log"):
            assert "tok3n" not in path.read_text()


@pytest.mark.parametrize("point", POINTS)
async def test_scheduler_killed_around_a_message_loses_none(
    processes: tuple[Yard, Processes], point: str
) -> None:  # S0.8
    yard, made = processes
    async with contact(yard, "hook") as hook:
        await asyncio.to_thread(made.restart, "scheduler", f"{point}:kill@1")
        async with yard.client() as client:
            [task_id] = await client.tasks.submit(command_spec(["true"], {"contact": "hook"}))
            await asyncio.to_thread(
                wait_until_sync,
                lambda: made.ended("scheduler") is not None,
                "the scheduler dies",
                timeout_s=20,
            )
            assert made.ended("scheduler") == -signal.SIGKILL
            made.start("scheduler")
            await asyncio.to_thread(yard.wait_for, "scheduler")
            delivery = await delivered(yard, task_id)
        messages = [message for message in hook.received if message.event_id == delivery["eventId"]]
        assert len(messages) == (2 if point == "scheduler.after_notify" else 1)
        assert len({message.body for message in messages}) == 1


async def test_scheduler_killed_again_and_again_tells_of_every_task(
    processes: tuple[Yard, Processes],
) -> None:  # S0.8
    yard, made = processes
    async with contact(yard, "hook") as hook, yard.client() as client:
        hook.answers.extend([500, 200, 503] * 4)
        spec = command_spec(["sh", "-c", "sleep 0.1"], {"contact": "hook", "cpu": 0.2})
        ids = await client.tasks.submit(*[spec] * 15)
        for _ in range(3):
            await asyncio.sleep(0.3)
            os.kill(made.pid("scheduler"), signal.SIGKILL)
            made.wait("scheduler")
            made.start("scheduler")
            await asyncio.to_thread(yard.wait_for, "scheduler")
        told = lambda: {m.document["task"]["id"] for m in hook.received if "task" in m.document}  # noqa: E731
        await wait_until(lambda: told() == set(ids), "every task is told of", timeout_s=60, state=told)
        for task_id in ids:
            delivery = await delivered(yard, task_id)
            events = {m.event_id for m in hook.received if m.document.get("task", {}).get("id") == task_id}
            assert events == {delivery["eventId"]}


async def test_mail_brings_the_picture_along(processes: tuple[Yard, Processes]) -> None:  # S0.8
    pytest.importorskip("apprise")
    yard, _ = processes
    mail: Mailbox
    async with mailbox() as mail:
        for words in (("add", "mail", mail.url), ("test", "mail")):
            done = await asyncio.to_thread(yard.cli, "contacts", *words)
            assert done.code == 0, done.stderr
        script = "printf PICTURE > loss.png; printf LOG > train.log"
        done = await asyncio.to_thread(
            yard.cli, "run", "--contact", "mail", "--keep", "*", "--", "sh", "-c", script
        )
        assert done.code == 0, done.stderr
        message = (await mail.wait(2))[1]
        files = {
            part.get_filename(): part.get_payload(decode=True)
            for part in message.walk()
            if part.get_filename()
        }
        assert files == {"loss.png": b"PICTURE", "train.log": b"LOG"}
        await asyncio.to_thread(yard.cli, "contacts", "rm", "mail", "--yes")


async def test_metadata_address_is_refused_to_users(processes: tuple[Yard, Processes]) -> None:  # S0.8
    yard, _ = processes
    await asyncio.to_thread(yard.cli, "contacts", "add", "meta", "json://169.254.169.254/latest/meta-data")
    done = await asyncio.to_thread(yard.cli, "contacts", "test", "meta")
    assert done.code == 1
    assert "169.254.169.254 is a link-local address" in done.stderr
    assert "--notify-allow" in done.stderr
    await asyncio.to_thread(yard.cli, "contacts", "rm", "meta", "--yes")
