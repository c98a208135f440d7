"""Of the call that is being computed, for code of a component: whether its caller still wants it.

    from modelyard.serving import current
    if current.is_cancelled(): …

Holds in threads of the frame and in coroutines; a thread that the code has started itself sees no call.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Protocol

from modelyard.serving.errors import ServingError


class Cancelled(ServingError):
    """Nobody waits for the answer any more."""

    code = "CANCELLED"


class Asked(Protocol):
    """What is known of a call."""

    @property
    def is_cancelled(self) -> bool: ...

    @property
    def deadline_ns(self) -> int:
        """By the monotonic clock; 0: none."""
        ...

    @property
    def parameters(self) -> Mapping[str, Any]: ...


CALL: ContextVar[Asked | None] = ContextVar("CALL", default=None)


def is_cancelled() -> bool:
    """Nobody waits for the answer any more: cancelled, its deadline passed, or the connection gone."""
    call = CALL.get()
    return call is not None and (call.is_cancelled or left_s() == 0.0)


def left_s() -> float:
    """Until the deadline; infinite without one."""
    call = CALL.get()
    if call is None or not call.deadline_ns:
        return float("inf")
    return max(0.0, (call.deadline_ns - time.monotonic_ns()) / 1e9)


def parameters() -> Mapping[str, Any]:
    """As the caller gave them; those of a batch are the same for all of it."""
    call = CALL.get()
    return {} if call is None else call.parameters
