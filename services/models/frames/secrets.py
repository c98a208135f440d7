"""The secret of each start of a frame: it follows from the service's own key, so that no row holds it."""

from __future__ import annotations

import hashlib
import hmac


def secret_of(key: bytes, frame: int, epoch: int) -> str:
    """Of one start of one frame."""
    return hmac.new(key, f"f-{frame}/{epoch}".encode(), hashlib.sha256).hexdigest()
