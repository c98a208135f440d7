"""What is said to whoever interrupts a command that waits: the work goes on, and what to type about it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.invocation import Invocation


@contextlib.contextmanager
def goes_on(yard: Invocation, what: str, *commands: str) -> Iterator[None]:
    """Around waiting for `what`; `commands` are what leads back to it, and what ends it."""
    try:
        yield
    except asyncio.CancelledError:
        yard.say(f"\ndetached; {what} goes on")
        yard.say(f"  next: {' · '.join(commands)}")
        raise
