"""What happened, as a JSON object, and which of its fields become parameters of a run. Pure.

Nothing of an event is a template or is evaluated: a parameter is one field, taken whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.graph.runs import parameters
from services.graph.triggers.cron import Schedule, instant
from services.graph.triggers.model import EventFieldMissing

PATH_LENGTH = 200


def text_of(time_ms: int) -> str:
    """For example 2026-01-01T05:00:00Z; with milliseconds where there are some."""
    kept = "milliseconds" if time_ms % 1000 else "seconds"
    return instant(time_ms).isoformat(timespec=kept).replace("+00:00", "Z")


def at_time(schedule: Schedule, time_ms: int, previous: int | None) -> dict[str, Any]:
    """A time of a schedule. `previous_time` to `time` is what a run that covers an interval covers."""
    local = instant(time_ms).astimezone(schedule.zone)
    return {
        "kind": "cron",
        "time": text_of(time_ms),
        "local_time": local.isoformat(timespec="seconds"),
        "date": local.date().isoformat(),
        "time_zone": schedule.zone.key,
        "previous_time": text_of(previous) if previous is not None else None,
    }


def at_times(schedule: Schedule, times: Sequence[int]) -> list[dict[str, Any]]:
    """Ascending times of a schedule without gaps."""
    if not times:
        return []
    befores = [schedule.previous(times[0]), *times]
    return [at_time(schedule, one, before) for before, one in zip(befores, times, strict=False)]


def by_hand(account: str, time_ms: int, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": "hand", "time": text_of(time_ms), "account": account, "body": dict(body)}


def delivered(delivery: str, time_ms: int, body: Any, occasion: str) -> dict[str, Any]:
    """`occasion`: what happened at the sender's, in its word; "" where it says none."""
    event = {"kind": "webhook", "time": text_of(time_ms), "delivery_id": delivery, "body": body}
    return {**event, "event": occasion} if occasion else event


def params_of(event: Mapping[str, Any], event_params: Mapping[str, str], given: str, over: str) -> str:
    """The run's parameters: the trigger's, then fields of the event, then what was said when it fired.

    Raises EventFieldMissing.
    """
    values = parameters.decode_object(given, "params_json")
    for name, path in event_params.items():
        values[name] = _field(event, path, name)
    values.update(parameters.decode_object(over, "params_json"))
    return parameters.encode(values)


def _field(event: Mapping[str, Any], path: str, parameter: str) -> Any:
    here: Any = event
    for step in path.split("."):
        if isinstance(here, Mapping) and step in here:
            here = here[step]
        elif isinstance(here, list) and step.isdecimal() and len(step) < 10 and int(step) < len(here):
            here = here[int(step)]
        else:
            there = ", ".join(sorted(here)[:20]) if isinstance(here, Mapping) else f"a {type(here).__name__}"
            raise EventFieldMissing(
                f"the event has no field {path!r}, which parameter {parameter!r} is taken from",
                field="event_params", next_step=f"there is: {there or 'nothing'}",
            )  # fmt: skip
    return here
