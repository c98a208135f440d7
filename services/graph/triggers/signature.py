"""Signatures of webhook deliveries, in the forms that there are. Pure.

Standard Webhooks (https://www.standardwebhooks.com, specification 1.0): HMAC-SHA256 over id, time and body under the
bytes that the secret stands for. GitHub's: over the body alone, under the secret's text. Every secret that counts is
tried in constant time.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Iterable

WINDOW_S = 300
"""How far a delivery's time may be from ours; also how long a replay could come."""
PREFIX = "whsec_"
SIGNATURES_MOST = 10
DELIVERY_LENGTH = 200


def new_secret() -> str:
    """256 bits."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def sign(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """Of Standard Webhooks: "v1,…"."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{delivery}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def sign_body(secret: str, body: bytes) -> str:
    """Of GitHub's form: "sha256=…"."""
    return "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()


def is_signed(
    secrets_that_count: Iterable[str], delivery: str, timestamp: str, body: bytes, header: str
) -> bool:
    """Whether one of the signatures in the header is one of ours."""
    wanted = [sign(secret, delivery, timestamp, body) for secret in secrets_that_count]
    return _is_among(header.split(" ")[:SIGNATURES_MOST], wanted)


def is_body_signed(secrets_that_count: Iterable[str], body: bytes, header: str) -> bool:
    """Whether the header is one of our signatures of the body."""
    return _is_among([header], [sign_body(secret, body) for secret in secrets_that_count])


def _is_among(given: Iterable[str], wanted: Iterable[str]) -> bool:
    found = False
    offered = [one.encode() for one in given]
    for ours in wanted:
        for one in offered:
            found |= hmac.compare_digest(one, ours.encode())
    return found


def is_fresh(timestamp: str, now_ms: int) -> bool:
    """Whether a time in whole seconds lies within the window."""
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        return False
    return abs(int(timestamp) - now_ms // 1000) <= WINDOW_S
