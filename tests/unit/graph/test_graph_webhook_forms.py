"""Signatures of webhooks, against the examples that their authors publish."""

from __future__ import annotations

from services.graph.triggers.deliveries import Delivery
from services.graph.triggers.model import WebhookForm
from services.graph.triggers.signature import WINDOW_S, sign, sign_body

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
DELIVERY, STAMP = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def standard(**changed: str) -> Delivery:
    headers = {"webhook-id": DELIVERY, "webhook-timestamp": f"{STAMP}", "webhook-signature": SIGNATURE}
    return Delivery(
        "tr-1", {**headers, **{name.replace("_", "-"): text for name, text in changed.items()}}, BODY
    )


def test_delivery_is_signed_as_standard_webhooks_publishes_it() -> None:
    assert sign(SECRET, DELIVERY, f"{STAMP}", BODY) == SIGNATURE
    assert standard().is_signed(WebhookForm.STANDARD, [SECRET], STAMP * 1000)
    assert not standard().is_signed(WebhookForm.STANDARD, [SECRET], (STAMP + WINDOW_S + 1) * 1000)
    assert not standard(webhook_id="another").is_signed(WebhookForm.STANDARD, [SECRET], STAMP * 1000)


def test_body_is_signed_as_github_publishes_it() -> None:
    wanted = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert sign_body("It's a Secret to Everybody", b"Hello, World!") == wanted


def test_headers_that_cannot_be_printed_are_none() -> None:
    broken = standard(webhook_id="\udcff", webhook_timestamp="\udcff", webhook_signature="\udcff")
    assert broken.id(WebhookForm.STANDARD) == ""
    assert not broken.is_signed(WebhookForm.STANDARD, [SECRET], STAMP * 1000)
