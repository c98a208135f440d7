"""The longest that a call may run, whatever its client allows.

Owns the cancelling of a call's own task and telling that apart from a client's cancellation.
"""

from __future__ import annotations

import asyncio

from services.chassis.errors import DeadlineExceeded


class CallTooLong(DeadlineExceeded):
    """The call took longer than this service allows; its effect is unknown."""


class Cap:
    """Cancels the running task after `seconds`; cheaper than asyncio.timeout."""

    __slots__ = ("_handle", "_task", "fired")

    def __init__(self, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self.fired = False
        self._handle = asyncio.get_running_loop().call_later(seconds, self._fire)

    def _fire(self) -> None:
        self.fired = True
        self._task.cancel()

    def release(self) -> None:
        """The call has ended."""
        self._handle.cancel()


def uncancel() -> None:
    """The cancellation was ours: what follows in this task may wait again."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()


def too_long(most_s: float) -> CallTooLong:
    """What a call is answered that ran into a cap of `most_s` seconds."""
    return CallTooLong(
        f"the call took longer than the {most_s:g} s that this service allows; its effect is unknown",
        metadata={"limit_s": f"{most_s:g}"},
    )
