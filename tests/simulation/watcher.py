"""Watches tasks from revision to revision, as `services.scheduler.reading.watching` serves it, across restarts."""

from __future__ import annotations

from services.chassis.security import ADMIN, Principal
from services.scheduler.model import format_task_id
from services.scheduler.reading.watching import changed_since
from services.scheduler.refusals import RevisionCompacted
from tests.simulation.history import History
from tests.simulation.kernel import MS, SECOND, Kernel, Violation
from tests.simulation.scheduler_host import SchedulerHost

_EVERYBODY = Principal(ADMIN)


class Watcher:
    """Knows of every task the latest revision that it was shown; in the end it must be the true one."""

    def __init__(self, kernel: Kernel, scheduler: SchedulerHost, history: History) -> None:
        self.kernel = kernel
        self.scheduler = scheduler
        self.history = history
        self.position = 0
        self.seen: dict[int, int] = {}
        self._is_waking = False
        self._generation = -1
        scheduler.on_rows.append(self._wake)
        kernel.after(SECOND, self._poll)

    def _poll(self) -> None:
        """Connects again after a restart."""
        if self._generation != self.scheduler.generation:
            self._wake()
        self.kernel.after(self.kernel.between(SECOND, 10 * SECOND), self._poll)

    def _wake(self) -> None:
        if not self._is_waking:
            self._is_waking = True
            self.kernel.after(self.kernel.between(0, 4 * MS), self._look)

    def _look(self) -> None:
        self._is_waking = False
        scheduler = self.scheduler
        if not scheduler.is_serving or scheduler.is_paused:
            return
        self._generation = scheduler.generation
        try:
            end = scheduler.released_revision
            keys = changed_since(scheduler.state, self.position, end, _EVERYBODY, frozenset())
        except RevisionCompacted:
            self._list()
            return
        for key in keys:
            self._see(key)
        if end < self.position:
            raise Violation(f"the watch went back from {self.position} to {end}")
        self.position = end

    def _list(self) -> None:
        self.history.count("watch lists")
        self.position = self.scheduler.released_revision
        for key in self.history.tasks:
            self._see(key)

    def _see(self, key: int) -> None:
        task = self.history.tasks.get(key)
        if task is not None:
            self.seen[key] = task.revision

    def check(self) -> None:
        """After the last change was released: nothing was missed."""
        for key, task in self.history.tasks.items():
            if self.seen.get(key) != task.revision:
                name = format_task_id(key)
                raise Violation(f"the watch never showed revision {task.revision} of {name}", name)
