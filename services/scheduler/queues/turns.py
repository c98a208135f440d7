"""Who goes next among those whose place moves: a heap whose entries are made anew only when it matters. Pure."""

import heapq
from typing import Any, Generic, Protocol, TypeVar


class Mover(Protocol):
    """Somebody with a place in an order; the smaller goes first, and no two are equal."""

    def place(self) -> tuple[Any, ...]: ...


M = TypeVar("M", bound=Mover)


class Turns(Generic[M]):
    """Those who wait for a turn. Whoever changes a member's place must say so with `touch`.

    While there is only one member nothing is computed, and nothing compared.
    """

    __slots__ = ("heap", "listed", "moved", "stamp")

    def __init__(self) -> None:
        self.heap: list[tuple[tuple[Any, ...], int, M]] = []
        # The stamp of each member's entry in the heap; entries with another are out of date.
        self.listed: dict[M, int] = {}
        # Whose entry is to be made (anew).
        self.moved: dict[M, None] = {}
        self.stamp = 0

    def add(self, member: M) -> None:
        if member not in self.listed:
            self.listed[member] = 0
            self.moved[member] = None

    def remove(self, member: M) -> None:
        self.listed.pop(member, None)

    def touch(self, member: M) -> None:
        """Its place may have changed."""
        if member in self.listed:
            self.moved[member] = None

    def first(self) -> M | None:
        """Whose turn it is; it stays a member."""
        listed = self.listed
        if len(listed) < 2:
            return next(iter(listed), None)
        if len(self.heap) > 4 * len(listed) + 64:
            self.heap.clear()
            self.moved.update(dict.fromkeys(listed))
        for member in self.moved:
            if member in listed:
                self.stamp += 1
                listed[member] = self.stamp
                heapq.heappush(self.heap, (member.place(), self.stamp, member))
        self.moved.clear()
        while listed.get(self.heap[0][2]) != self.heap[0][1]:
            heapq.heappop(self.heap)
        return self.heap[0][2]
