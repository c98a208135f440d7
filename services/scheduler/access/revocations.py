"""That tokens were revoked, told to whoever remembers answers about them: this server's guard, and the other services.

Owns the number of revocations since the start. Which tokens they were, nobody is told: whoever remembers asks anew.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from services.chassis.steps.watchers import Watchers


class Revocations:
    """Of one scheduler, on its loop."""

    def __init__(self) -> None:
        self.generation = 0
        """Grows with every revocation."""
        self._start = os.urandom(8).hex()
        self._listeners: list[Callable[[], None]] = []
        self._watchers: Watchers[None] = Watchers()

    @property
    def revision(self) -> str:
        """Another text after each revocation and each start: who was not there has missed any number of them."""
        return f"{self._start}-{self.generation}"

    def add(self) -> None:
        """Tokens were revoked, and their end is on disk."""
        self.generation += 1
        for listener in self._listeners:
            listener()
        self._watchers.tell(None)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """`listener` is called after each, for as long as this lives."""
        self._listeners.append(listener)

    @contextmanager
    def watch(self) -> Iterator[asyncio.Event]:
        """Set after each, for as long as the block lasts; whoever waits clears it."""
        with self._watchers.watch(None) as changed:
            yield changed
