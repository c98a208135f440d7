"""Waiting for something to become true, and saying what was there instead when it does not.

For tests with real processes; unit tests turn a clock instead of waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_PAUSE_S = 0.01
_LOG_LINES = 30


async def wait_until(
    condition: Callable[[], T | Awaitable[T]],
    what: str,
    *,
    timeout_s: float = 10.0,
    state: Callable[[], object] | None = None,
    logs: Iterable[Path] = (),
) -> T:
    """The first true value of `condition`, asked every 10 ms.

    Gives up with an AssertionError that says `what` was awaited, the last value, `state()` and the
    last lines of each log.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(_report(what, timeout_s, value, state, logs))
        await asyncio.sleep(_PAUSE_S)


def wait_until_sync(
    condition: Callable[[], T],
    what: str,
    *,
    timeout_s: float = 10.0,
    state: Callable[[], object] | None = None,
    logs: Iterable[Path] = (),
) -> T:
    """`wait_until` for tests without an event loop."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(_report(what, timeout_s, value, state, logs))
        time.sleep(_PAUSE_S)
    return value


def _report(
    what: str, timeout_s: float, value: object, state: Callable[[], object] | None, logs: Iterable[Path]
) -> str:
    lines = [f"after {timeout_s:g} s still not: {what}", f"last value: {value!r}"]
    if state is not None:
        lines.append(f"state: {state()!r}")
    for log in logs:
        tail = log.read_text(errors="replace").splitlines()[-_LOG_LINES:] if log.exists() else ["(absent)"]
        lines += [f"--- {log}", *tail]
    return "\n".join(lines)
