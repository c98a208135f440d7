"""The agent's machine under random histories: workers die, sessions break, the scheduler changes its mind.

After every step the invariants hold; after the last trouble every task that was started has been told exactly
one end that the scheduler took, and nothing is reserved.
"""

from __future__ import annotations

import random

import pytest

from services.agent.tasks import effects as do
from services.agent.tasks.events import (
    BeatAcknowledged,
    ClockTicked,
    ModifyAsked,
    NeedFailed,
    NeedReady,
    OutputsStored,
    StartAsked,
    StopAsked,
    VerdictGiven,
    WorkerLost,
    WorkerReady,
    WorkModified,
    WorkReported,
)
from services.agent.tasks.model import Body, Cause, NoteKind, Phase, Pool, Task, TaskError
from tests.support.agent_machine import CPU, Bench, body

BODIES = [
    body(1),
    body(2, cpu=CPU // 4),
    body(3, cpu=0),
    body(4, account="bob", run_timeout_ms=300),
    body(5, pool=Pool("ann", "env"), needs=("environment:ann:env",)),
    body(6, is_command=True, needs=("bundle:ann:b",), staged=True, start_timeout_ms=2_000),
    body(7, keeps_outputs=True),
]


class Play:
    """One seeded history."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.bench = Bench(workers_most=6)
        self.outcomes: dict[str, list[str]] = {}
        self.asked: set[str] = set()
        self.seen_effects = 0
        self.cancelled: set[str] = set()
        self.killed: set[str] = set()
        self.needs: list[str] = []
        self.storing: list[do.StoreOutputs] = []
        self.changing: list[do.ChangeParams] = []

    def step(self) -> None:
        act = self.dice.choices(
            [
                self.start,
                self.stop,
                self.retract,
                self.work,
                self.lose_worker,
                self.serve,
                self.tell,
                self.wait,
                self.reconnect,
                self.modify,
                self.hear_modified,
            ],
            [30, 4, 4, 60, 2, 20, 20, 15, 1, 6, 6],
        )[0]
        act()
        self.follow()

    def follow(self) -> None:
        for effect in self.bench.effects[self.seen_effects :]:
            if isinstance(effect, do.CancelTask):
                self.cancelled.add(effect.task.key)
            elif isinstance(effect, do.KillWorker):
                self.killed.add(effect.worker)
            elif isinstance(effect, do.Prepare):
                self.needs.append(effect.need)
            elif isinstance(effect, do.StoreOutputs):
                self.storing.append(effect)
            elif isinstance(effect, do.QuitWorker):
                self.killed.add(effect.worker)
            elif isinstance(effect, do.ChangeParams):
                assert effect.worker in self.bench.queues
                self.changing.append(effect)
        self.seen_effects = len(self.bench.effects)

    def start(self) -> None:
        task_id = f"t-{len(self.asked)}"
        self.asked.add(task_id)
        of: Body = self.dice.choice(BODIES)
        self.bench.command(StartAsked(task_id, 1, 7, of, prefill=self.dice.random() < 0.6))

    def pick(self) -> str | None:
        tasks = sorted(self.bench.state.tasks)
        return self.dice.choice(tasks).partition("/")[0] if tasks else None

    def stop(self) -> None:
        task_id = self.pick()
        if task_id:
            self.bench.command(StopAsked(task_id, 1, 100, Cause.CANCELLED, "asked to"))

    def retract(self) -> None:
        task_id = self.pick()
        if task_id:
            self.bench.retract(task_id)

    def modify(self) -> None:
        task_id = self.pick()
        if task_id:
            params = self.dice.choice(["", '{"a":1}'])
            limit_ms = self.dice.choice([None, 0, 50, 5_000])
            self.bench.command(ModifyAsked(task_id, 1, self.dice.randrange(1, 99), params, limit_ms))

    def hear_modified(self) -> None:
        """Workers answer, whatever has become of the work meanwhile."""
        changing, self.changing = self.changing, []
        for effect in changing:
            accepted, unknown = self.dice.choice([(True, False), (False, False), (False, True)])
            said = WorkModified(effect.task.work_key, effect.revision, accepted, "no", unknown)
            self.bench.apply(WorkReported(effect.worker, modified=(said,)))

    def work(self) -> None:
        """A worker does the next thing: gives back what was cancelled, begins, or ends."""
        busy = sorted(name for name, queue in self.bench.queues.items() if queue)
        if not busy:
            return
        queue = self.bench.queues[self.dice.choice(busy)]
        withdrawn = [
            task for task in queue[1:] if task.key in self.cancelled and task.key not in self.bench.begun
        ]
        head: Task = queue[0]
        self.cancelled -= {head.key} if head.key not in self.bench.state.tasks else set()
        if withdrawn:
            self.cancelled.discard(withdrawn[0].key)
            self.bench.withdraw(withdrawn[0].task_id)
        elif head.key in self.cancelled:
            self.cancelled.discard(head.key)
            if head.key in self.bench.begun:
                self.bench.end(head.task_id, TaskError(Cause.CANCELLED, "cancelled"))
            else:
                self.bench.withdraw(head.task_id)
            self.bench.begun.discard(head.key)
        elif head.key not in self.bench.begun and self.dice.random() < 0.7:
            self.bench.begin(head.task_id)
        else:
            error = TaskError(Cause.ERROR, "raised") if self.dice.random() < 0.2 else None
            self.bench.begun.discard(head.key)
            self.bench.end(head.task_id, error, duration_ms=self.dice.choice([0, 0, 0, 1, 50]))

    def lose_worker(self) -> None:
        names = sorted(self.bench.state.workers)
        if names:
            self.die(self.dice.choice(names))

    def die(self, name: str) -> None:
        for task in self.bench.queues.pop(name, ()):
            self.cancelled.discard(task.key)
            self.bench.begun.discard(task.key)
        self.killed.discard(name)
        self.bench.apply(WorkerLost(name, signal=9))

    def serve(self) -> None:
        """What runs beside comes back: workers, needs, outputs, the death of what was killed."""
        for name, worker in list(self.bench.state.workers.items()):
            if not worker.ready and self.dice.random() < 0.8:
                self.bench.apply(WorkerReady(name))
        for name in sorted(self.killed):
            if self.dice.random() < 0.8 and name in self.bench.state.workers:
                self.die(name)
        needs, self.needs = self.needs, []
        for need in needs:
            self.bench.apply(NeedReady(need) if self.dice.random() < 0.8 else NeedFailed(need, "no"))
        storing, self.storing = self.storing, []
        for effect in storing:
            self.bench.apply(OutputsStored(effect.task.key, effect.exit))
        self.follow()

    def tell(self) -> None:
        _, notes = self.bench.state.outbox.take(self.dice.choice([1, 5, 1000]))
        for note in notes:
            if note.kind in (NoteKind.EXITED, NoteKind.REJECTED, NoteKind.RETRACTED):
                self.outcomes.setdefault(note.task.task_id, []).append(note.kind.value)
        if notes:
            self.bench.acknowledge()

    def wait(self) -> None:
        self.bench.now_ms += self.dice.choice([1, 20, 200])
        self.bench.apply(BeatAcknowledged(self.bench.now_ms))
        self.bench.apply(ClockTicked())

    def reconnect(self) -> None:
        verdicts = []
        for task in self.bench.state.tasks.values():
            if task.phase is Phase.ENDED:
                self.outcomes.setdefault(task.task_id, []).append("STATED")
                verdicts.append(VerdictGiven(task.task_id, 1, "FORGET"))
            else:
                verdicts.append(VerdictGiven(task.task_id, 1, "KEEP"))
        held = {task.task_id for task in self.bench.state.tasks.values()}
        for task_id in self.asked - held - set(self.outcomes):
            self.outcomes[task_id] = ["MISSED"]
        self.bench.open(verdicts=verdicts)

    def finish(self) -> None:
        for _ in range(5_000):
            if not self.bench.state.tasks and not self.bench.state.outbox:
                return
            for act in (self.serve, self.work, self.tell, self.wait):
                act()
                self.follow()
        raise AssertionError(f"never ends: {list(self.bench.state.tasks.values())[:3]}")


@pytest.mark.parametrize("seed", range(40))
def test_random_history_ends_every_task_once_and_frees_everything(seed: int) -> None:  # S0.1
    play = Play(seed)
    for _ in range(400):
        play.step()
    play.finish()
    assert {task_id: told for task_id, told in play.outcomes.items() if len(told) != 1} == {}
    assert set(play.outcomes) == play.asked
    assert play.bench.state.free == play.bench.state.capacity
