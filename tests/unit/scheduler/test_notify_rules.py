"""What may be told to whom, where, how often and in which words: the pure part of notifications (S0.8)."""

from __future__ import annotations

import ipaddress
import json

import pytest

from modelyard.v1 import task_pb2
from services.scheduler.notification import Event, KnownContact, Notice
from services.scheduler.notify import content, sender
from services.scheduler.notify.backoff import MOST_ATTEMPTS, delay_ms
from services.scheduler.notify.guard import Guard, parse_networks, wrong_with
from services.scheduler.notify.model import (
    ContactNotFound,
    ContactNotVerified,
    ContactSchemeRefused,
    ContactUrlInvalid,
    Delivery,
    NoticeInvalid,
)
from services.scheduler.notify.notices import check_told, convert
from services.scheduler.notify.schemes import ALLOWED, check_url, redacted, secrets_of
from services.scheduler.notify.seal import Seal, SealBroken
from services.scheduler.notify.sender import Sender, cleaned
from services.scheduler.tasks.announce import title, told

OPS = KnownContact("1", "ops", True, int(Event.FAILED))
TEAM = KnownContact("2", "team", True, int(Event.BOTH_ENDS))
NEW = KnownContact("3", "new", False, int(Event.BOTH_ENDS))
CONTACTS = {contact.name: contact for contact in (OPS, TEAM, NEW)}


@pytest.mark.parametrize(
    ("notice", "end", "names"),
    [
        (Notice(), Event.SUCCEEDED, ["team"]),
        (Notice(), Event.FAILED, ["ops", "team"]),
        (Notice(silent=True), Event.FAILED, []),
        (Notice("ops"), Event.SUCCEEDED, ["ops"]),
        (Notice("ops", int(Event.FAILED)), Event.SUCCEEDED, []),
        (Notice("", int(Event.SUCCEEDED)), Event.FAILED, []),
        (Notice("new"), Event.FAILED, []),
        (Notice("gone"), Event.FAILED, []),
    ],
)
def test_end_is_told_to_the_named_contact_or_the_defaults_and_only_to_verified_ones(
    notice: Notice, end: Event, names: list[str]
) -> None:  # S0.8
    assert [contact.name for contact in told(notice, CONTACTS, end)] == names


def test_specification_that_contradicts_itself_is_refused() -> None:
    for notification in (
        task_pb2.Notification(silent=True, contact="ops"),
        task_pb2.Notification(silent=True, on=[task_pb2.NOTIFICATION_EVENT_FAILED]),
        task_pb2.Notification(on=[77]),  # type: ignore[list-item]
    ):
        with pytest.raises(NoticeInvalid, match=r"specs\[0\]\.notification"):
            convert(notification, "specs[0]")
    failed = [task_pb2.NOTIFICATION_EVENT_FAILED]
    assert convert(task_pb2.Notification(contact="ops", on=failed), "s") == Notice(
        "ops", int(Event.FAILED), False, True
    )
    assert convert(task_pb2.Notification(), "s") == Notice()


def test_contact_that_cannot_be_told_is_refused_with_the_next_step() -> None:  # S0.8
    check_told(Notice("ops"), CONTACTS, "specs[0]")
    with pytest.raises(ContactNotVerified) as unverified:
        check_told(Notice("new"), CONTACTS, "specs[0]")
    assert unverified.value.field == "specs[0].notification.contact"
    assert unverified.value.next_step == "yard contacts test new"
    for notice in (Notice("nobody"), Notice(events=int(Event.SUCCEEDED), is_asked=True)):
        with pytest.raises(ContactNotFound):
            check_told(notice, {"ops": OPS}, "specs[0]")
    check_told(Notice(events=int(Event.FAILED), is_asked=True), {"ops": OPS}, "specs[0]")
    check_told(Notice(), {}, "specs[0]")


@pytest.mark.parametrize(
    "url",
    ["file:///tmp/x", "exec://sh", "syslog://", "dbus://", "windows://", "rsyslog://host", "macosx://", "gnome://",
     "http://x", "xmls://x", "mqtt://x", "apprise://x", "memory://"],
)  # fmt: skip
def test_scheme_that_is_not_allowed_is_refused(url: str) -> None:  # S0.8
    with pytest.raises((ContactSchemeRefused, ContactUrlInvalid)):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    ["", "json", "json://", "json:///path", "json://h ost", "json://host:99999999/", "json://[::1", "json://x\n",
     "jsons://h/" + "x" * 5000, "slack://a/b/c?template=/etc/passwd", "mailto://a:b@c.d?pgppub=/etc/passwd",
     "slack://a/b/c?TEMPLATE=x"],
)  # fmt: skip
def test_url_that_cannot_be_right_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ContactUrlInvalid) as refused:
        check_url(url)
    assert not url or url not in str(refused.value) or len(url) < 8


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "jsons://ada:hunter2@hooks.example.org:8443/T0/secret?token=abcdef",
            "jsons://hooks.example.org:8443/…",
        ),
        ("json://[::1]:80", "json://[::1]:80"),
        ("mailto://ada:hunter2@example.org?to=bob@example.org", "mailto://example.org/…"),
        ("slack://TokenA/TokenB/TokenC", "slack://…"),
        ("dingtalk://abcdef0123456789", "dingtalk://…"),
        ("tgram://123456789:AAabc/5555", "tgram://…"),
        ("ntfy://my-secret-topic", "ntfy://…"),
    ],
)
def test_address_is_shown_without_credentials(url: str, shown: str) -> None:  # S0.8
    assert redacted(url) == shown


def test_errors_show_no_part_of_the_url_that_is_secret() -> None:  # S0.8
    url = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ?x=hunter2%21abc"
    error = f"could not load {url}: token T1JJ3T3L2/A1BRTD4JD was refused, hunter2!abc too"
    said = cleaned(error, url)
    for part in ("T1JJ3T3L2", "A1BRTD4JD", "TIiajkdnlazkcOXrIdevi7FQ", "hunter2"):
        assert part in secrets_of(url) or part == "hunter2"
        assert part not in said


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
     "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
     "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1", "fd00:ec2::254"],
)  # fmt: skip
def test_address_that_is_not_of_the_public_internet_is_refused(address: str) -> None:  # S0.8
    assert wrong_with(ipaddress.ip_address(address))
    assert wrong_with(ipaddress.ip_address(address), parse_networks("203.0.113.0/24"))


def test_public_addresses_and_allowed_networks_may_be_reached() -> None:  # S0.8
    for address in ("1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"):
        assert wrong_with(ipaddress.ip_address(address)) == ""
    allowed = parse_networks("10.0.0.0/8, 127.0.0.1, fd00::/8")
    for address in ("10.1.2.3", "127.0.0.1", "::ffff:10.0.0.1", "fd12::1"):
        assert wrong_with(ipaddress.ip_address(address), allowed) == ""
    assert wrong_with(ipaddress.ip_address("127.0.0.2"), allowed)


def test_tries_double_up_to_an_hour_and_last_for_about_a_day() -> None:  # S0.8
    delays = []
    while (delay := delay_ms(len(delays) + 1, 5.0, 0.5)) is not None:
        delays.append(delay)
    assert delays[:4] == [5_000, 10_000, 20_000, 40_000]
    assert max(delays) == 3_600_000
    assert 22 * 3_600_000 < sum(delays) < 26 * 3_600_000
    assert len(delays) == MOST_ATTEMPTS - 1
    assert delay_ms(1, 5.0, 0.0) == 4_000
    assert delay_ms(1, 5.0, 1.0) == 6_000


def test_sealed_address_opens_for_its_contact_with_its_key_alone() -> None:  # S0.8
    seal = Seal(b"k" * 32)
    sealed = seal.close("slack://secret", "contact-1")
    assert b"secret" not in sealed
    assert seal.open(sealed, "contact-1") == "slack://secret"
    assert sealed != seal.close("slack://secret", "contact-1")
    for other, contact in ((seal, "contact-2"), (Seal(b"x" * 32), "contact-1")):
        with pytest.raises(SealBroken):
            other.open(sealed, contact)


def ended_task(**fields: object) -> task_pb2.Task:
    task = task_pb2.Task(id="t-7", name="fit", account="ada", node="n1", attempt=2, state="TASK_STATE_FAILED")  # type: ignore[arg-type]
    task.start_time.FromMilliseconds(1_000)
    task.end_time.FromMilliseconds(4_500)
    for name, value in fields.items():
        getattr(task, name).CopyFrom(value)
    return task


def test_text_says_how_it_ended_why_what_it_used_and_what_to_do() -> None:  # S0.8
    error = task_pb2.TaskError(cause=task_pb2.TASK_CAUSE_OUT_OF_MEMORY, message="1 GiB is not enough")
    usage = task_pb2.TaskUsage(cpu_time_s=3.25, memory_peak_bytes=1 << 30)
    result = task_pb2.TaskResult(value_json='{"loss": 0.25, "epochs": 12, "model": "m", "ok": true}')
    text = content.text(ended_task(error=error, usage=usage, result=result))
    for fact in ("task: t-7 fit", "state: failed", "account: ada", "node: n1", "attempts: 2", "ran: 3.5s",
                 "peak memory: 1.0 GiB", "error: out_of_memory: 1 GiB is not enough", "next: yard tasks get t-7",
                 "  loss    0.25", "  epochs  12"):  # fmt: skip
        assert fact in text.splitlines(), text
    assert "model" not in text


def test_body_of_a_webhook_is_the_same_each_time() -> None:  # S0.8
    delivery = Delivery(
        1, "e-1", "c-1", "ada", "hook", "t-7", "task.failed", "fit", 1, 0, 0, 5_000, 0, 5_000, ""
    )
    task = ended_task(result=task_pb2.TaskResult(value_json="[1]"))
    body = content.document(delivery, task)
    assert body == content.document(delivery, task)
    document = json.loads(body)
    assert (document["event_id"], document["event"], document["task"]["duration_s"]) == (
        "e-1",
        "task.failed",
        3.5,
    )
    assert document["time"] == "1970-01-01T00:00:05Z"


@pytest.mark.parametrize("value", ["", "[1, 2]", "null", '"text"', "not json", "[" * 10_000])
def test_result_without_numbers_has_no_figures(value: str) -> None:
    assert content.figures(task_pb2.Task(result=task_pb2.TaskResult(value_json=value))) == {}


def test_files_that_go_along_are_images_first_and_one_mebibyte_in_all() -> None:  # S0.8
    sizes = {"big.bin": 900 << 10, "log.txt": 10, "a.png": 300 << 10, "huge.png": 2 << 20, "empty": 0}
    outputs = [task_pb2.Output(name=name, size_bytes=size) for name, size in sizes.items()]
    assert [output.name for output in content.chosen(outputs)] == ["a.png", "log.txt"]


def test_picture_without_an_ending_is_known_by_its_first_bytes() -> None:  # S1.6
    assert content.file_of("plot.image", b"\x89PNG\r\n") == ("plot.image.png", "image/png")
    assert content.file_of("n.plot", b"<svg xmlns=") == ("n.plot.svg", "image/svg+xml")
    assert content.file_of("loss.png", b"anything") == ("loss.png", "image/png")
    assert content.file_of("model", b"\x00\x01") == ("model", "application/octet-stream")


def test_title_is_one_line() -> None:
    assert title("", "t-1", "failed") == "t-1 failed"
    assert title("fit\nmodel", "t-1", "failed") == "fit model (t-1) failed"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_allowed_scheme_is_one_that_the_library_knows() -> None:
    apprise = pytest.importorskip("apprise")
    known = set()
    for service in apprise.Apprise().details()["schemas"]:
        for kind in ("protocols", "secure_protocols"):
            known |= set(service[kind] or ())
    assert not ALLOWED - known


def test_without_the_library_webhooks_work_and_others_say_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sender, "LIBRARY", "a_library_that_is_not_installed")
    made = Sender(Guard((), ()))
    assert made.answer({"op": "check", "url": "json://h"}) == {"ok": True, "error": ""}
    answer = made.answer({"op": "check", "url": "slack://a/b/c"})
    assert (answer["ok"], answer["missing"]) == (False, True)
