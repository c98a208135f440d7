"""Who wants to know when something of a service has changed: by the thing, each with an event of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Watchers(Generic[K]):
    """Of one service, on its loop. Its length is the number of things that somebody watches."""

    def __init__(self) -> None:
        self._events: dict[K, list[asyncio.Event]] = {}

    def __len__(self) -> int:
        return len(self._events)

    @contextmanager
    def watch(self, thing: K) -> Iterator[asyncio.Event]:
        """Set whenever the thing has changed, for as long as the block lasts; whoever waits clears it."""
        changed = asyncio.Event()
        self._events.setdefault(thing, []).append(changed)
        try:
            yield changed
        finally:
            left = self._events[thing]
            left.remove(changed)
            if not left:
                del self._events[thing]

    def tell(self, thing: K) -> None:
        """The thing has changed."""
        for changed in self._events.get(thing, ()):
            changed.set()
