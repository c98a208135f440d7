"""Which tasks of this machine are suspended, and for how long they were; kept for a later agent process.

It finds stopped workers by it, which cannot answer, and goes on counting. Wall-clock times: the
machine may have slept.
"""

from __future__ import annotations

import signal
from pathlib import Path

import msgspec

from services.agent.host import halting
from services.agent.keeping.kept import Kept
from services.agent.tasks.model import Task
from services.chassis.clock import Clock


class Suspension(msgspec.Struct):
    """Of one task, by its key."""

    pid: int
    # The worker itself is stopped, not only what it has started.
    whole: bool
    # Since when; 0: it goes on.
    since_ms: int
    # How long it was stopped before that.
    paused_ms: int


class Suspensions(Kept[Suspension]):
    """Those of one node. Stops and lets go on; what it says it has done is on disk before it is done."""

    def __init__(self, path: Path, clock: Clock) -> None:
        super().__init__(path, Suspension)
        self._clock = clock

    def begin(self, task: Task, pid: int) -> None:
        """Stops a task."""
        whole = not task.body.is_command
        self.put(task.key, Suspension(pid, whole, self._clock.now_ms(), task.paused_ms))
        halting.halt(pid, whole=whole, by=_word(task))

    def end(self, task: Task, pid: int) -> None:
        """Lets a task go on."""
        whole = not task.body.is_command
        halting.proceed(pid, whole=whole)
        self.put(task.key, Suspension(pid, whole, 0, task.paused_ms))

    def of(self, key: str) -> tuple[int, int]:
        """For how long by now (−1: not at all), and for how long before; of a task found again."""
        known = self.known.get(key)
        if known is None:
            return -1, 0
        return (max(0, self._clock.now_ms() - known.since_ms) if known.since_ms else -1), known.paused_ms

    def let_speak(self) -> None:
        """Workers that are stopped as a whole go on for the moment in which they are asked what they have."""
        for known in self.known.values():
            if known.whole and known.since_ms:
                halting.let_speak(known.pid)

    def halt_again(self, task: Task, pid: int) -> None:
        """After that moment."""
        halting.halt(pid, whole=not task.body.is_command, by=_word(task))


def _word(task: Task) -> signal.Signals:
    """What stands beside a container has to hear of it."""
    return signal.SIGTSTP if task.body.image else signal.SIGSTOP
