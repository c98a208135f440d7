"""Triggers, firings and back-fills in words."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cli.output.nouns import age, clock
from cli.output.webhooks import form_of
from modelyard.v1 import run_pb2
from modelyard.v1 import trigger_pb2 as pb

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from cli.output.render import Columns

_DAYS_NAMED = 7


def zone_of(trigger: pb.RunTrigger) -> tzinfo:
    """The zone that its times are told in."""
    try:
        return ZoneInfo(trigger.cron.time_zone or "UTC")
    except (KeyError, ValueError, OSError):
        return UTC


def when(moment: Timestamp, zone: tzinfo, now: datetime | None = None) -> str:
    """ "tomorrow 06:00 Europe/Berlin"."""
    if not moment.seconds:
        return ""
    local = moment.ToDatetime(UTC).astimezone(zone)
    today = (now or datetime.now(UTC)).astimezone(zone).date()
    days = (local.date() - today).days
    if days in (-1, 0, 1):
        day = ("yesterday", "today", "tomorrow")[days + 1]
    elif 1 < days < _DAYS_NAMED:
        day = f"{local:%A}"
    else:
        day = f"{local:%Y-%m-%d}"
    return f"{day} {local:%H:%M} {zone}"


def source_of(trigger: pb.RunTrigger) -> str:
    """What fires it, in a few words."""
    kind = trigger.WhichOneof("source")
    if kind == "cron":
        return f"{trigger.cron.expression} {trigger.cron.time_zone}"
    if kind == "webhook":
        return f"webhook {trigger.webhook.url or trigger.webhook.path}"
    if kind == "artifact":
        return f"artefact {trigger.artifact.name_prefix}*"
    alias = f" {trigger.model.alias}" if trigger.model.alias else ""
    return f"model {trigger.model.model}{alias}"


def state_of(trigger: pb.RunTrigger) -> str:
    """One word."""
    return "paused" if trigger.paused else "active"


def next_of(trigger: pb.RunTrigger) -> str:
    """When it fires next, or what it waits for."""
    if trigger.paused:
        return f"paused: {trigger.pause_reason}" if trigger.pause_reason else "paused"
    if trigger.HasField("next_time"):
        return when(trigger.next_time, zone_of(trigger))
    return "never" if trigger.HasField("cron") else ""


def _concurrency(trigger: pb.RunTrigger) -> str:
    word = pb.TriggerConcurrency.Name(trigger.concurrency).removeprefix("TRIGGER_CONCURRENCY_").lower()
    if word == "queue":
        return f"queue, {trigger.max_running} at a time, {trigger.max_waiting} may wait"
    return word


def catch_up_word(cron: pb.CronSource) -> str:
    """One word."""
    return pb.CatchUp.Name(cron.catch_up).removeprefix("CATCH_UP_").lower()


def _catch_up(trigger: pb.RunTrigger) -> str:
    if not trigger.HasField("cron"):
        return ""
    word = catch_up_word(trigger.cron)
    return f"all, the newest {trigger.cron.catch_up_most}" if word == "all" else word


def _missed(trigger: pb.RunTrigger) -> str:
    if not trigger.HasField("missed"):
        return ""
    zone = zone_of(trigger)
    first = trigger.missed.from_time.ToDatetime(UTC).astimezone(zone)
    last = trigger.missed.to_time.ToDatetime(UTC).astimezone(zone)
    return (
        f"times from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}, while the service was down\n"
        f"yard trigger backfill {trigger.id} --from {_argument(first)} "
        f"--to {_argument(last + timedelta(seconds=1))}"
    )


def _argument(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="seconds")


def _last(trigger: pb.RunTrigger) -> str:
    if not trigger.HasField("last_firing"):
        return ""
    last = trigger.last_firing
    why = f": {last.message}" if last.message else ""
    return f"{last.id} {firing_state(last)}{why}, {age(last.create_time)} ago"


def _params(trigger: pb.RunTrigger) -> str:
    given = json.loads(trigger.params_json or "{}")
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in given.items()]
    return "\n".join(lines + [f"{name} ← {path}" for name, path in sorted(trigger.event_params.items())])


def _counts(trigger: pb.RunTrigger) -> str:
    parts = [(trigger.running_count, "running"), (trigger.waiting_count, "waiting")]
    return ", ".join(f"{count} {word}" for count, word in parts if count)


TRIGGER_COLUMNS: Columns = [
    ("TRIGGER", lambda one: one.id),
    ("NAME", lambda one: one.name),
    ("PROJECT", lambda one: one.project_id),
    ("STATE", state_of),
    ("FIRED BY", source_of),
    ("NEXT", next_of),
    ("LAST", _last),
]

TRIGGER_FIELDS: Columns = [
    ("trigger", lambda one: one.id),
    ("name", lambda one: one.name),
    ("account", lambda one: one.account),
    ("project", lambda one: f"{one.project_id}, version {one.version or 'newest'}"),
    ("fired by", source_of),
    ("signed", form_of),
    ("state", state_of),
    ("next", next_of),
    ("parameters", _params),
    ("concurrency", _concurrency),
    ("catch-up", _catch_up),
    ("runs", _counts),
    ("last", _last),
    ("missed", _missed),
    ("comment", lambda one: one.comment),
    ("revision", lambda one: f"{one.revision}"),
]


def run_word(state: run_pb2.RunState.ValueType) -> str:
    """One word; empty: none, or one that is gone."""
    return run_pb2.RunState.Name(state).removeprefix("RUN_STATE_").lower() if state else ""


def firing_state(firing: pb.Firing) -> str:
    """Its run's state where it has one."""
    word = pb.FiringState.Name(firing.state).removeprefix("FIRING_STATE_").lower()
    return run_word(firing.run_state) or word


FIRING_COLUMNS: Columns = [
    ("FIRING", lambda one: one.id),
    ("STATE", firing_state),
    ("RUN", lambda one: one.run_id),
    ("KEY", lambda one: one.key),
    ("BACKFILL", lambda one: one.backfill_id),
    ("AGE", lambda one: age(one.create_time)),
    ("WHY", lambda one: f"{one.reason}: {one.message}" if one.reason else ""),
]

FIRING_FIELDS: Columns = [(title.lower(), cell) for title, cell in FIRING_COLUMNS]

TIME_COLUMNS: Columns = [
    ("TIME", lambda one: clock(one.logical_time)),
    ("RUNS", lambda one: "yes" if one.runs else "no"),
    ("HAS", lambda one: f"{one.run_id} {run_word(one.run_state)}".strip()),
]


def backfill_state(backfill: pb.Backfill) -> str:
    """One word."""
    return pb.BackfillState.Name(backfill.state).removeprefix("BACKFILL_STATE_").lower()


def progress(backfill: pb.Backfill) -> str:
    """ "3 of 31 done, 2 running, 26 waiting"."""
    done = backfill.succeeded_count + backfill.failed_count + backfill.left_count
    everything = done + backfill.running_count + backfill.waiting_count
    parts = [f"{done} of {everything} done"]
    for count, word in (
        (backfill.failed_count, "failed"), (backfill.left_count, "left out"), (backfill.running_count, "running"),
        (backfill.waiting_count, "waiting"), (backfill.kept_count, "had run already"),
    ):  # fmt: skip
        if count:
            parts.append(f"{count} {word}")
    return ", ".join(parts)


BACKFILL_COLUMNS: Columns = [
    ("BACK-FILL", lambda one: one.id),
    ("TRIGGER", lambda one: one.trigger_id),
    ("STATE", backfill_state),
    ("FROM", lambda one: clock(one.from_time)),
    ("TO", lambda one: clock(one.to_time)),
    ("PROGRESS", progress),
    ("AGE", lambda one: age(one.create_time)),
]

BACKFILL_FIELDS: Columns = [
    ("back-fill", lambda one: one.id),
    ("trigger", lambda one: one.trigger_id),
    ("from", lambda one: clock(one.from_time)),
    ("to", lambda one: clock(one.to_time)),
    ("state", backfill_state),
    ("progress", progress),
    ("at a time", lambda one: f"{one.max_running}"),
]
