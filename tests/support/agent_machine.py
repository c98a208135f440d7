"""The agent's machine with make-believe workers: a test says what happens, the bench keeps the rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.agent.tasks import effects as do
from services.agent.tasks.events import (
    CommandsReceived,
    Event,
    EventsAcknowledged,
    HelloSaid,
    RetractAsked,
    SessionOpened,
    StartAsked,
    StopAsked,
    WorkBegun,
    WorkDone,
    WorkerReady,
    WorkReported,
)
from services.agent.tasks.machine import State, apply, check_invariants
from services.agent.tasks.model import Body, Cause, Exit, LimitSet, Note, Pool, Task, TaskError
from services.agent.tasks.state import Settings

CPU = 10_000


def body(number: int = 1, *, cpu: int = CPU, account: str = "ann", **fields: Any) -> Body:
    """A small operator's body."""
    resources = (("cpu", cpu),) if cpu else ()
    pool = fields.pop("pool", Pool(account))
    return Body(number, account, fields.pop("is_command", False), "echo", pool, resources, **fields)


class Bench:
    """One state, its clock, and the queues of its workers."""

    def __init__(self, cpu: int = 2 * CPU, **settings: Any) -> None:
        self.state = State({"cpu": cpu, "memory": 1 << 30, "gpu": 0}, Settings(**settings))
        self.now_ms = 1_000
        self.number = 0
        self.effects: list[do.Effect] = []
        self.queues: dict[str, list[Task]] = {}
        self.begun: set[str] = set()
        self.told: list[Note] = []
        self.open()

    def open(self, lease_ms: int = 15_000, verdicts: Any = ()) -> None:
        """A session begins."""
        self.number = 0
        self.apply(HelloSaid())
        self.apply(SessionOpened(lease_ms, self.now_ms, 0, tuple(verdicts)))

    def apply(self, event: Event) -> list[do.Effect]:
        """Steps the machine, checks it, and lets the make-believe workers follow."""
        effects = apply(self.state, event, self.now_ms)
        check_invariants(self.state)
        for effect in effects:
            self._follow(effect)
        self.effects += effects
        return effects

    def _follow(self, effect: do.Effect) -> None:
        if isinstance(effect, do.SpawnWorker):
            self.queues[effect.worker] = []
        elif isinstance(effect, do.RunTasks):
            self.queues[effect.worker] += effect.tasks
        elif isinstance(effect, do.QuitWorker):
            assert not self.queues[effect.worker]

    def ready(self) -> None:
        """Every worker that was asked for is there."""
        for name, worker in list(self.state.workers.items()):
            if not worker.ready:
                self.apply(WorkerReady(name))

    def command(self, *commands: Any) -> list[do.Effect]:
        first = self.number + 1
        self.number += len(commands)
        return self.apply(CommandsReceived(first, commands))

    def start(self, *task_ids: str, of: Body | None = None, **fields: Any) -> list[do.Effect]:
        of = body() if of is None else of
        return self.command(*[StartAsked(task_id, 1, 7, of, **fields) for task_id in task_ids])

    def stop(self, task_id: str, cause: Cause = Cause.CANCELLED, grace_ms: int = 500) -> list[do.Effect]:
        return self.command(StopAsked(task_id, 1, grace_ms, cause, "asked to"))

    def retract(self, *task_ids: str) -> list[do.Effect]:
        return self.command(*[RetractAsked(task_id, 1) for task_id in task_ids])

    def begin(self, task_id: str) -> None:
        """The worker that has it starts it."""
        worker, task = self.find(task_id)
        self.begun.add(task.key)
        self.apply(WorkReported(worker, begun=(WorkBegun(task.work_key, self.now_ms),)))

    def end(
        self, task_id: str, error: TaskError | None = None, *, duration_ms: int = 0, **fields: Any
    ) -> None:
        """The worker that has it ends it."""
        worker, task = self.find(task_id)
        self.queues[worker].remove(task)
        end = Exit(error, start_ms=self.now_ms, end_ms=self.now_ms + duration_ms, **fields)
        self.apply(WorkReported(worker, done=(WorkDone(task.work_key, end),)))

    def withdraw(self, task_id: str) -> None:
        """The worker gives it back without having begun."""
        worker, task = self.find(task_id)
        self.queues[worker].remove(task)
        failure = TaskError(Cause.CANCELLED, "cancelled")
        done = WorkDone(task.work_key, Exit(failure), not_started=True)
        self.apply(WorkReported(worker, done=(done,)))

    def find(self, task_id: str) -> tuple[str, Task]:
        return next((w, t) for w, queue in self.queues.items() for t in queue if t.task_id == task_id)

    def handed(self) -> set[str]:
        """Ids of the tasks that workers have."""
        return {task.task_id for queue in self.queues.values() for task in queue}

    def tell(self, most: int = 1_000) -> list[tuple[str, str]]:
        """Sends what waits: (kind, task id) of each event."""
        _, notes = self.state.outbox.take(most)
        self.told += notes
        return [(note.kind.value, note.task.task_id) for note in notes]

    def acknowledge(self) -> list[do.Effect]:
        """The scheduler has everything that was sent."""
        return self.apply(EventsAcknowledged(self.state.outbox.sent))

    def wanted(self, kind: type) -> list[Any]:
        """Effects of one kind so far."""
        return [effect for effect in self.effects if isinstance(effect, kind)]


def ended(task_ids: Iterable[str]) -> list[tuple[str, str]]:
    """What is told of tasks that ended at once."""
    return [("EXITED", task_id) for task_id in task_ids]


__all__ = ["CPU", "Bench", "LimitSet", "body", "ended"]
