"""What one trainer is to know and has not acknowledged.

Owns the numbers of one session: they count anew after each hello, and what was not acknowledged is told again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from modelyard.v1 import seat_pb2 as pb

BATCH = 200
KEPT_MOST = 10_000
"""Beyond so many the oldest progress goes that was not sent; nothing else does."""


class Source(NamedTuple):
    """The report of a shim that an event comes from; number 0: nobody waits for its acknowledgement."""

    worker: str
    key: str
    number: int


class SeatQueue:
    """Events in their order."""

    def __init__(self) -> None:
        self._events: deque[tuple[pb.SeatEvent, Source]] = deque()
        # Of the first event that is kept, and of the next one that is sent.
        self._first = self._next = 1
        self.wake = asyncio.Event()

    def add(self, event: pb.SeatEvent, source: Source) -> None:
        """Something has happened. Of what only tells the present, the latest is enough."""
        if event.HasField("activity") and len(self._events) > BATCH:
            return
        if event.HasField("progress") and len(self._events) >= KEPT_MOST:
            self._drop_progress()
        self._events.append((event, source))
        self.wake.set()

    def begin(self) -> None:
        """A new session: all is told again, but of how a seat was only ends and the last; its hello has the rest."""
        self._first = self._next = 1
        kept: deque[tuple[pb.SeatEvent, Source]] = deque()
        told: set[tuple[str, int]] = set()
        for event, source in reversed(self._events):
            whose = (event.task_id, event.attempt)
            if event.HasField("seat") and whose in told and event.seat.state != pb.SEAT_STATE_ENDED:
                continue
            if event.HasField("seat"):
                told.add(whose)
            kept.appendleft((event, source))
        self._events = kept
        self.wake.set()

    def take(self) -> tuple[int, list[pb.SeatEvent]]:
        """What was not sent in this session, and the number of its first."""
        begin = self._next - self._first
        events = [event for event, _ in list(self._events)[begin : begin + BATCH]]
        number = self._next
        self._next += len(events)
        if self._next - self._first >= len(self._events):
            self.wake.clear()
        return number, events

    def acknowledge(self, number: int) -> list[Source]:
        """The trainer has everything up to this number."""
        sources = []
        while self._events and self._first <= number and self._first < self._next:
            sources.append(self._events.popleft()[1])
            self._first += 1
        return sources

    def has(self, key: str) -> bool:
        """Whether something of a seat, by its task's key, is not acknowledged."""
        return any(f"{event.task_id}/{event.attempt}" == key for event, _ in self._events)

    def _drop_progress(self) -> None:
        for place, (event, _) in enumerate(self._events):
            if place >= self._next - self._first and event.HasField("progress"):
                del self._events[place]
                return

    @property
    def is_empty(self) -> bool:
        return not self._events
