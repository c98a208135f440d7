"""All that is live: jobs, sweeps, the queues of those that have no places, what is due; and what always holds. Pure."""

from __future__ import annotations

import heapq

from services.chassis.errors import InvariantViolation
from services.trainer.model import InstanceState, JobState
from services.trainer.state.jobs import Job, LiveJob
from services.trainer.state.sweeps import LiveSweep, check_sweep


class Queue:
    """Jobs of one queue that have no places."""

    __slots__ = ("_heap", "reserving")

    def __init__(self) -> None:
        self.reserving = 0
        """How many ask for places now."""
        self._heap: list[tuple[int, int, int]] = []

    def add(self, job: Job) -> None:
        """It waits for its turn: higher priority first, then who has waited longer."""
        heapq.heappush(self._heap, (-job.priority, job.turn, job.number))

    def take(self, state: State) -> LiveJob | None:
        """Whose turn it is; whoever has left the queue since is passed over."""
        while self._heap:
            _, turn, number = heapq.heappop(self._heap)
            live = state.jobs.get(number)
            if live is not None and live.job.state is JobState.QUEUED and live.job.turn == turn:
                return live
        return None


class State:
    """All jobs that have not been cleared."""

    def __init__(
        self,
        next_job: int = 1,
        next_batch: int = 1,
        next_turn: int = 1,
        revision: int = 0,
        next_sweep: int = 1,
    ) -> None:
        self.jobs: dict[int, LiveJob] = {}
        self.changed: dict[int, LiveJob] = {}
        """Of which something is to be written; what follows from that is not yet done."""
        self.queues: dict[str, Queue] = {}
        self.alarms: list[tuple[int, int]] = []
        """Heap of times and jobs: see `timers`."""
        self.sweeps: dict[int, LiveSweep] = {}
        """All that have not ended."""
        self.next_sweep = next_sweep
        self.next_job = next_job
        self.next_batch = next_batch
        self.next_turn = next_turn
        self.revision = revision

    def moved(self, job: Job, before: JobState | None) -> None:
        """Keeps queues by what jobs are; `before` None: the job is new here."""
        if job.state is before:
            return
        queue = self.queues.get(job.queue)
        if queue is None:
            queue = self.queues[job.queue] = Queue()
        if before is JobState.RESERVING:
            queue.reserving -= 1
        if job.state is JobState.RESERVING:
            queue.reserving += 1
        elif job.state is JobState.QUEUED:
            queue.add(job)


def check_invariants(state: State) -> None:
    """Raises InvariantViolation where the state contradicts itself. For tests."""
    for sweep in state.sweeps.values():
        check_sweep(sweep, {*state.jobs})
    for number, live in state.jobs.items():
        job = live.job
        lives = [one.key for one in live.instances.values() if one.state.has_processes]
        seats = [one.key for one in live.instances.values() if one.task]
        if job.state.has_ended and (lives or seats):
            raise InvariantViolation(f"job {number} has ended, and {lives or seats} live")
        if job.state is JobState.DRAINING and job.outcome is None:
            raise InvariantViolation(f"job {number} drains without an outcome")
        if job.outcome is not None and job.state not in (JobState.DRAINING, job.outcome):
            raise InvariantViolation(f"job {number} is decided, and {job.state.value}")
        if job.state in (JobState.QUEUED, JobState.SUSPENDED) and (lives or seats):
            raise InvariantViolation(f"job {number} is {job.state.value} and holds {lives or seats}")
        for one in live.instances.values():
            if one.state.has_processes and not one.task:
                raise InvariantViolation(f"job {number}: {one.key} lives without a seat")
            if one.state is InstanceState.SEATED and one.address is None:
                raise InvariantViolation(f"job {number}: {one.key} is seated nowhere")
            if one.state is InstanceState.STOPPING and not one.stopping_for:
                raise InvariantViolation(f"job {number}: nobody knows why {one.key} is stopped")
