"""``TaskSpec.notification`` as it comes in: checked, and reduced to what the end of a task asks (the edge)."""

from collections.abc import Iterable, Mapping

from modelyard.v1 import task_pb2
from services.scheduler.notify.model import (
    ContactNotFound,
    ContactNotVerified,
    End,
    KnownContact,
    Notice,
    NoticeInvalid,
)


def convert(notification: task_pb2.Notification, field: str) -> Notice:
    """Raises `NoticeInvalid` for what contradicts itself."""
    path = f"{field}.notification"
    if notification.silent and (notification.contact or notification.on):
        raise NoticeInvalid(
            f"{path}: silent and {'contact' if notification.contact else 'on'} are both set", field=f"{path}.silent",
            next_step="silent tells nobody; leave the other out, or leave silent out",
        )  # fmt: skip
    ends = int(ends_of(notification.on, f"{path}.on"))
    return Notice(notification.contact, ends, notification.silent, bool(notification.on))


def ends_of(events: Iterable[int], field: str) -> End:
    """The ends that are named; none: both."""
    ends = End(0)
    for event in events:
        if event not in (task_pb2.NOTIFICATION_EVENT_SUCCEEDED, task_pb2.NOTIFICATION_EVENT_FAILED):
            raise NoticeInvalid(f"{field}: {event} is not an event", field=field)
        ends |= End(event)
    return ends or End.BOTH


def leave_defaults_out(specs: Iterable[task_pb2.TaskSpec]) -> None:
    """Calls of operators in a session tell the account's default contacts nothing, unless they speak of notification
    themselves: whoever maps an operator over 10,000 items waits for the results, and wants no 10,000 messages."""
    for spec in specs:
        if spec.HasField("operator") and not spec.HasField("notification"):
            spec.notification.silent = True


def check_told(notice: Notice, contacts: Mapping[str, KnownContact], field: str) -> None:
    """Whether whoever is to be told can be. Raises `ContactNotFound` or `ContactNotVerified`."""
    if notice.contact:
        _check_contact(notice.contact, contacts, f"{field}.notification.contact")
    elif notice.is_asked and not any(
        c.is_verified and c.default_for & notice.ends for c in contacts.values()
    ):
        raise ContactNotFound(
            "the account has no default contact that would be told", field=f"{field}.notification.on",
            next_step="name a contact, or make one the default: yard contacts default NAME both",
        )  # fmt: skip


def _check_contact(name: str, contacts: Mapping[str, KnownContact], path: str) -> None:
    known = contacts.get(name)
    if known is None:
        raise ContactNotFound(
            f"the account has no contact {name[:80]!r}", field=path,
            next_step=f"yard contacts ls; to make it: yard contacts add {name[:80]} URL",
        )  # fmt: skip
    if not known.is_verified:
        raise ContactNotVerified(
            f"the contact {known.name} has not taken its test message yet", field=path,
            next_step=f"yard contacts test {known.name}",
        )  # fmt: skip
