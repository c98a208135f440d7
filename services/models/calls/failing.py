"""What a caller is told whose call a frame did not answer."""

from __future__ import annotations

from typing import Any

from services.chassis.errors import ServiceError
from services.models.calls.call import Call
from services.models.calls.errors import FAILURES, CallTooLarge, FrameEnded, ModelFailed


def unsendable(error: ValueError) -> ServiceError:
    """No message can be made of it."""
    return CallTooLarge(
        f"the call cannot be handed to the model: {error}",
        next_step="send what is large as a tensor, not as a name, a shape or a parameter",
    )


def failure_of(call: Call, header: dict[str, Any]) -> ServiceError:
    """What the frame said, as this service says it."""
    leaf = FAILURES.get(str(header.get("code")), ModelFailed)
    return leaf(
        str(header.get("message") or ""),
        field=str(header.get("field") or ""),
        metadata={"model": call.route.served.key.model, "version": str(call.route.served.key.version)},
    )


def ended(call: Call, why: str) -> ServiceError:
    """Its frame took it along."""
    key = call.route.served.key
    step = "repeat the call" if call.route.served.config.serving.is_idempotent else (
        "repeat the call if computing it twice does no harm; serving.idempotent: true lets that happen by itself"
    )  # fmt: skip
    return FrameEnded(
        f"the frame of {key.model} version {key.version} ended while it computed the call: {why}",
        next_step=step,
        metadata={"model": key.model, "version": str(key.version)},
    )
