"""What one thread waits for: descriptors, and signals that are to be looked at between them.

Owns the poll. Whose descriptors they are, and what is done then, is their owners'.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterable

Handler = Callable[[int], None]
Watch = Callable[[int, int, Handler | None], None]
"""Descriptor, events (0: none any more), who is told of them."""


class Watching:
    """Of one process; its signals are this one's from `take` on."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._taken: list[int] = []
        self._wake = -1

    def watch(self, fd: int, events: int, handler: Handler | None) -> None:
        """Tells of these events from now on; without any, or without a handler: of none."""
        if handler is None or not events:
            if self._handlers.pop(fd, None) is not None:
                self._poll.unregister(fd)
        elif fd in self._handlers:
            self._handlers[fd] = handler
            self._poll.modify(fd, events)
        else:
            self._handlers[fd] = handler
            self._poll.register(fd, events)

    def take(self, numbers: Iterable[int]) -> None:
        """These signals are kept for `taken`, and end a wait."""
        if self._wake < 0:
            self._wake, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            signal.set_wakeup_fd(write)
            self.watch(self._wake, select.EPOLLIN, self._on_wake)
        for number in numbers:
            signal.signal(number, lambda got, _: self._taken.append(got))

    def taken(self) -> list[signal.Signals]:
        """What has come since the last call."""
        found = []
        while self._taken:
            found.append(signal.Signals(self._taken.pop(0)))
        return found

    def wait(self, timeout_s: float) -> None:
        """Once; who is told is told in here."""
        for fd, events in self._poll.poll(timeout_s):
            if handler := self._handlers.get(fd):
                handler(events)

    def _on_wake(self, _: int) -> None:
        os.read(self._wake, 4096)
