"""What the scheduler counts while it works: rows that were committed, and how long steps and commits take. Pure.

Kept only where metrics are served; a restart begins at zero, as counters do.
"""

from collections import Counter
from collections.abc import Sequence

from services.chassis.metrics.figures import Family, Spread, counter, spread
from services.scheduler.model import TERMINAL, Cause, TaskState
from services.scheduler.state.effects import InsertTask, RecordChange
from services.scheduler.state.state import State


class Counts:
    """Grows with each committed step."""

    def __init__(self) -> None:
        self.submitted = 0
        self.placed = 0
        self.ended: Counter[tuple[TaskState, Cause]] = Counter()
        self.retried: Counter[Cause] = Counter()
        self.waited = Spread()
        self.ran = Spread()
        self.steps = Spread()
        self.commits = Spread()

    def on_committed(self, rows: Sequence[object], state: State, step_s: float, commit_s: float) -> None:
        """Takes a step in whose rows are on disk."""
        self.steps.observe(step_s)
        self.commits.observe(commit_s)
        for row in rows:
            if type(row) is RecordChange:
                self._on_change(row, state)
            elif type(row) is InsertTask:
                self.submitted += 1

    def _on_change(self, row: RecordChange, state: State) -> None:
        if row.state is TaskState.ASSIGNED:
            self.placed += 1
            task = state.tasks.get(row.task)
            if task is not None and row.attempt == 1:
                self.waited.observe((row.time_ms - task.queued_ms) / 1000)
        elif row.state in TERMINAL:
            self.ended[(row.state, row.cause)] += 1
            if row.start_ms:
                self.ran.observe((row.time_ms - row.start_ms) / 1000)
        elif row.state is TaskState.QUEUED and row.attempt:
            self.retried[row.cause] += 1

    def families(self) -> list[Family]:
        """All of it."""
        ended = [
            ((state.name.lower(), cause.name.lower()), float(count))
            for (state, cause), count in self.ended.items()
        ]
        retried = [((cause.name.lower(),), float(count)) for cause, count in self.retried.items()]
        return [
            counter(
                "yard_tasks_submitted", "Tasks taken, elements of arrays when they are made.", self.submitted
            ),
            counter("yard_placements", "Attempts given to a node.", self.placed),
            Family("counter", "yard_tasks_ended", "Outcomes by state and cause.", ("state", "cause"), ended),
            Family(
                "counter",
                "yard_task_retries",
                "Attempts that were tried again, by cause.",
                ("cause",),
                retried,
            ),
            spread("yard_task_wait_seconds", "From a task's queueing to its first placement.", self.waited),
            spread("yard_task_run_seconds", "How long attempts that ended their task ran.", self.ran),
            spread("yard_step_seconds", "The machine's time for a step that changed something.", self.steps),
            spread("yard_commit_seconds", "From the end of a step until it is on disk.", self.commits),
        ]
