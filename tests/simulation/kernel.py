"""Virtual time: one heap of events, one source of randomness, one trace.

Owns order and the trace's hash. Knows nothing of schedulers and agents. Time is in microseconds since the
simulation began; what the machines see is milliseconds.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import Any

MS = 1_000
SECOND = 1_000_000

Action = Callable[..., None]


class Violation(Exception):
    """A promise was broken; says which and about whom."""

    def __init__(self, message: str, *subjects: str) -> None:
        super().__init__(message)
        self.subjects = subjects


class Kernel:
    """Runs actions at their instants, in an order that depends on the seed alone."""

    def __init__(self, seed: int, trace_lines: int = 4_000) -> None:
        self.now_us = 0
        self.random = random.Random(seed)
        self.lines: deque[tuple[int, str, tuple[Any, ...]]] = deque(maxlen=trace_lines)
        self.events = 0
        self._heap: list[tuple[int, int, Action, tuple[Any, ...]]] = []
        self._number = 0
        self._hash = hashlib.blake2b(digest_size=16)

    @property
    def now_ms(self) -> int:
        return self.now_us // MS

    def after(self, delay_us: int, action: Action, *arguments: Any) -> None:
        """Runs an action later; actions of one instant run in the order in which they were asked for."""
        self._number += 1
        heapq.heappush(self._heap, (self.now_us + delay_us, self._number, action, arguments))

    def run(self, until_us: int, is_over: Callable[[], bool] | None = None) -> None:
        """Lets time pass up to an instant, or until ``is_over``."""
        heap = self._heap
        while heap and heap[0][0] <= until_us:
            self.now_us, _, action, arguments = heapq.heappop(heap)
            self.events += 1
            action(*arguments)
            if is_over is not None and is_over():
                return
        self.now_us = until_us

    def trace(self, who: str, *what: Any) -> None:
        """Notes that something happened; a part of the hash."""
        self.lines.append((self.now_us, who, what))
        self._hash.update(f"{self.now_us} {who} {what}\n".encode())

    def trace_hash(self) -> str:
        """The same for every run of one seed."""
        return self._hash.hexdigest()

    def between(self, least_us: int, most_us: int) -> int:
        """A delay, more often short than long."""
        share = self.random.random()
        return least_us + int((most_us - least_us) * share * share)

    def chance(self, share: float) -> bool:
        return self.random.random() < share


class Process:
    """Something that can be killed at any instant, stopped by SIGSTOP and continued.

    What was asked for by a process that is dead never happens; what falls due while it is stopped happens, in
    order, when it goes on.
    """

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.kernel = kernel
        self.name = name
        self.is_up = False
        self.is_paused = False
        self.generation = 0
        self._deferred: list[tuple[Action, tuple[Any, ...]]] = []

    def after(self, delay_us: int, action: Action, *arguments: Any) -> None:
        """Runs an action of this process later, if it lives until then."""
        self.kernel.after(delay_us, self._run, self.generation, action, arguments)

    def _run(self, generation: int, action: Action, arguments: tuple[Any, ...]) -> None:
        if generation != self.generation:
            return
        if self.is_paused:
            self._deferred.append((action, arguments))
        else:
            action(*arguments)

    def begin(self) -> None:
        self.is_up = True
        self.kernel.trace(self.name, "started")

    def kill(self) -> None:
        """kill -9."""
        self.generation += 1
        self.is_up = False
        self.is_paused = False
        self._deferred.clear()
        self.kernel.trace(self.name, "killed")

    def pause(self) -> None:
        """SIGSTOP."""
        self.is_paused = True
        self.kernel.trace(self.name, "stopped")

    def resume(self) -> None:
        """SIGCONT."""
        if not self.is_paused:
            return
        self.is_paused = False
        self.kernel.trace(self.name, "continued")
        deferred, self._deferred = self._deferred, []
        for action, arguments in deferred:
            self.after(0, action, *arguments)
