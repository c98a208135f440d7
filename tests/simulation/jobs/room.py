"""Promises about jobs that make room for others: only who may be interrupted, for one of higher priority, at no cost.

What the scheduler takes back, and what goes with a lost node, is uncounted as well.
"""

from __future__ import annotations

from modelyard.training.policies.restarts import Cause
from services.trainer.model import Exit
from services.trainer.state.jobs import Key, LiveJob
from services.trainer.state.state import State

UNPLACED = frozenset({Cause.NODE_LOST, Cause.PREEMPTED})
"""Causes with which the seat is gone."""


class Room:
    """Sees budgets and who yields to whom."""

    def __init__(self) -> None:
        self.count = 0
        """How often somebody made room."""
        self._state: State | None = None
        self._yields: dict[int, int] = {}
        self._used: dict[int, int] = {}
        self._exits: dict[int, dict[Key, Exit | None]] = {}

    def stepped(self, state: State, live: LiveJob) -> None:
        """After a step. What a process did at whose end it died was not seen: a new one begins with what it has."""
        if self._state is not state:
            self._state, self._used, self._exits = state, {}, {}
        job = live.job
        before, self._yields[job.number] = self._yields.get(job.number, 0), job.yields_to
        if job.yields_to and job.yields_to != before:
            self._may_be_interrupted(state, live)
        used = sum(budget.used for budget in job.budgets.values())
        paid, self._used[job.number] = used - self._used.get(job.number, used), used
        exits = {key: one.exit for key, one in live.instances.items()}
        known, self._exits[job.number] = self._exits.get(job.number, {}), exits
        counted = [
            key
            for key, found in exits.items()
            if found is not None and found != known.get(key) and found.cause not in UNPLACED
        ]
        assert paid <= len(counted), f"j-{job.number} paid {paid}, and {counted} failed by themselves"
        assert not (job.yields_to and paid > 0), f"j-{job.number} pays for making room"

    def _may_be_interrupted(self, state: State, live: LiveJob) -> None:
        self.count += 1
        job, other = live.job, state.jobs[live.job.yields_to].job
        assert live.plan.job.preemptible, f"j-{job.number} may not be interrupted"
        assert other.priority > job.priority, f"j-{job.number} makes room for j-{other.number}, its equal"
        assert other.queue == job.queue, f"j-{job.number} makes room for another queue"
