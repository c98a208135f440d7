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
    return Notice(notification.contact, int(ends_of(notification.on, f"{path}.on")), notification.silent)


def ends_of(events: Iterable[int], field: str) -> End:
    """The ends that are named; none: both."""
    ends = End(0)
    for event in events:
        if event not in (task_pb2.NOTIFICATION_EVENT_SUCCEEDED, task_pb2.NOTIFICATION_EVENT_FAILED):
            raise NoticeInvalid(f"{field}: {event} is not an event", field=field)
        ends |= End(event)
    return ends or End.BOTH


def check_contact(notice: Notice, contacts: Mapping[str, KnownContact], field: str) -> None:
    """Raises `ContactNotFound` or `ContactNotVerified` unless the contact that is named can be told."""
    path = f"{field}.notification.contact"
    known = contacts.get(notice.contact)
    if known is None:
        raise ContactNotFound(
            f"the account has no contact {notice.contact[:80]!r}", field=path,
            next_step=f"yard contacts ls; to make it: yard contacts add {notice.contact[:80]} URL",
        )  # fmt: skip
    if not known.is_verified:
        raise ContactNotVerified(
            f"the contact {known.name} has not taken its test message yet", field=path,
            next_step=f"yard contacts test {known.name}",
        )  # fmt: skip
