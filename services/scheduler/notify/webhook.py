"""Webhooks (json://, jsons://): one POST with a body and headers of our own, signed; no redirects.

Standard library only. See docs/contacts.md for the body and how a receiver checks the signature.
"""

import base64
import hashlib
import hmac
import http.client
import ssl
from urllib.parse import unquote, urlsplit

CONNECT_S = 10.0
SHOWN_BYTES = 200


class NotTaken(Exception):
    """The receiver did not take the message; the text says why."""


def sign(secret: str, body: bytes) -> str:
    """What X-Yard-Signature says of a body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def post(url: str, body: bytes, *, event_id: str, secret: str, timeout_s: float = CONNECT_S) -> None:
    """Returns when the receiver answered 2xx. Raises `NotTaken`, OSError or http.client.HTTPException."""
    parts = urlsplit(url)
    is_tls = parts.scheme.lower() == "jsons"
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if is_tls:
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=context)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=timeout_s)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "modelyard",
        "X-Yard-Event-Id": event_id,
        "X-Yard-Signature": sign(secret, body),
    }
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    try:
        connection.request(
            "POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, headers
        )
        answer = connection.getresponse()
        if 300 <= answer.status < 400:
            raise NotTaken(f"it answered {answer.status}, a redirect; redirects are not followed")
        if not 200 <= answer.status < 300:
            text = answer.read(SHOWN_BYTES).decode(errors="replace").strip()
            raise NotTaken(f"it answered {answer.status} {answer.reason}" + (f": {text}" if text else ""))
    finally:
        connection.close()
