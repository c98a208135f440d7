"""What becomes of a delivery: who cannot sign learns nothing, who can gets a firing that is on disk. Knows no HTTP.

A form says what its senders' headers are called and what a signature is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from services.chassis.clock import Clock
from services.chassis.errors import ServiceError
from services.graph.triggers import events, signature
from services.graph.triggers.firing import Firings
from services.graph.triggers.model import NewFiring, RunTrigger, TriggerNotFound, WebhookForm, WebhookSource
from services.graph.triggers.sealing import Sealing

PING = "ping"
"""What GitHub sends to see whether anybody is there; it fires nothing."""
_DECOY = signature.new_secret()


class Delivery(msgspec.Struct, frozen=True):
    """What came, before it is believed. `headers`: by names in small letters."""

    trigger: str
    headers: Mapping[str, str]
    body: bytes

    def id(self, form: WebhookForm) -> str:
        """Which delivery it says that it is; "" where that is none."""
        given = self._header("x-github-delivery" if form is WebhookForm.GITHUB else "webhook-id")
        return given if len(given) <= signature.DELIVERY_LENGTH else ""

    def occasion(self, form: WebhookForm) -> str:
        """What happened there, in the sender's word; "" where the form has none."""
        return self._header("x-github-event")[:100] if form is WebhookForm.GITHUB else ""

    def is_signed(self, form: WebhookForm, secrets: list[str], now_ms: int) -> bool:
        """In the form, with one of the secrets, and in time where the form has a time."""
        if form is WebhookForm.GITHUB:
            return signature.is_body_signed(secrets, self.body, self._header("x-hub-signature-256"))
        timestamp = self._header("webhook-timestamp")
        is_signed = signature.is_signed(
            secrets, self.id(form), timestamp, self.body, self._header("webhook-signature")
        )
        return is_signed and signature.is_fresh(timestamp, now_ms)

    def _header(self, name: str) -> str:
        """What cannot be printed is none."""
        given = self.headers.get(name, "")
        return given if given.isprintable() else ""


class Answer(msgspec.Struct, frozen=True):
    """What is said to who delivered it."""

    status: int
    reason: str
    message: str
    firing: str = ""


REFUSED = Answer(401, "NOT_SIGNED", "the signature, the time or the trigger is not right")


class Deliveries:
    """Made by `GraphService`; asked by whoever listens."""

    def __init__(self, firings: Firings, sealing: Sealing, clock: Clock) -> None:
        self._firings = firings
        self._sealing = sealing
        self._clock = clock

    async def take(self, delivery: Delivery) -> Answer:
        """Idempotent by (trigger, delivery id)."""
        now_ms = self._clock.now_ms()
        trigger, secrets = await self._trigger(delivery.trigger, now_ms)
        form = form_of(trigger)
        is_signed = delivery.is_signed(form, secrets or [_DECOY], now_ms)
        name = delivery.id(form)
        if trigger is None or not secrets or not is_signed or not name:
            return REFUSED
        if delivery.occasion(form) == PING:
            return Answer(200, "PONG", f"{trigger.name} listens; a ping fires nothing")
        if trigger.is_paused:
            return Answer(409, "TRIGGER_PAUSED", f"{trigger.name} is paused")
        try:
            body = msgspec.json.decode(delivery.body, type=dict[str, Any]) if delivery.body else {}
        except (msgspec.MsgspecError, RecursionError) as error:
            return Answer(400, "BODY_INVALID", f"the body is no JSON object (application/json): {error}")
        event = events.delivered(name, now_ms, body, delivery.occasion(form))
        return await self._fire(trigger, name, msgspec.json.encode(event).decode(), now_ms)

    async def _fire(self, trigger: RunTrigger, delivery: str, event: str, now_ms: int) -> Answer:
        new = NewFiring(f"delivery:{delivery}", event)
        try:
            firing = await self._firings.store.firings.add(trigger, new, now_ms, lambda c, made: None)
        except TriggerNotFound:
            return REFUSED
        except ServiceError as error:
            return Answer(503, error.reason, error.message)
        self._firings.wake()
        return Answer(202, "", "", firing.id)

    async def _trigger(self, name: str, now_ms: int) -> tuple[RunTrigger | None, list[str]]:
        """Which it is for, and the secrets that count."""
        digits = name.removeprefix("tr-")
        if digits == name or not (digits.isascii() and digits.isdecimal() and len(digits) < 16):
            return None, []
        try:
            trigger = await self._firings.store.get(int(digits))
        except TriggerNotFound:
            return None, []
        if not isinstance(trigger.wish.source, WebhookSource):
            return None, []
        sealed = await self._firings.store.secrets(trigger.number, now_ms)
        opened = [self._sealing.open(one, trigger.account, trigger.name) for one in sealed]
        return trigger, [one for one in opened if one is not None]


def form_of(trigger: RunTrigger | None) -> WebhookForm:
    """Standard where there is no trigger: a stranger learns nothing of it."""
    source = trigger.wish.source if trigger is not None else None
    return source.form if isinstance(source, WebhookSource) else WebhookForm.STANDARD
