"""The moment between deciding to refuse a stream and refusing it.

Python's client reports a bare INTERNAL when the answer overtakes what it is still sending; so a
refusal first reads what is already under way. Bounded in time and in messages, and all of it is
thrown away.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio

from services.chassis.errors import ServiceError

LINGER_S = 0.5
_QUIET_S = 0.05
_MESSAGES_MOST = 64


async def let_finish(context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """Return once the client has finished sending or is quiet, half a second at most. Safe to cancel."""
    try:
        async with asyncio.timeout(LINGER_S):
            for _ in range(_MESSAGES_MOST):
                async with asyncio.timeout(_QUIET_S):
                    if await context.read() is grpc.aio.EOF:
                        return
    except (TimeoutError, ServiceError, grpc.aio.BaseError):
        # Quiet, malformed, or the handler left a read of its own behind: refuse now.
        return
