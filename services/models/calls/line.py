"""The queue of one version: by priority, then first come; calls that are alike leave it together. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

from services.models.calls.call import Call

# Of those that are passed over in the search for calls that are alike.
_PASSED_MOST = 128


class Line:
    """Calls that nobody waits for any more stand in it until they are met; they do not count."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Call]] = []
        self._count = 0
        self.rows = 0
        """Of those that wait."""

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Call]:
        return (call for _, _, call in sorted(self._heap) if not call.answer.done())

    def push(self, call: Call) -> None:
        """One that comes again keeps its number, and so its place."""
        heappush(self._heap, (call.asked.priority, call.number, call))
        self._count += 1
        self.rows += call.asked.rows

    def left(self, call: Call) -> None:
        """The caller of one that stands in it is gone."""
        self._count -= 1
        self.rows -= call.asked.rows

    def first(self) -> Call | None:
        """Who goes next."""
        while self._heap:
            call = self._heap[0][2]
            if not call.answer.done():
                return call
            heappop(self._heap)
        return None

    def take(self, rows_most: int) -> list[Call]:
        """The next one, with those that may be computed together with it; none: nobody waits."""
        first = self.first()
        if first is None:
            return []
        heappop(self._heap)
        taken = [first]
        if rows_most > 1 and first.asked.rows and not first.on_part and len(self) > 1:
            self._take_alike(taken, rows_most - first.asked.rows)
        for call in taken:
            self.left(call)
        return taken

    def _take_alike(self, taken: list[Call], room: int) -> None:
        passed: list[tuple[int, int, Call]] = []
        likeness = taken[0].likeness
        while room > 0 and self._heap and len(passed) < _PASSED_MOST:
            entry = heappop(self._heap)
            call = entry[2]
            if call.answer.done():
                continue
            if 0 < call.asked.rows <= room and call.likeness == likeness and not call.on_part:
                taken.append(call)
                room -= call.asked.rows
            else:
                passed.append(entry)
        for entry in passed:
            heappush(self._heap, entry)
