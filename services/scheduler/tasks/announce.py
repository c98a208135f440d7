"""Who is told that a task has ended: rows for the outbox, in the same transaction as the outcome. Pure.

Called by `lifecycle.end` for accounts that have contacts. An array is told of as a whole, its elements are not.
"""

from collections.abc import Mapping

from services.scheduler.model import Now, TaskState, format_task_id, index_of
from services.scheduler.notification import Event, KnownContact, Notice, event_id
from services.scheduler.state.effects import Effects, InsertDelivery
from services.scheduler.state.state import State
from services.scheduler.state.task import Task

_DEFAULTS = Notice()


def tell_end(state: State, task: Task, final: TaskState, now: Now, effects: Effects) -> None:
    """Adds a delivery for each contact that is to hear of this end."""
    if index_of(task.key) >= 0:
        return
    end = Event.SUCCEEDED if final is TaskState.SUCCEEDED else Event.FAILED
    notice = task.spec.notice or _DEFAULTS
    subject = format_task_id(task.key)
    word = final.name.lower()
    for contact in told(notice, state.contacts.get(task.account, {}), end):
        effects.rows.append(
            InsertDelivery(
                event_id(contact.id, f"{subject} {word}"), contact.id, task.account, contact.name, subject,
                f"task.{word}", title(task.spec.name, subject, word), now.wall_ms,
            )
        )  # fmt: skip
        effects.told.add(contact.id)


def told(notice: Notice, contacts: Mapping[str, KnownContact], event: Event) -> list[KnownContact]:
    """The contacts to tell; only verified ones are told anything."""
    if notice.silent or not notice.events & event:
        return []
    if notice.contact:
        named = contacts.get(notice.contact)
        return [named] if named is not None and named.is_verified else []
    return [contact for contact in contacts.values() if contact.is_verified and contact.default_for & event]


def title(name: str, subject: str, word: str) -> str:
    """One line for people."""
    shown = " ".join(name.split())[:100]
    return f"{shown} ({subject}) {word}" if shown else f"{subject} {word}"
