"""A `Notification` as it comes in: checked, and reduced to what the end of a task, or of a run, asks (the edge)."""

from collections.abc import Iterable, Mapping

from modelyard.v1 import task_pb2
from services.scheduler.notification import Event, KnownContact, Notice
from services.scheduler.notify.model import ContactNotFound, ContactNotVerified, NoticeInvalid

_EVENTS = {
    task_pb2.NOTIFICATION_EVENT_SUCCEEDED: Event.SUCCEEDED,
    task_pb2.NOTIFICATION_EVENT_FAILED: Event.FAILED,
    task_pb2.NOTIFICATION_EVENT_GATE_WAITING: Event.GATE_WAITING,
}


def of_task(notification: task_pb2.Notification, field: str) -> Notice:
    """What a task's specification says. Raises `NoticeInvalid`."""
    notice = convert(notification, field)
    if notice.is_asked and not notice.events & Event.BOTH_ENDS:
        raise NoticeInvalid(
            f"{field}.notification.on: a task has no gates that wait", field=f"{field}.notification.on",
            next_step="name an end (success, failure); gates that wait are of runs",
        )  # fmt: skip
    return notice


def convert(notification: task_pb2.Notification, field: str = "") -> Notice:
    """Raises `NoticeInvalid` for what contradicts itself."""
    path = path_of(field)
    if notification.silent and (notification.contact or notification.on):
        raise NoticeInvalid(
            f"{path}: silent and {'contact' if notification.contact else 'on'} are both set", field=f"{path}.silent",
            next_step="silent tells nobody; leave the other out, or leave silent out",
        )  # fmt: skip
    events = events_of(notification.on, f"{path}.on") or Event.ALL
    return Notice(notification.contact, int(events), notification.silent, bool(notification.on))


def path_of(field: str) -> str:
    """Where the notification lies in a request; no field: in the request itself."""
    return f"{field}.notification" if field else "notification"


def event_of(event: int, field: str) -> Event:
    """Raises `NoticeInvalid`."""
    if event not in _EVENTS:
        raise NoticeInvalid(f"{field}: {event} is not an event", field=field)
    return _EVENTS[task_pb2.NotificationEvent.ValueType(event)]


def events_of(events: Iterable[int], field: str) -> Event:
    """What is named; none: nothing."""
    named = Event(0)
    for event in events:
        named |= event_of(event, field)
    return named


def events_in(events: int) -> "list[task_pb2.NotificationEvent.ValueType]":
    """The bits as the contract has them."""
    return [number for number, bit in _EVENTS.items() if events & bit]


def leave_defaults_out(specs: Iterable[task_pb2.TaskSpec]) -> None:
    """Calls of operators in a session tell the account's default contacts nothing, unless they speak of notification
    themselves: whoever maps an operator over 10,000 items waits for the results, and wants no 10,000 messages."""
    for spec in specs:
        if spec.HasField("operator") and not spec.HasField("notification"):
            spec.notification.silent = True


def check_told(notice: Notice, contacts: Mapping[str, KnownContact], field: str) -> None:
    """Whether whoever is to be told can be. Raises `ContactNotFound` or `ContactNotVerified`."""
    if notice.contact:
        _check_contact(notice.contact, contacts, f"{path_of(field)}.contact")
    elif notice.is_asked and not any(
        c.is_verified and c.default_for & notice.events for c in contacts.values()
    ):
        raise ContactNotFound(
            "the account has no default contact that would be told", field=f"{path_of(field)}.on",
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
