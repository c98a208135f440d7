"""Triggers, firings and back-fills as messages, and what is asked for as values. Raises what cannot be read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from modelyard.v1 import run_pb2
from modelyard.v1 import trigger_pb2 as pb
from services.graph.convert.project import time_message
from services.graph.convert.run import STATES
from services.graph.runs import parameters
from services.graph.runs.state import RunState
from services.graph.triggers.cron import Schedule, schedule
from services.graph.triggers.events import PATH_LENGTH
from services.graph.triggers.model import (
    ArtifactSource,
    Backfill,
    CatchUp,
    Concurrency,
    CronSource,
    Firing,
    FiringState,
    ModelSource,
    Reprocess,
    RunTrigger,
    Source,
    TriggerInvalid,
    TriggerNameInvalid,
    WebhookForm,
    WebhookSource,
    Wish,
)
from services.graph.triggers.model import Sequence as Order

RUNNING_MOST = 1_000
WAITING_MOST = 10_000
CATCH_UP_MOST = 1_000
VERSION_MOST = 1 << 53
TEXT_MOST = 2_000
PARAMS_BYTES = 256 << 10
EVENT_PARAMS_MOST = 100
NEXT_SHOWN = 5
_YEAR_9999_MS = 253_402_300_799_000
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,79}")
_ID = re.compile(r"tr-[0-9]+")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-/]{0,199}")

CONCURRENCY = {
    0: Concurrency.ALLOW,
    pb.TRIGGER_CONCURRENCY_ALLOW: Concurrency.ALLOW,
    pb.TRIGGER_CONCURRENCY_FORBID: Concurrency.FORBID,
    pb.TRIGGER_CONCURRENCY_QUEUE: Concurrency.QUEUE,
}
CATCH_UP = {
    0: CatchUp.LAST, pb.CATCH_UP_NONE: CatchUp.NONE, pb.CATCH_UP_LAST: CatchUp.LAST, pb.CATCH_UP_ALL: CatchUp.ALL
}  # fmt: skip
REPROCESS = {
    0: Reprocess.NONE, pb.REPROCESS_NONE: Reprocess.NONE, pb.REPROCESS_FAILED: Reprocess.FAILED,
    pb.REPROCESS_ALL: Reprocess.ALL,
}  # fmt: skip
ORDERS = {
    0: Order.OLDEST, pb.BACKFILL_ORDER_OLDEST: Order.OLDEST, pb.BACKFILL_ORDER_NEWEST: Order.NEWEST
}  # fmt: skip
FORMS = {
    0: WebhookForm.STANDARD, pb.WEBHOOK_FORM_STANDARD: WebhookForm.STANDARD, pb.WEBHOOK_FORM_GITHUB: WebhookForm.GITHUB
}  # fmt: skip
FIRING_STATES: dict[int, FiringState] = {
    pb.FIRING_STATE_WAITING: FiringState.WAITING, pb.FIRING_STATE_STARTED: FiringState.STARTED,
    pb.FIRING_STATE_SKIPPED: FiringState.SKIPPED, pb.FIRING_STATE_REFUSED: FiringState.REFUSED,
    pb.FIRING_STATE_CANCELLED: FiringState.CANCELLED,
}  # fmt: skip
_SHOWN_STATES: dict[FiringState, Any] = {state: value for value, state in FIRING_STATES.items()}


def value_of(words: Mapping[int, Any], number: int, field: str) -> Any:
    """What an enum's number means. Raises TriggerInvalid."""
    if number not in words:
        raise TriggerInvalid(f"{field}: {number} means nothing", field=field)
    return words[number]


def _within(value: int, first: int, last: int, field: str) -> int:
    if not first <= value <= last:
        raise TriggerInvalid(f"{field}: {value} is not within {first} … {last}", field=field)
    return value


def name_of(name: str) -> str:
    """A name for a trigger. Raises TriggerNameInvalid."""
    if not _NAME.fullmatch(name) or _ID.fullmatch(name):
        raise TriggerNameInvalid(
            f"{name[:80]!r} is not a trigger's name", field="trigger.name",
            next_step="letters, digits, '-', '_' and '.', beginning with a letter, for example nightly",
        )  # fmt: skip
    return name


def wish_of(message: pb.RunTrigger, prefix: str = "trigger") -> Wish:
    """What is asked for. Raises TriggerInvalid, CronInvalid, TimeZoneUnknown, ParamsInvalid with the field."""
    return Wish(
        source=_source(message, prefix),
        version=_within(message.version, 0, VERSION_MOST, f"{prefix}.version"),
        params=params_of(message.params_json, f"{prefix}.params_json"),
        event_params=_event_params(message.event_params, f"{prefix}.event_params"),
        concurrency=value_of(CONCURRENCY, message.concurrency, f"{prefix}.concurrency"),
        max_running=_within(message.max_running, 0, RUNNING_MOST, f"{prefix}.max_running") or 1,
        max_waiting=_within(message.max_waiting, 0, WAITING_MOST, f"{prefix}.max_waiting") or 100,
        comment=message.comment[:TEXT_MOST],
    )


def params_of(text: str, field: str) -> str:
    """A JSON object as it was written; "" for none. Raises ParamsInvalid, TriggerInvalid."""
    if len(text) > PARAMS_BYTES:
        raise TriggerInvalid(f"{field} has more than {PARAMS_BYTES} characters", field=field)
    parameters.decode_object(text, field)
    return text


def _event_params(given: Mapping[str, str], field: str) -> dict[str, str]:
    if len(given) > EVENT_PARAMS_MOST:
        raise TriggerInvalid(f"{field}: more than {EVENT_PARAMS_MOST}", field=field)
    for name, path in given.items():
        if not name or not path or len(name) > PATH_LENGTH or len(path) > PATH_LENGTH:
            raise TriggerInvalid(
                f"{field}: {name[:40]!r} ← {path[:40]!r}: a parameter and a field of the event", field=field,
                next_step="for example day ← date, or ref ← body.ref",
            )  # fmt: skip
    return dict(given)


def _source(message: pb.RunTrigger, prefix: str) -> Source:
    kind = message.WhichOneof("source")
    if kind == "cron":
        cron = message.cron
        Schedule(cron.expression, cron.time_zone, f"{prefix}.cron")
        most = _within(cron.catch_up_most, 0, CATCH_UP_MOST, f"{prefix}.cron.catch_up_most") or 100
        catch_up = value_of(CATCH_UP, cron.catch_up, f"{prefix}.cron.catch_up")
        return CronSource(cron.expression, cron.time_zone or "UTC", catch_up, most)
    if kind == "webhook":
        return WebhookSource(value_of(FORMS, message.webhook.form, f"{prefix}.webhook.form"))
    if kind == "artifact":
        text = message.artifact.name_prefix
        if len(text) > 200 or not text.isprintable():
            raise TriggerInvalid(
                "a name's beginning has at most 200 characters that can be printed",
                field=f"{prefix}.artifact.name_prefix",
            )
        return ArtifactSource(text)
    if kind == "model":
        for field, text in (("model", message.model.model), ("alias", message.model.alias)):
            if (text or field == "model") and not _MODEL.fullmatch(text):
                raise TriggerInvalid(
                    f"{text[:60]!r} is not the name of {'an alias' if field == 'alias' else 'a model'}",
                    field=f"{prefix}.model.{field}", next_step="yard model ls shows yours",
                )  # fmt: skip
        return ModelSource(message.model.model, message.model.alias)
    raise TriggerInvalid(
        "a trigger has a schedule, a webhook, artefacts or a model to fire it", field=prefix,
        next_step="set one of cron, webhook, artifact, model",
    )  # fmt: skip


def millis_of(time: Timestamp, field: str) -> int:
    """Raises TriggerInvalid where it is no time of this era."""
    value = time.seconds * 1000 + time.nanos // 1_000_000
    if not 0 <= value <= _YEAR_9999_MS:
        raise TriggerInvalid(f"{field} is no time since 1970", field=field)
    return value


def source_message(message: pb.RunTrigger, trigger: RunTrigger, url: str) -> None:
    """Fills in what fires it."""
    source = trigger.wish.source
    if isinstance(source, CronSource):
        message.cron.expression, message.cron.time_zone = source.expression, source.time_zone
        message.cron.catch_up = _number(CATCH_UP, source.catch_up)
        message.cron.catch_up_most = source.catch_up_most
    elif isinstance(source, WebhookSource):
        message.webhook.path, message.webhook.form = f"/triggers/{trigger.id}", _number(FORMS, source.form)
        message.webhook.url = f"{url}/triggers/{trigger.id}" if url else ""
        if trigger.old_until_ms:
            message.webhook.old_secret_expire_time.FromMilliseconds(trigger.old_until_ms)
    elif isinstance(source, ArtifactSource):
        message.artifact.name_prefix = source.name_prefix
        message.artifact.SetInParent()
    else:
        message.model.model, message.model.alias = source.model, source.alias


def trigger_message(trigger: RunTrigger, url: str = "") -> pb.RunTrigger:
    """The wire form, without what it has fired."""
    wish = trigger.wish
    message = pb.RunTrigger(
        id=trigger.id, name=trigger.name, account=trigger.account, project_id=f"p-{trigger.project}",
        version=wish.version, params_json=wish.params, event_params=dict(wish.event_params),
        concurrency=_number(CONCURRENCY, wish.concurrency), max_running=wish.max_running, max_waiting=wish.max_waiting,
        paused=trigger.is_paused, pause_reason=trigger.pause_reason, comment=wish.comment,
        create_time=time_message(trigger.create_time_ms), update_time=time_message(trigger.update_time_ms),
        revision=trigger.revision,
    )  # fmt: skip
    source_message(message, trigger, url)
    if trigger.next_ms is not None and not trigger.is_paused:
        message.next_time.FromMilliseconds(trigger.next_ms)
    if trigger.missed is not None:
        message.missed.from_time.FromMilliseconds(trigger.missed[0])
        message.missed.to_time.FromMilliseconds(trigger.missed[1])
    return message


def next_times(trigger: RunTrigger, now_ms: int) -> list[Timestamp]:
    """Of a schedule that is not paused."""
    source = trigger.wish.source
    if not isinstance(source, CronSource) or trigger.is_paused:
        return []
    times = schedule(source.expression, source.time_zone).after(max(now_ms, trigger.cursor))
    return [time_message(one) for _, one in zip(range(NEXT_SHOWN), times, strict=False)]


def firing_message(firing: Firing) -> pb.Firing:
    """The wire form."""
    message = pb.Firing(
        id=firing.id, trigger_id=f"tr-{firing.trigger}", state=_SHOWN_STATES[firing.state], key=firing.key,
        create_time=time_message(firing.create_time_ms), event_json=firing.event, reason=firing.reason,
        message=firing.message, run_id=f"r-{firing.run}" if firing.run else "", run_state=run_state(firing.run_state),
        backfill_id=f"b-{firing.backfill}" if firing.backfill else "",
    )  # fmt: skip
    if firing.logical_ms is not None:
        message.logical_time.FromMilliseconds(firing.logical_ms)
    return message


def run_state(text: str) -> run_pb2.RunState.ValueType:
    """Of a run that may be gone."""
    try:
        return STATES[RunState(text)]
    except ValueError:
        return run_pb2.RUN_STATE_UNSPECIFIED


def backfill_message(backfill: Backfill, counts: Mapping[tuple[str, str], int]) -> pb.Backfill:
    """The wire form. `counts`: firings by their state and their run's."""

    def count(*wanted: tuple[str, Sequence[str]]) -> int:
        return sum(
            number for (state, run), number in counts.items()
            for one, runs in wanted if state == one and (not runs or run in runs)
        )  # fmt: skip

    waiting, running = count(("waiting", ())), count(("started", ("running", "paused")))
    if backfill.is_cancelled:
        state = pb.BACKFILL_STATE_CANCELLED
    else:
        state = pb.BACKFILL_STATE_RUNNING if waiting or running else pb.BACKFILL_STATE_DONE
    return pb.Backfill(
        id=backfill.id if backfill.number else "", trigger_id=f"tr-{backfill.trigger}", account=backfill.account,
        from_time=time_message(backfill.from_ms), to_time=time_message(backfill.to_ms),
        max_running=backfill.max_running, order=_number(ORDERS, backfill.sequence),
        reprocess=_number(REPROCESS, backfill.reprocess), state=state,
        create_time=time_message(backfill.create_time_ms), kept_count=backfill.kept_count, waiting_count=waiting,
        running_count=running, succeeded_count=count(("started", ("succeeded",))),
        failed_count=count(("started", ("failed", "cancelled", ""))),
        left_count=count(("skipped", ()), ("refused", ()), ("cancelled", ())), params_json=backfill.params,
    )  # fmt: skip


def _number(words: Mapping[int, Any], value: Any) -> Any:
    return next(number for number, word in words.items() if number and word == value)
