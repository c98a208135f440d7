"""Keeps attempts that were replaced from writing: an upload counts only if its attempt is still the current one.

A token is checked when a call begins; an upload may take longer than its attempt lives, so that it is checked again
before anything of it is published.
"""

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from services.chassis.security import TASK, Authenticator, principal


class Fence:
    """Asks whoever knows the tokens."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def around(
        self, chunks: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        """The chunks; after the last one raises `TokenStale` if the caller is a task whose attempt is over."""
        async for chunk in chunks:
            yield chunk
        if principal().role == TASK:
            metadata = dict(context.invocation_metadata() or ())
            secret = str(metadata.get("authorization", "")).partition(" ")[2].strip()
            await self._authenticator.authenticate(secret)
