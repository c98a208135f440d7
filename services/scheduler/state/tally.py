"""How far an array is: whose turn comes next, and how the elements that had theirs ended. Pure.

Elements have their turn in order, unless something says which of them may: the indexes that were asked for, or what
became of their counterparts in another array. Then they go in the order in which they become ready.
"""

from collections import deque
from collections.abc import Sequence

from services.scheduler.model import TaskState

# Of an element in `Tally.ended`: its final state, and this if it had started.
STARTED = 16
FINAL = 15


class Tally:
    """Costs what has become of elements, not how many there are."""

    __slots__ = (
        "active", "cancelled", "ended", "failed", "is_closed", "is_parked", "is_partial", "most_active", "needed",
        "next_index", "ready", "seen", "size", "skipped", "succeeded", "total",
    )  # fmt: skip

    def __init__(self, size: int, indexes: Sequence[int] = (), needed: int = 0, most_active: int = 0) -> None:
        """``indexes``: only these elements; none: all. ``needed``: a bit for each dependency, element by element."""
        self.size = size
        self.total = len(indexes) or size
        # No element below it waits for its turn.
        self.next_index = size if indexes else 0
        # Elements that were made and have not ended, and how many that may be; 0: any number.
        self.active = 0
        self.most_active = most_active
        self.succeeded = 0
        self.failed = 0
        self.cancelled = 0
        # Elements beyond the next index that had their turn, or were cancelled before it.
        self.skipped: set[int] = set()
        self.needed = needed
        # Elements that may have their turn, oldest first; those that are no longer in ``seen`` are passed over.
        # None: all that are left may, in order.
        self.ready: deque[int] | None = deque() if indexes or needed else None
        # By element whose turn has not come: the bits of the dependencies that are met.
        self.seen: dict[int, int] = dict.fromkeys(indexes, 0)
        # Only elements in ``seen`` are left.
        self.is_closed = bool(indexes)
        if indexes and not needed:
            self.ready = deque(indexes)
        # It left its queue because nothing of it may start now.
        self.is_parked = False
        # By index, how elements ended; after a restart only those that ended since.
        self.ended = bytearray()
        self.is_partial = False

    @property
    def left(self) -> int:
        """How many elements have not had their turn."""
        return len(self.seen) if self.is_closed else self.size - self.next_index - len(self.skipped)

    @property
    def is_complete(self) -> bool:
        return self.active == 0 and self.left == 0

    @property
    def made(self) -> int:
        """How many had their turn, or never will."""
        return self.active + self.succeeded + self.failed + self.cancelled

    @property
    def is_full(self) -> bool:
        """Whether as many elements are under way as may be."""
        return 0 < self.most_active <= self.active

    def has_turn(self) -> bool:
        """Whether an element may have its turn now."""
        if self.is_full:
            return False
        if self.ready is None:
            return self.next_index < self.size
        self._drop_stale(self.ready)
        return bool(self.ready)

    def _drop_stale(self, ready: deque[int]) -> None:
        while ready and ready[0] not in self.seen:
            ready.popleft()

    def take(self) -> int:
        """The element whose turn it is; there must be one."""
        index = self.next_index
        if self.ready is not None:
            self._drop_stale(self.ready)
            index = self.ready.popleft()
        self.pass_over(index)
        return index

    def is_left(self, index: int) -> bool:
        """Whether the turn of this element may still come."""
        if self.is_closed:
            return index in self.seen
        return self.next_index <= index < self.size and index not in self.skipped

    def pass_over(self, index: int) -> None:
        """This element, which is left, has its turn, or will have none."""
        self.seen.pop(index, None)
        if self.is_closed:
            return
        if index == self.next_index:
            self.next_index += 1
        else:
            self.skipped.add(index)
        while self.next_index in self.skipped:
            self.skipped.remove(self.next_index)
            self.next_index += 1

    def meet(self, index: int, bit: int) -> None:
        """A dependency of an element is met; saying it again changes nothing."""
        if self.ready is None or not self.is_left(index):
            return
        before = self.seen.get(index, 0)
        self.seen[index] = before | bit
        if before & self.needed != self.needed and (before | bit) & self.needed == self.needed:
            self.ready.append(index)

    def lift(self, bit: int) -> None:
        """A dependency is met for every element."""
        if self.ready is None:
            return
        before, self.needed = self.needed, self.needed & ~bit
        if not self.needed and not self.is_closed:
            self.ready = None
            self.seen.clear()
            return
        for index, bits in self.seen.items():
            if bits & before != before and bits & self.needed == self.needed:
                self.ready.append(index)

    def shut(self, bit: int) -> int:
        """A dependency can no longer be met but for the elements for which it is; how many are cancelled by that."""
        kept = {index: bits for index, bits in self.seen.items() if bits & bit}
        dropped = self.left - len(kept)
        self._close(kept)
        self.cancelled += dropped
        return dropped

    def close(self) -> None:
        """Nothing more is made: what was not is cancelled."""
        self.cancelled += self.left
        self._close({})

    def _close(self, kept: dict[int, int]) -> None:
        self.next_index = self.size
        self.skipped.clear()
        self.seen = kept
        self.is_closed = True
        if self.ready is None:
            self.ready = deque()

    def count(self, index: int, final: TaskState, *, has_started: bool) -> None:
        """An active element has ended."""
        self.active -= 1
        if final is TaskState.SUCCEEDED:
            self.succeeded += 1
        elif final is TaskState.FAILED:
            self.failed += 1
        else:
            self.cancelled += 1
        if index >= len(self.ended):
            self.ended.extend(bytes(index + 1 - len(self.ended)))
        self.ended[index] = final | (STARTED if has_started else 0)

    def learn(self, ended: bytes) -> None:
        """Takes in how elements ended before the restart."""
        if len(ended) > len(self.ended):
            self.ended.extend(bytes(len(ended) - len(self.ended)))
        for index, code in enumerate(ended):
            if code and not self.ended[index]:
                self.ended[index] = code
        self.is_partial = False
