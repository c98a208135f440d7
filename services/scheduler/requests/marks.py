"""How the request that an RPC makes marks the machine's events; `chassis.marks` has the mark. Pure."""

from services.chassis.requests.marks import Mark
from services.scheduler.state.events import Event, Marked


def marked(mark: Mark | None, event: Event) -> Event:
    """The event under this mark, if it wants an answer and does not keep the promise itself."""
    if mark is None or not hasattr(event, "reply") or hasattr(event, "request_id") or not mark.take():
        return event
    return Marked(event.reply, mark.account, mark.request_id, mark.content, event)
