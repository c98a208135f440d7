"""How a webhook is tried by hand, in lines for a shell."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from modelyard.v1 import trigger_pb2 as pb

SECRET_UNKNOWN = "whsec_…"


def form_of(trigger: pb.RunTrigger) -> str:
    """How deliveries are signed, in a few words; "" where nothing is delivered."""
    if not trigger.HasField("webhook"):
        return ""
    if trigger.webhook.form == pb.WEBHOOK_FORM_GITHUB:
        return "as GitHub does: X-Hub-Signature-256, X-GitHub-Delivery"
    return "as Standard Webhooks says: webhook-id, webhook-timestamp, webhook-signature"


def trial(trigger: pb.RunTrigger, secret: str, ca_file: Path | None) -> str:
    """What to type to deliver once, with openssl and curl."""
    url = trigger.webhook.url
    trust = f" --cacert {quote(str(ca_file))}" if ca_file is not None and url.startswith("https:") else ""
    head = [f"secret={quote(secret)}", "body='{}'"]
    call = f'curl -sS{trust} --data-binary "$body"'
    if trigger.webhook.form == pb.WEBHOOK_FORM_GITHUB:
        lines = [
            'signature=$(printf %s "$body" | openssl dgst -sha256 -hmac "$secret" -r | cut -d" " -f1)',
            f'{call} -H "X-GitHub-Delivery: try-$(date +%s)" -H "X-Hub-Signature-256: sha256=$signature" {quote(url)}',
        ]
    else:
        lines = [
            "time=$(date +%s) id=try-$(date +%s)",
            'key=$(printf %s "${secret#whsec_}" | base64 -d | od -An -v -tx1 | tr -d " \\n")',
            'signature=$(printf %s "$id.$time.$body" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary'
            " | base64)",
            f'{call} -H "webhook-id: $id" -H "webhook-timestamp: $time" -H "webhook-signature: v1,$signature"'
            f" {quote(url)}",
        ]
    return "\n".join([*head, *lines])
